"""How a training run is spread over devices."""

from __future__ import annotations

from pydantic import Field

from orchestai_jax.config.section import Section


class MeshConfig(Section):
    """The mesh of devices: their number is the product of the axes; 1 × 1 × 1 is one device."""

    replica: int = Field(default=1, ge=1)
    """Copies of everything, the outer part of data parallelism (as between machines); divides the batch."""
    data: int = Field(default=1, ge=1)
    """Parts that each batch is cut into within a copy; replica × data divides the batch."""
    tensor: int = Field(default=1, ge=1)
    """Parts that the weight matrices are cut into."""

    @property
    def num_devices(self) -> int:
        """Devices in all."""
        return self.replica * self.data * self.tensor

    @property
    def batch_parts(self) -> int:
        """Parts that a batch is cut into."""
        return self.replica * self.data

    def check_batch(self, batch_size: int) -> None:
        """Raise ValueError for a batch that cannot be cut evenly."""
        if batch_size % self.batch_parts:
            raise ValueError(
                f"batch_size {batch_size} is not a multiple of mesh.replica × mesh.data = "
                f"{self.replica} × {self.data} = {self.batch_parts}"
            )
