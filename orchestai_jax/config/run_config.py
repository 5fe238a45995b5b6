"""The run configuration: frozen models, unknown keys refused, one line of doc a field."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from orchestai_jax.config.arguments import ArgumentFittingConfig, ArgumentsConfig
from orchestai_jax.config.mesh import MeshConfig
from orchestai_jax.config.monitoring import MonitoringConfig
from orchestai_jax.config.optimization import OptimizationConfig
from orchestai_jax.config.preference import Preference
from orchestai_jax.config.section import Section
from orchestai_jax.config.training_options import TrainingOptions


class DataConfig(Section):
    """Where the samples come from."""

    train: str | None = Field(default=None, min_length=1)
    """Path of the training samples (relative to the working folder)."""
    records: str | None = Field(default=None, min_length=1)
    """In place of `train`: run records that a trained planner (`--from`) learns from, beside samples it kept."""
    format: Literal["taskbench", "sealtools", "nestful", "records", "planning"] = "taskbench"
    """How the training and validation files are written."""
    catalog: str | None = None
    """Path of the catalog; without one it is that of the planner started from, or made of the samples' task types."""
    graph: str | None = None
    """Path of a tool graph that goes with a TaskBench catalog."""
    validation: str | None = None
    """Path of validation samples; without one a part of the training samples is held out."""
    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of the training samples held out by a hash of their ids, where `validation` is not given."""
    keep_samples: int = Field(default=512, ge=0)
    """Training samples (half as many of validation) kept in the checkpoint for learning from `records` (0: none)."""

    @model_validator(mode="after")
    def _one_source(self) -> DataConfig:
        if (self.train is None) == (self.records is None):
            raise ValueError("give train or records, one of the two")
        if self.records is not None and self.validation is not None:
            raise ValueError("validation goes with train; of records validation_fraction is held out")
        return self

    @property
    def source(self) -> str:
        """The path of `train` or of `records`."""
        return self.train or self.records or ""


class EncoderConfig(Section):
    """The text encoder: imported weights, or one trained from scratch."""

    weights: str = Field(default="minilm", min_length=1)
    """Name or folder of BERT-family, T5 or distilled ternary weights, or "none" for an encoder trained from scratch."""
    trainable_layers: int | None = Field(default=3, ge=0)
    """How many of the last layers are trained (null = all, 0 = the encoder is frozen)."""
    max_tokens: int = Field(default=128, ge=8, le=512)
    """Longest input in tokens; what is over is cut."""
    token_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of an instruction's tokens that the trained layers do not see in a training step."""
    hidden_size: int = Field(default=384, ge=8)
    """Width, from scratch only (imported weights bring their own)."""
    num_layers: int = Field(default=4, ge=1)
    """Number of layers, from scratch only."""
    num_heads: int = Field(default=6, ge=1)
    """Attention heads a layer, from scratch only."""
    intermediate_size: int = Field(default=1536, ge=8)
    """Width of the feed-forward layers, from scratch only."""
    vocab_size: int = Field(default=8192, ge=64)
    """Tokens in the vocabulary that is learned from the training samples, from scratch only."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> EncoderConfig:
        if self.hidden_size % self.num_heads:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of num_heads {self.num_heads}")
        return self


class DecomposerConfig(Section):
    """The decomposer: which task types, in which order, until stop."""

    kind: Literal["transformer", "lstm"] = "transformer"
    """What remembers the task types chosen so far: causal self-attention, or an LSTM."""
    num_heads: int = Field(default=6, ge=1)
    """Attention heads over the instruction; divides the encoder's width."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of activations dropped in training."""
    label_bias: float = -9.0
    """Where the bias of the task types' scores starts (a log-odds: few types are wanted at once)."""
    initial_scale: float = Field(default=10.0, gt=0)
    """Where the scale of the cosine between instruction and task type starts."""
    projection_start: Literal["random", "identity"] = "random"
    """How projections between tokens and task types start; from the identity, descriptions count before training."""
    glimpse: bool = False
    """Whether the decoder's state takes in the tokens it points at, as they are (for types never trained on)."""
    match_descriptions: bool = False
    """Score types also by how well a clause matches name and description: for types that training never saw."""
    free_embedding_dropout: float = Field(default=0.2, ge=0, le=1)
    """How often a task type's learned embedding is dropped in training, so that its description alone must do."""
    max_tasks: int = Field(default=8, ge=1, le=64)
    """Most tasks in a plan."""
    allow_repeats: bool = False
    """Whether one plan may hold a task type more than once."""


