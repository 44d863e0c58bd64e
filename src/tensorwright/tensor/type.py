"""The type of a tensor: element type and shape."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from tensorwright.tensor.dim import Dim, is_static, product, tuning_value, upper_bound
from tensorwright.tensor.dtype import DType

Shape = tuple[Dim, ...]


@dataclass(frozen=True)
class TensorType:
    """Element type and shape; dimensions are ints or symbolic integers."""

    dtype: DType
    shape: Shape

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def elements(self) -> Dim:
        return product(self.shape)

    @property
    def max_bytes(self) -> int:
        """Bytes when every symbol takes its largest value."""
        return upper_bound(self.elements) * self.dtype.size

    @property
    def spanned_bytes(self) -> int:
        """Bytes at the sizes to tune for if axes without elements had one: NumPy has a limit to what others hold."""
        return prod(max(1, extent) for extent in self.tuning_shape) * self.dtype.size

    @property
    def tuning_shape(self) -> tuple[int, ...]:
        """The shape when every symbol takes its `opt`."""
        return tuple(tuning_value(dim) for dim in self.shape)

    @property
    def is_static(self) -> bool:
        return all(is_static(dim) for dim in self.shape)

    @property
    def is_empty(self) -> bool:
        """Whether there are no elements, whatever values the symbols take."""
        return self.elements == 0

    def __repr__(self) -> str:
        return f"{self.dtype.name}[{'×'.join(map(str, self.shape))}]"
