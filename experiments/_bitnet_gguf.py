"""A GGUF of random weights in BitNet-b1.58-large's shape, as llama.cpp reads it."""

from __future__ import annotations

import pathlib
from typing import Any


def write_gguf(path: pathlib.Path, layers: int) -> None:
    """Random weights of the same shape for llama.cpp: TQ2_0 projections, a Q6_K embedding that is the head too."""
    import gguf  # pyright: ignore[reportMissingImports] - extra `llama`
    import numpy as np

    from orchestai_jax.language_model.shapes import LARGE_0_7B as SHAPE

    rng = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "bitnet")
    writer.add_block_count(layers)
    writer.add_context_length(SHAPE.max_positions)
    writer.add_embedding_length(SHAPE.hidden_size)
    writer.add_feed_forward_length(SHAPE.intermediate_size)
    writer.add_head_count(SHAPE.num_heads)
    writer.add_head_count_kv(SHAPE.num_kv_heads)
    writer.add_layer_norm_rms_eps(SHAPE.rms_epsilon)
    writer.add_rope_freq_base(SHAPE.rope_theta)
    writer.add_vocab_size(SHAPE.vocab_size or 0)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_TQ2_0)
    writer.add_tokenizer_model("none")

    def half(blocks: int, value: float) -> Any:
        return np.full((blocks, 1), value, np.float16).view(np.uint8)

    def ternary(name: str, rows: int, columns: int) -> None:
        blocks = rows * columns // 256
        codes = np.array([a | b << 2 | c << 4 | d << 6 for a in range(3) for b in range(3) for c in range(3)
                          for d in range(3)], np.uint8)  # fmt: skip
        data = np.concatenate([codes[rng.integers(0, 81, (blocks, 64))], half(blocks, columns**-0.5)], axis=1)
        writer.add_tensor(name, data.reshape(rows, -1), raw_dtype=gguf.GGMLQuantizationType.TQ2_0)

    def norm(name: str, size: int) -> None:
        writer.add_tensor(name, np.ones(size, np.float32))

    vocab = SHAPE.vocab_size or 0
    blocks = vocab * SHAPE.hidden_size // 256
    # 6 bits, eight-bit scales, a half: block_q6_K
    bits = rng.integers(0, 256, (blocks, 192), dtype=np.uint8)
    scales = rng.integers(1, 32, (blocks, 16), dtype=np.uint8)
    table = np.concatenate([bits, scales, half(blocks, 1e-4)], axis=1)
    writer.add_tensor("token_embd.weight", table.reshape(vocab, -1), raw_dtype=gguf.GGMLQuantizationType.Q6_K)
    norm("output_norm.weight", SHAPE.hidden_size)
    hidden, inner = SHAPE.hidden_size, SHAPE.intermediate_size
    for i in range(layers):
        for name, size in (("attn_norm", hidden), ("attn_sub_norm", hidden), ("ffn_norm", hidden)):
            norm(f"blk.{i}.{name}.weight", size)
        norm(f"blk.{i}.ffn_sub_norm.weight", inner)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            ternary(f"blk.{i}.{name}.weight", hidden, hidden)
        ternary(f"blk.{i}.ffn_gate.weight", inner, hidden)
        ternary(f"blk.{i}.ffn_up.weight", inner, hidden)
        ternary(f"blk.{i}.ffn_down.weight", hidden, inner)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