class GraphAttentionConfig(Section):
    """What graph attention has beyond the other graph layers."""

    num_heads: int = Field(default=4, ge=1, le=64)
    """Attention heads (layer gat only); where they are concatenated they divide the width."""
    heads: Literal["concatenated", "averaged"] = "concatenated"
    """What becomes of the heads' outputs (layer gat only)."""

    @property
    def concatenates(self) -> bool:
        """Whether the heads' outputs stand side by side."""
        return self.heads == "concatenated"

    def check_heads(self, layer: str, width: int) -> None:
        """Raises ValueError where a layer of this width cannot have these heads."""
        if layer == "gat" and self.concatenates and width % self.num_heads:
            raise ValueError(
                f"num_heads {self.num_heads} does not divide the width {width}: give another, or heads: averaged"
            )


class TaskTypeGraphConfig(GraphAttentionConfig):
    """The task-type graph: vectors of task types, refined by those that they are linked with."""

    layer: Literal["gcn", "gat", "sage", "none"] = "none"
    """Graph layer over the catalog's task types: graph convolution, graph attention, GraphSAGE, or no graph at all."""
    num_layers: int = Field(default=1, ge=1, le=16)
    """Number of graph layers: how many links away a task type still counts."""

    @property
    def is_used(self) -> bool:
        """Whether there is a graph."""
        return self.layer != "none"


class GraphGeneratorConfig(GraphAttentionConfig):
    """The graph generator: edges between the chosen tasks."""

    layer: Literal["gcn", "gat", "sage", "none"] = "gcn"
    """Graph layer over the tasks' states: graph convolution, graph attention, GraphSAGE, or none."""
    num_layers: int = Field(default=1, ge=0, le=16)
    """Number of graph layers."""
    hidden_size: int = Field(default=128, ge=4)
    """Width of the graph layers and the edge scorer."""
    threshold: float = Field(default=0.5, ge=0, le=1)
    """Least probability of an edge that is drawn."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> GraphGeneratorConfig:
        self.check_heads(self.layer, self.hidden_size)
        return self


class WorkerSelectorConfig(Section):
    """The worker selector: which worker does a task, and how complex the task is."""

    enabled: bool = True
    """Whether workers are chosen by a learned policy; without it by the catalog's figures."""
    hidden_size: int = Field(default=64, ge=4)
    """Width of the policy's hidden layer."""


class DecodingConfig(Section):
    """How a plan is read from the model's probabilities."""

    method: Literal["greedy", "beam", "mbr", "labels"] = "greedy"
    """Best type a step, best of several plans, nearest to all (minimum Bayes risk), or types one by one by label."""
    beam_size: int = Field(default=4, ge=1, le=64)
    """Plans kept at each step (beam and mbr)."""
    label_threshold: float = Field(default=0.4, gt=0, lt=1)
    """With `labels`: the least probability of a task type that is planned."""
    length_penalty: float = Field(default=0.0, ge=0)
    """Exponent of the length that a plan's log-probability is divided by (beam only; 0 = off)."""
    mbr_temperature: float = Field(default=1.0, gt=0)
    """What the plans' log-probabilities are divided by before they weigh the agreement (mbr only)."""
    neighbours: int = Field(default=0, ge=0, le=256)
    """Training instructions, the most alike, whose plans vote too (mbr only; 0 = none; not over large catalogs)."""
    neighbour_weight: float = Field(default=0.4, ge=0)
    """What their votes count beside the agreement of the plans found."""
    neighbour_temperature: float = Field(default=0.02, gt=0)
    """What their cosines are divided by before they weigh the votes."""

    @model_validator(mode="after")
    def _neighbours_vote_on_several_plans(self) -> DecodingConfig:
        if self.neighbours and self.method != "mbr":
            raise ValueError(f"neighbours vote by minimum Bayes risk: with method {self.method} set neighbours to 0")
        return self

    @property
    def width(self) -> int:
        """Plans kept at each step; greedy keeps one."""
        return 1 if self.method == "greedy" else self.beam_size


