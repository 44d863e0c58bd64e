"""Constant tensors: read lazily, equal by content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import xxhash

from tensorwright.base.fork import cached_property
from tensorwright.tensor.dtype import dtype_of
from tensorwright.tensor.type import TensorType


@dataclass(frozen=True, eq=False)
class Weights:
    """A constant tensor. `read` returns its array; it is called when the values are first needed.

    forget: takes what `read` returned out of this process's memory, from where it comes back by itself when it is used.
    Two weights are equal when type and bytes are equal, whatever file or array they come from.
    """

    type: TensorType
    read: Callable[[], npt.NDArray[np.generic]] = field(repr=False)
    forget: Callable[[], object] | None = field(default=None, repr=False)

    @cached_property
    def array(self) -> npt.NDArray[np.generic]:
        """The values, read-only, C-contiguous, of shape `type.shape`."""
        array = np.ascontiguousarray(self.read()).reshape(self.type.tuning_shape)
        view = array.view()
        view.flags.writeable = False
        return view

    @cached_property
    def digest(self) -> bytes:
        """16 bytes that identify type and content."""
        hasher = xxhash.xxh3_128(repr(self.type).encode())
        hasher.update(self.array.reshape(-1).view(np.uint8).data)
        self.let_go()
        return hasher.digest()

    def let_go(self) -> None:
        """Keep the values out of this process's memory until they are used again, where that is possible."""
        if self.forget is not None:
            self.forget()

    @property
    def is_scalar(self) -> bool:
        return self.type.elements == 1

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Weights):
            return NotImplemented
        return self is other or (self.type == other.type and self.digest == other.digest)

    def __hash__(self) -> int:
        return hash(self.digest)


def weights_of(array: npt.ArrayLike) -> Weights:
    """Weights that copy an array, so that the source may change or go away afterwards."""
    copied = np.array(array, order="C", copy=True)
    return Weights(TensorType(dtype_of(copied.dtype), copied.shape), lambda: copied)
