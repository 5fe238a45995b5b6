"""The float language model in plain PyTorch, to compare training speed with: nanoGPT's manner, our architecture."""

from __future__ import annotations

import time

import numpy as np
import torch
import torch.nn.functional as functional
from torch import nn

from orchestai_jax.config import LanguageModelConfig, PretrainingConfig


class Norm(nn.Module):
    """RMS norm."""

    def __init__(self, size: int, epsilon: float):
        super().__init__()
        self.weight, self.epsilon = nn.Parameter(torch.ones(size)), epsilon

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise the last axis."""
        return functional.rms_norm(x, (x.shape[-1],), self.weight, self.epsilon)


class Layer(nn.Module):
    """Attention and feed-forward, as `orchestai_jax.language_model.layer` has them."""

    def __init__(self, config: LanguageModelConfig):
        super().__init__()
        hidden, inner, epsilon = config.hidden_size, config.intermediate_size, config.rms_epsilon
        self.heads, self.kv_heads, self.head_dim = config.num_heads, config.num_kv_heads, config.head_dim
        self.attention_norm, self.feed_forward_norm = Norm(hidden, epsilon), Norm(hidden, epsilon)
        self.attention_sub_norm, self.feed_forward_sub_norm = Norm(hidden, epsilon), Norm(inner, epsilon)
        self.qkv = nn.Linear(hidden, (self.heads + 2 * self.kv_heads) * self.head_dim, bias=False)
        self.out = nn.Linear(hidden, hidden, bias=False)
        self.gate_up = nn.Linear(hidden, 2 * inner, bias=False)
        self.down = nn.Linear(inner, hidden, bias=False)

    def forward(self, x: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
        """x [batch, time, hidden]."""
        batch, time_, hidden = x.shape
        sizes = [self.heads * self.head_dim, self.kv_heads * self.head_dim, self.kv_heads * self.head_dim]
        parts = self.qkv(self.attention_norm(x)).split(sizes, dim=-1)
        query, key, value = (part.view(batch, time_, -1, self.head_dim).transpose(1, 2) for part in parts)

        def rotated(y: torch.Tensor) -> torch.Tensor:
            first, second = y.chunk(2, dim=-1)
            return torch.cat([first * cosines - second * sines, second * cosines + first * sines], dim=-1)

        mixed = functional.scaled_dot_product_attention(
            rotated(query), rotated(key), value, is_causal=True, enable_gqa=self.heads != self.kv_heads
        )
        x = x + self.out(self.attention_sub_norm(mixed.transpose(1, 2).reshape(batch, time_, hidden)))
        gate, up = self.gate_up(self.feed_forward_norm(x)).chunk(2, dim=-1)
        return x + self.down(self.feed_forward_sub_norm(functional.relu(gate).square() * up))


class Model(nn.Module):
    """Embedding, layers, norm, tied head."""

    cosines: torch.Tensor
    sines: torch.Tensor

    def __init__(self, config: LanguageModelConfig):
        super().__init__()
        assert config.vocab_size is not None
        assert config.tied_embeddings
        assert config.sub_norms
        assert config.activation == "relu2"
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_layers))
        self.norm = Norm(config.hidden_size, config.rms_epsilon)
        frequencies = config.rope_theta ** (-torch.arange(0, config.head_dim, 2) / config.head_dim)
        angles = torch.outer(torch.arange(config.max_positions), frequencies)
        self.register_buffer("cosines", angles.cos())
        self.register_buffer("sines", angles.sin())
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=config.initializer_range)

    def forward(self, tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The mean cross-entropy."""
        x = self.embedding(tokens)
        cosines, sines = self.cosines[: tokens.shape[1]], self.sines[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x, cosines, sines)
        logits = self.norm(x) @ self.embedding.weight.T
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def torch_steps_per_s(
    model: LanguageModelConfig, training: PretrainingConfig, batches: list[np.ndarray], rounds: int
) -> list[float]:
    """Steps a second of each round over the batches; the first round, which warms up, is left out."""
    torch.manual_seed(0)
    network = Model(model)
    optimizer = torch.optim.AdamW(
        network.parameters(),
        lr=training.learning_rate,
        betas=(0.9, training.beta2),
        weight_decay=training.weight_decay,
        fused=True,
    )
    tensors = [torch.from_numpy(batch.astype(np.int64)) for batch in batches]
    speeds = []
    for _ in range(rounds + 1):
        begun = time.perf_counter()
        for batch in tensors:
            optimizer.zero_grad(set_to_none=True)
            network(batch[:, :-1], batch[:, 1:]).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), training.gradient_clip)
            optimizer.step()
        speeds.append(len(batches) / (time.perf_counter() - begun))
    return speeds[1:]