class RetrievalConfig(Section):
    """Large catalogs: what an instruction may want is looked up first, and only that is planned over."""

    candidates: int = Field(default=256, ge=1)
    """Task types that an instruction is planned over where the catalog is large."""
    above: int = Field(default=2048, ge=1)
    """A catalog with more task types than this is large; any other is planned over whole."""

    @model_validator(mode="after")
    def _candidates_are_fewer(self) -> RetrievalConfig:
        if self.candidates > self.above:
            raise ValueError(f"candidates {self.candidates} must not be more than above {self.above}")
        return self


class PlannerConfig(Section):
    """Every part of the planner."""

    encoder: EncoderConfig = EncoderConfig()
    """The text encoder."""
    decomposer: DecomposerConfig = DecomposerConfig()
    """Instruction to task types."""
    task_type_graph: TaskTypeGraphConfig = TaskTypeGraphConfig()
    """Task types to vectors that know their neighbours."""
    graph_generator: GraphGeneratorConfig = GraphGeneratorConfig()
    """Task types to a graph."""
    worker_selector: WorkerSelectorConfig = WorkerSelectorConfig()
    """Tasks to workers."""
    arguments: ArgumentsConfig = ArgumentsConfig()
    """Tasks to their arguments."""
    decoding: DecodingConfig = DecodingConfig()
    """Probabilities to a plan."""
    retrieval: RetrievalConfig = RetrievalConfig()
    """Large catalogs to candidates."""

    @model_validator(mode="after")
    def _plans_fit_into_candidates(self) -> PlannerConfig:
        if self.decomposer.max_tasks > self.retrieval.candidates:
            raise ValueError(
                f"retrieval.candidates {self.retrieval.candidates} must be at least"
                f" decomposer.max_tasks {self.decomposer.max_tasks}"
            )
        return self


class WorkerConfig(Section):
    """Which workers there are and how they are weighed."""

    preference: Preference = Preference()
    """A preset (balanced, quality, fast, cheap), or weights of success, cost and latency."""
    catalog: str | None = None
    """Path of a catalog whose workers are used in place of the data's."""


