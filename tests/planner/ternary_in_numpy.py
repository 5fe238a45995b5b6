"""What a ternary encoder's folder says, in float64 NumPy, from its tensors alone."""

import math

import numpy as np


def signs(codes, rows, columns):
    """The weights of `codes` [rows / 32, columns / 4, 32], by the layout that TernaryArray documents."""
    blocks, quads, _ = codes.shape
    found = np.zeros((blocks * 32, quads * 4))
    for block in range(blocks):
        for quad in range(quads):
            for byte in range(32):
                r, kk = divmod(byte, 4)
                for g in range(4):
                    code = int(codes[block, quad, byte]) >> 2 * g & 3
                    found[32 * block + 8 * g + r, 4 * quad + kk] = code - 1
    return found[:rows, :columns]


def hidden_states(tensors, config, ids):
    """Hidden states [n, hidden] of one text."""
    hidden, wide, heads = config["hidden_size"], config["intermediate_size"], config["num_heads"]
    sizes = {"qkv": (3 * hidden, hidden), "out": (hidden, hidden), "up": (wide, hidden), "down": (hidden, wide)}

    def table(name):
        return tensors[f"{name}.values"].astype(np.float64) * tensors[f"{name}.scale"][:, None]

    def linear(x, name):
        scale = 127 / np.abs(x).max(-1, keepdims=True)
        t = signs(tensors[f"{name}.codes"], *sizes[name.rpartition(".")[2]])
        return np.round(x * scale) / scale @ t.T * tensors[f"{name}.scale"] + tensors[f"{name}.bias"]

    def layer_norm(x, name):
        centred = x - x.mean(-1, keepdims=True)
        normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + config["layer_norm_epsilon"])
        return normed * tensors[f"{name}.scale"] + tensors[f"{name}.bias"]

    def sub_norm(x, name):
        if not config["sub_norms"]:
            return x
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * tensors[f"{name}.weight"]

    n = len(ids)
    x = layer_norm(table("embedding.word")[ids] + table("embedding.position")[:n], "embedding.norm")
    for i in range(config["num_layers"]):
        layer = f"layers.{i}"
        query, key, value = np.split(linear(x, f"{layer}.qkv"), 3, axis=-1)
        query, key, value = (part.reshape(n, heads, -1) for part in (query, key, value))
        scores = np.exp(np.einsum("qhd,khd->hqk", query, key) / math.sqrt(hidden / heads))
        mixed = np.einsum("hqk,khd->qhd", scores / scores.sum(-1, keepdims=True), value).reshape(n, hidden)
        attended = linear(sub_norm(mixed, f"{layer}.attention_sub_norm"), f"{layer}.out")
        x = layer_norm(x + attended, f"{layer}.attention_norm")
        up = linear(x, f"{layer}.up")
        up = up * (1 + np.vectorize(math.erf)(up / math.sqrt(2))) / 2
        down = linear(sub_norm(up, f"{layer}.feed_forward_sub_norm"), f"{layer}.down")
        x = layer_norm(x + down, f"{layer}.feed_forward_norm")
    return x
