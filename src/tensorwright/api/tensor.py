"""Tensors of a network definition."""

from __future__ import annotations

from math import inf
from typing import Protocol

from tensorwright.api.checks import text
from tensorwright.base.errors import NetworkError
from tensorwright.graph.graph import Value
from tensorwright.tensor.dim import Dim
from tensorwright.tensor.dtype import DType
from tensorwright.tensor.type import Shape, TensorType

UNKNOWN = -1


class Owner(Protocol):
    """What a tensor asks of the network that it belongs to."""

    has_implicit_batch_dimension: bool

    def value_of(self, tensor: Tensor) -> Value: ...

    def is_output(self, tensor: Tensor) -> bool: ...

    def change_input(self, tensor: Tensor, *, dtype: object = None, shape: object = None) -> None: ...


class Producer(Protocol):
    """What a tensor asks of the layer that it comes from."""

    name: str

    @property
    def num_outputs(self) -> int: ...

    @property
    def is_input(self) -> bool: ...


class Tensor:
    """The output of a layer, or an input of the network. Its type follows from the layers before it."""

    def __init__(self, network: Owner, producer: Producer, index: int) -> None:
        self.network = network
        self.producer = producer
        self.index = index
        self._name: str | None = None
        self._dynamic_range: tuple[float, float] | None = None

    @property
    def name(self) -> str:
        """Inputs and outputs of the engine are called by it; until it is set it follows the name of the layer."""
        if self.producer.is_input:
            return self.producer.name
        if self._name is not None:
            return self._name
        suffix = f"_{self.index}" if self.producer.num_outputs > 1 else ""
        return f"{self.producer.name}_output{suffix}"

    @name.setter
    def name(self, name: str) -> None:
        text(f"name of tensor '{self.name}'", name)
        if self.producer.is_input:
            self.producer.name = name
        self._name = name

    @property
    def type(self) -> TensorType:
        """Element type and full shape, a batch dimension of the older interface included.

        Raises:
            NetworkError: a layer before the tensor does not accept its inputs; the message names its call.
        """
        return self.network.value_of(self).type

    @property
    def dims(self) -> Shape:
        """The dimensions as ints or symbolic integers; without the batch in networks with implicit batch."""
        return self.type.shape[1:] if self.network.has_implicit_batch_dimension else self.type.shape

    @property
    def shape(self) -> tuple[int, ...]:
        """As `dims`, -1 for what is only known at run time. Can be set for inputs."""
        return tuple(_known(dim) for dim in self.dims)

    @shape.setter
    def shape(self, shape: object) -> None:
        self.network.change_input(self, shape=shape)

    @property
    def dtype(self) -> DType:
        """Can be set for inputs."""
        return self.type.dtype

    @dtype.setter
    def dtype(self, dtype: object) -> None:
        self.network.change_input(self, dtype=dtype)

    @property
    def is_network_input(self) -> bool:
        return self.producer.is_input

    @property
    def is_network_output(self) -> bool:
        return self.network.is_output(self)

    @property
    def dynamic_range(self) -> tuple[float, float] | None:
        """The smallest and largest element that count, for builds with the flag INT8; None for what a calibrator says.

        Scales are symmetric: the larger magnitude counts.
        """
        return self._dynamic_range

    @dynamic_range.setter
    def dynamic_range(self, range: tuple[float, float] | None) -> None:
        if range is None:
            self._dynamic_range = None
        else:
            self.set_dynamic_range(*range)

    def set_dynamic_range(self, min: float, max: float) -> bool:
        """As `dynamic_range`; True.

        Raises:
            NetworkError: these are no finite numbers, or the first is not below the second.
        """
        low, high = float(min), float(max)
        if not -inf < low <= high < inf or low == high == 0:
            raise NetworkError(
                f"dynamic range of tensor '{self.name}': expected finite numbers min <= max, not both 0, found {min} "
                f"and {max}"
            )
        self._dynamic_range = low, high
        return True

    def reset_dynamic_range(self) -> None:
        """Forget the range."""
        self._dynamic_range = None

    def __repr__(self) -> str:
        return f"Tensor('{self.name}')"


def _known(dim: Dim) -> int:
    return dim if isinstance(dim, int) else UNKNOWN
