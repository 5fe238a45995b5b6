"""Published tensors by name, taken into parameters one by one until none is left."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from flax import nnx


class EncoderFormatError(ValueError):
    """Files were found but are not an encoder that can be loaded."""


class PublishedTensors:
    """Tensors as PyTorch modules name them; whatever fits badly raises EncoderFormatError."""

    def __init__(self, tensors: Mapping[str, np.ndarray], prefix: str = ""):
        """`prefix` is left out of names where any tensor has it; the tensors without it are then left aside."""
        self._prefix = prefix if any(name.startswith(prefix) for name in tensors) else ""
        self._tensors = tensors
        self._left = {name.removeprefix(self._prefix) for name in tensors if name.startswith(self._prefix)}

    def __contains__(self, name: str) -> bool:
        return self._prefix + name in self._tensors

    def take(self, name: str, variable: nnx.Variable, *, transpose: bool = False) -> None:
        """Set a parameter from the tensor of a name."""
        tensor = self._tensors.get(self._prefix + name)
        if tensor is None:
            raise EncoderFormatError(f"tensor {self._prefix + name} is missing")
        array = np.asarray(tensor, np.float32).T if transpose else np.asarray(tensor, np.float32)
        if array.shape != variable[...].shape:
            raise EncoderFormatError(f"tensor {name} has shape {array.shape}, the encoder wants {variable[...].shape}")
        variable[...] = jnp.asarray(array)
        self._left.discard(name)

    def array(self, name: str, dtype: type[np.generic], shape: tuple[int, ...]) -> np.ndarray:
        """The tensor of a name, of this very dtype and shape."""
        tensor = self._tensors.get(self._prefix + name)
        if tensor is None:
            raise EncoderFormatError(f"tensor {self._prefix + name} is missing")
        if tensor.dtype != dtype or tensor.shape != shape:
            raise EncoderFormatError(
                f"tensor {name} is {tensor.dtype} of shape {tensor.shape},"
                f" the encoder wants {np.dtype(dtype)} of {shape}"
            )
        self._left.discard(name)
        return tensor

    def linear(self, name: str, module: nnx.Linear) -> None:
        """A linear layer's weight (published transposed) and its bias where it has one."""
        self.take(f"{name}.weight", module.kernel, transpose=True)
        if module.bias is not None:
            self.take(f"{name}.bias", module.bias)

    def norm(self, name: str, module: nnx.LayerNorm) -> None:
        """A layer norm's weight and bias."""
        for suffix, variable in (("weight", module.scale), ("bias", module.bias)):
            if variable is not None:
                self.take(f"{name}.{suffix}", variable)

    def refuse_rest(self, aside: tuple[str, ...], endings: tuple[str, ...] = ()) -> None:
        """Raise for tensors that nothing took, those that begin or end so left aside."""
        unused = sorted(n for n in self._left if not n.startswith(aside) and not (endings and n.endswith(endings)))
        if unused:
            raise EncoderFormatError(
                f"{len(unused)} tensors belong to no parameter of the encoder, the first is {unused[0]}"
            )
