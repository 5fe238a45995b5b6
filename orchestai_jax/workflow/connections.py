"""How workers that are no local tools are reached: the `connection` of a worker in a catalog. Keys are never in it."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from orchestai_jax.workflow.prices import Prices

HuggingFaceTask = Literal[
    "image-classification",
    "image-text-to-text",
    "object-detection",
    "automatic-speech-recognition",
    "text-to-audio",
]
"""Pipelines of transformers that workers are made of."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class _Connection(_Frozen):
    @model_serializer(mode="wrap")
    def _with_kind(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Written even where defaults are left out: without its kind nobody could read it back."""
        return {"kind": getattr(self, "kind"), **handler(self)}  # noqa: B009 - each connection declares its own kind


def _variable_name(name: str) -> str:
    if not _VARIABLE.match(name) or name.startswith(("sk_", "hf_")):
        raise ValueError(
            "must be the name of an environment variable, such as OPENAI_API_KEY; the key itself stays in it"
        )
    return name


def _web_address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http or https address, such as http://127.0.0.1:8000/v1")
    if parts.username or parts.password:
        raise ValueError("must not hold a user or password; name the variable that holds the key in key_env")
    return url.rstrip("/")


VariableName = Annotated[str, AfterValidator(_variable_name)]
WebAddress = Annotated[str, AfterValidator(_web_address)]


class OpenAIConnection(_Connection):
    """A model behind an HTTP endpoint that speaks OpenAI's protocol: OpenAI, vLLM, llama.cpp, Ollama and others."""

    kind: Literal["openai"] = "openai"
    model: str = Field(min_length=1)
    """Name of the model, as the endpoint's /models lists it."""
    base_url: WebAddress = "https://api.openai.com/v1"
    """Where the endpoint is; requests go to base_url/chat/completions and its siblings."""
    key_env: VariableName | None = "OPENAI_API_KEY"
    """Environment variable that holds the key; null where the endpoint wants none."""
    prices: Prices = Prices()
    """What the service charges; costs of runs are computed from it."""
    system: str = ""
    """System prompt before every task; none where empty."""
    stream: bool = True
    """Whether answers are asked for piece by piece, so that they can be shown as they come."""
    vision: bool = False
    """Whether the model takes images; without it, tasks with images are refused before anything is sent."""
    structured: Literal["json_schema", "json_object", "none"] = "json_schema"
    """How answers of more than one text are kept to their form: by a schema, as any JSON, or by asking only."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """Sampling temperature; the service's default where not given."""
    max_output_tokens: int | None = Field(default=None, ge=1)
    """Longest answer in tokens; an answer that is cut off there fails its task."""
    tools: tuple[str, ...] = ()
    """Task types of the catalog that the model may call while it works; local workers do them."""
    max_tool_rounds: int = Field(default=5, ge=1, le=50)
    """How often the model may call tools before it has to answer."""
    voice: str = "alloy"
    """Voice for tasks whose output is speech."""
    connect_s: float = Field(default=10.0, gt=0, le=600)
    """Seconds to wait for a connection."""
    stall_s: float = Field(default=60.0, gt=0, le=3600)
    """Seconds without a byte after which an answer counts as stalled."""
    max_wait_s: float = Field(default=60.0, ge=0, le=3600)
    """Longest pause, asked for by the service's rate limit, that is waited out here; a longer one fails the task."""
    rate_limit_tries: int = Field(default=4, ge=1, le=20)
    """Requests made for one answer while the service answers that its rate limit is reached."""
    allow_plain_http: bool = False
    """Whether a key may be sent over http to another machine."""


class HuggingFaceConnection(_Connection):
    """A model that transformers runs in this process."""

    kind: Literal["huggingface"] = "huggingface"
    model: str = Field(min_length=1)
    """A folder, or a repository of the Hugging Face Hub such as google/vit-base-patch16-224."""
    task: HuggingFaceTask
    """The pipeline that runs it."""
    revision: str | None = None
    """Branch, tag or commit of the repository; its main branch where not given. Has no meaning for a folder."""
    download: bool = True
    """Whether the repository may be downloaded; without it only the local cache is looked in."""
    device: str = "cpu"
    """Where it runs: cpu, cuda, cuda:1, mps."""
    top_k: int = Field(default=5, ge=1, le=1000)
    """Labels that an image classification gives."""
    threshold: float = Field(default=0.5, ge=0, le=1)
    """Lowest score of an object that a detection gives."""
    max_new_tokens: int = Field(default=64, ge=1, le=4096)
    """Longest caption or transcript of a generating model, in tokens."""


class LanguageModelConnection(_Connection):
    """A language model of this package, served in this process."""

    kind: Literal["language_model"] = "language_model"
    model: str = Field(min_length=1)
    """A folder in Hugging Face's BitNet layout, or a work folder or checkpoint of `orchestai train`."""
    template: str = "{prompt}"
    """What the model reads, with {prompt} for the task: the turns that it was trained on, such as
    `User: {prompt}<|eot_id|>Assistant: `."""
    stop: tuple[str, ...] = ()
    """Texts that end an answer, beside the model's own stop tokens."""
    max_new_tokens: int = Field(default=256, ge=1)
    """Longest answer; one that is cut off there fails its task, unless `may_be_cut`."""
    may_be_cut: bool = False
    """Whether an answer that ends where its tokens do is taken, for models that know no end."""
    temperature: float = Field(default=0.0, ge=0, le=10)
    """0 takes the likeliest token."""
    top_k: int | None = Field(default=None, ge=1)
    """Only so many of the likeliest tokens are drawn from."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Only the likeliest tokens that together have this probability are drawn from."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Of all draws."""
    batch: int = Field(default=8, ge=1, le=256)
    """Most tasks that are answered at once; those that wait meanwhile are the next batch."""
    head: Literal["float", "int8"] = "float"
    """How the output layer is kept: int8 is smaller and faster, and not quite the same."""
    cache: Literal["float", "int8"] = "float"
    """How keys and values are kept."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.template.count("{prompt}") != 1:
            raise ValueError("template must hold {prompt} once, where the task goes")
        if "" in self.stop:
            raise ValueError("stop must not hold an empty text")
        return self


class McpConnection(_Connection):
    """A tool of a Model Context Protocol server, which is started here (`command`) or reached by HTTP (`url`)."""

    kind: Literal["mcp"] = "mcp"
    tool: str | None = None
    """The tool's name at the server; the task type's id where not given."""
    command: tuple[str, ...] = ()
    """Program and arguments that start the server; it speaks over stdin and stdout."""
    url: WebAddress | None = None
    """Address of a server that speaks streamable HTTP."""
    env: tuple[VariableName, ...] = ()
    """Environment variables handed to the started server, beside PATH, HOME and their like."""
    key_env: VariableName | None = None
    """Environment variable that holds the bearer token for `url`."""
    start_s: float = Field(default=30.0, gt=0, le=600)
    """Seconds that the server may take to start and answer the first request."""
    call_s: float = Field(default=300.0, gt=0, le=86_400)
    """Seconds that a call of the tool may take."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.command) == bool(self.url):
            raise ValueError("an MCP connection has either a command or a url")
        if self.key_env and not self.url:
            raise ValueError("key_env goes with url; a started server gets its variables by env")
        return self


class WebConnection(_Connection):
    """Which addresses a tool that fetches may fetch. Nothing is allowed that is not listed."""

    kind: Literal["web"] = "web"
    allow: tuple[str, ...] = ()
    """Hosts: example.org (that host), *.example.org (hosts below it), 127.0.0.1:8080 or [::1]:8080 (an address of
    this machine). A port allows only that port."""
    max_bytes: int = Field(default=20_000_000, ge=1)
    """Largest answer."""
    timeout_s: float = Field(default=30.0, gt=0, le=600)
    """Seconds for the whole fetch."""
    max_redirects: int = Field(default=5, ge=0, le=20)
    """Redirects that are followed, to allowed hosts only."""


class Distribution(_Frozen):
    """A distribution of a simulated quantity."""

    shape: Literal["constant", "uniform", "exponential", "lognormal"] = "constant"
    """uniform: mean ± spread; exponential: by its mean; lognormal: spread is the deviation of the logarithm."""
    mean: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Mean, in seconds or US dollars."""
    spread: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Half the width of uniform (at most the mean), sigma of lognormal; without meaning for the others."""

    @model_validator(mode="after")
    def _not_negative(self) -> Self:
        if self.shape == "uniform" and self.spread > self.mean:
            raise ValueError(f"spread {self.spread:g} of a uniform distribution is more than its mean {self.mean:g}")
        return self


class SimulatedConnection(_Connection):
    """No worker at all: waits, costs, fails and stalls as told. Opened only where simulated workers are asked for."""

    kind: Literal["simulated"] = "simulated"
    seed: int = 0
    """Same seed, task and attempt: same behaviour."""
    latency: Distribution = Distribution()
    """Seconds that a call takes."""
    cost: Distribution = Distribution()
    """US dollars that a call costs."""
    failure: float = Field(default=0.0, ge=0, le=1)
    """Share of calls that fail after their latency, and may be tried again."""
    stall: float = Field(default=0.0, ge=0, le=1)
    """Share of calls that never end."""
    malformed: float = Field(default=0.0, ge=0, le=1)
    """Share of calls whose output lacks what the task type declares."""

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if self.failure + self.stall + self.malformed > 1 + 1e-9:
            raise ValueError("failure, stall and malformed are shares of all calls; together they are more than 1")
        return self


class EntryPointConnection(_Connection):
    """A worker of an installed package, which announces it as an entry point of the group `orchestai.workers`."""

    kind: Literal["entry_point"] = "entry_point"
    name: str = Field(min_length=1)
    """Name of the entry point."""


Connection = Annotated[
    OpenAIConnection
    | HuggingFaceConnection
    | LanguageModelConnection
    | McpConnection
    | WebConnection
    | SimulatedConnection
    | EntryPointConnection,
    Field(discriminator="kind"),
]
"""Any of them, told apart by `kind`."""