class Phase1Config(TrainingOptions):
    """Phase 1: supervised training on samples with gold plans."""

    batch_size: int = Field(default=32, ge=1)
    """Samples a step."""
    freeze_encoder: bool = False
    """Leave the encoder as it is in the planner that training starts from; its output is then computed once."""
    learning_rate: float = Field(default=1e-3, ge=0)
    """Highest learning rate of the planner's own parameters."""
    encoder_learning_rate: float = Field(default=2e-4, ge=0)
    """Highest learning rate of the trained part of the encoder."""
    num_epochs: int = Field(default=6, ge=1)
    """Passes over the training samples."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's decay of weight matrices (norms, biases and embeddings are left alone)."""
    warmup_fraction: float = Field(default=0.06, ge=0, lt=1)
    """Share of the steps over which the learning rate rises."""
    gradient_clip: float = Field(default=1.0, gt=0)
    """Largest global norm of a gradient."""
    schedule: Literal["warmup_linear", "warmup_cosine", "warmup_stable_decay", "constant"] = "warmup_linear"
    """How the learning rate falls after the warm-up."""
    label_loss_weight: float = Field(default=1.0, ge=0)
    """Weight of the loss that scores every task type at once."""
    decomposer_loss_weight: float = Field(default=2.5, ge=0)
    """Weight of the loss of the next task type."""
    match_loss_weight: float = Field(default=0.5, ge=0)
    """Weight of the loss of the description matcher by itself, where there is one."""
    step_text_loss_weight: float = Field(default=0.5, ge=0)
    """Weight of the loss that ties a step's text to its task type."""
    step_texts_per_batch: int = Field(default=16, ge=0)
    """Texts of single steps added to each batch for that loss."""
    edge_loss_weight: float = Field(default=1.0, ge=0)
    """Weight of the edges' loss."""
    lambda_dag: float = Field(default=0.1, ge=0)
    """Weight of the penalty on cycles among edge probabilities."""
    worker_loss_weight: float = Field(default=0.5, ge=0)
    """Weight of the worker choice's loss."""
    preference_loss_weight: float = Field(default=0.5, ge=0)
    """Weight of the loss of the preference heard in the instruction."""
    complexity_loss_weight: float = Field(default=0.1, ge=0)
    """Weight of the complexity estimate's loss."""
    early_stop_patience: int | None = Field(default=3, ge=1)
    """Validations without a better metric before training stops (null = never)."""
    evaluate_every_steps: int | None = Field(default=None, ge=1)
    """Validate also every so many steps (null = at the end of each epoch only)."""
    best_metric: str = Field(default="score", min_length=1)
    """Validation metric by which the best checkpoint is chosen."""
    best_mode: Literal["max", "min"] = "max"
    """Whether that metric is better when it is higher or when it is lower."""
    save_every_steps: int | None = Field(default=None, ge=1)
    """Save also every so many steps (null = at each validation only)."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """Newest checkpoints kept, beside the best."""
    log_every_steps: int = Field(default=10, ge=1)
    """Steps between two lines of training metrics."""


class TrainingConfig(Section):
    """The phases of training."""

    phase1_supervised: Phase1Config = Phase1Config()
    """Supervised training on gold plans."""
    arguments: ArgumentFittingConfig = ArgumentFittingConfig()
    """Fitting of the learned arguments."""


class SystemConfig(Section):
    """What the machine does around a run; changes no result."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level of the log lines that are shown."""
    compilation_cache: bool = True
    """Keep compiled programs on disk, so that a second start is fast."""
    compilation_cache_dir: str | None = None
    """Folder of the compilation cache (null = JAX's own setting, else orchestai/jax under the user's cache folder)."""
    progress: Literal["auto", "rich", "plain", "none"] = "auto"
    """Progress display: auto = rich on a terminal, plain lines elsewhere."""


class RunConfig(Section):
    """One run: what it is trained on, which planner, how, and where it may differ by machine."""

    name: str = Field(min_length=1)
    """Name of the run, shown in reports."""
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    """Seed of every random choice."""
    data: DataConfig
    """Where the samples come from."""
    planner: PlannerConfig = PlannerConfig()
    """The planner's parts."""
    worker: WorkerConfig = WorkerConfig()
    """Workers and the preference among them."""
    training: TrainingConfig = TrainingConfig()
    """How it is trained."""
    mesh: MeshConfig = MeshConfig()
    """How it is spread over devices."""
    monitoring: MonitoringConfig = MonitoringConfig()
    """What is measured, and who is told."""
    optimization: OptimizationConfig | None = None
    """Optimizations under safety gates (null = none)."""
    system: SystemConfig = SystemConfig()
    """What the machine does around the run."""

    @model_validator(mode="after")
    def _batch_fits(self) -> RunConfig:
        self.mesh.check_batch(self.training.phase1_supervised.batch_size)
        return self
