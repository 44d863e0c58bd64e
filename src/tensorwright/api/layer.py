"""What all layers of a network definition have in common."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Generic, Protocol, Self, TypeVar, overload

from tensorwright.api.checks import data_type
from tensorwright.api.checks import index as checked_index
from tensorwright.api.enums import LayerType
from tensorwright.api.tensor import Owner, Tensor
from tensorwright.base.errors import NetworkError
from tensorwright.graph.graph import Value, constant_value
from tensorwright.graph.op import Op
from tensorwright.tensor.dim import Atom, Dim
from tensorwright.tensor.dtype import DType
from tensorwright.tensor.weights import Weights

PACKAGE = __name__.partition(".")[0]


Formula = Callable[[Sequence[int], Sequence[int], Sequence[int], Sequence[int], Sequence[int], str], Sequence[int]]
"""The extents of an output from those of the input, of the dilated kernel, stride, padding, dilation, and the layer."""


class Network(Owner, Protocol):
    """What a layer asks of the network that it belongs to."""

    output_dimensions_formulas: dict[LayerType, Formula]

    def invalidate(self, layer: Layer) -> None:
        """The values of the layer, and of all that follow from them, have to be computed anew."""
        ...

    def default_name(self, type: LayerType) -> str: ...


class Layer:
    """A step of the network: a mutable description, turned into operators when a type or a build asks for it.

    `call` is the method that adds it, as errors name it. Layers whose properties may still repair their shapes
    (`settled` is False) are checked when their outputs are first used, the others when they are added.
    """

    type: ClassVar[LayerType]
    call: ClassVar[str]
    settled: ClassVar[bool] = True
    is_input: ClassVar[bool] = False

    def __init__(self, network: Network, name: str | None, inputs: Sequence[Tensor], num_outputs: int = 1) -> None:
        self.network = network
        self._name = network.default_name(self.type) if name is None else name
        self.added_at = _callers_line()
        self._inputs = [self._checked_input(number, tensor) for number, tensor in enumerate(inputs)]
        self._outputs = tuple(Tensor(network, self, index) for index in range(num_outputs))
        self._precision: DType | None = None
        self.output_types: dict[int, DType] = {}

    def lower(self, *inputs: Value) -> Sequence[Value]:
        """The operators of the layer applied to values: one value per output.

        Raises:
            NetworkError: the inputs do not fit; the message need not name the layer.
        """
        raise NotImplementedError

    @property
    def name(self) -> str:
        """What plans, messages and options call the layer."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._name = name
        self.changed()

    @property
    def precision(self) -> DType | None:
        """The type that the layer is to be computed in: float32, float16 or bfloat16; None for the fastest permitted.

        It has an effect with the flags OBEY_PRECISION_CONSTRAINTS and PREFER_PRECISION_CONSTRAINTS.
        """
        return self._precision

    @precision.setter
    def precision(self, dtype: object) -> None:
        self._precision = None if dtype is None else self._type("precision", dtype)

    def set_output_type(self, index: int, dtype: object) -> None:
        """Convert an output of the layer to another type; what reads it has to accept that type."""
        self._require_index(index, self.num_outputs, "output")
        self.output_types[index] = self._type("set_output_type", dtype)
        self.changed()

    def reset_output_type(self, index: int) -> None:
        """Take back `set_output_type`."""
        if self.output_types.pop(index, None) is not None:
            self.changed()

    def _type(self, what: str, dtype: object) -> DType:
        try:
            return data_type(what, dtype)
        except NetworkError as error:
            raise self.error(str(error)) from None

    @property
    def num_inputs(self) -> int:
        return len(self._inputs)

    @property
    def num_outputs(self) -> int:
        return len(self._outputs)

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return tuple(self._inputs)

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        return self._outputs

    def get_input(self, index: int) -> Tensor:
        self._require_index(index, self.num_inputs, "input")
        return self._inputs[index]

    def get_output(self, index: int = 0) -> Tensor:
        self._require_index(index, self.num_outputs, "output")
        return self._outputs[index]

    def set_input(self, index: int, tensor: Tensor) -> None:
        """Read another tensor of the same network."""
        self._require_index(index, self.num_inputs, "input")
        self._inputs[index] = self._checked_input(index, tensor)
        self.changed()

    def substitute(self, replacements: Mapping[Atom, Dim]) -> None:
        """Put other dimensions in place of the symbols in the layer's own properties."""

    def changed(self) -> None:
        """A property has changed: types and values have to be computed anew."""
        self.network.invalidate(self)

    def error(self, message: str) -> NetworkError:
        """An error that names the user's call."""
        return NetworkError(f"{self.where}: {message}")

    @property
    def where(self) -> str:
        return f"{self.call} '{self.name}'"

    @property
    def batch_axes(self) -> int:
        """How many leading axes of values the user does not count: the implicit batch."""
        return 1 if self.network.has_implicit_batch_dimension else 0

    def node(self, op: Op, *inputs: Value) -> Value:
        """An operator applied to values, named like the layer."""
        return Value(op, inputs, op.infer([value.type for value in inputs]), self.name)

    def constant(self, weights: Weights) -> Value:
        """A constant, named like the layer."""
        return constant_value(weights, self.name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}('{self.name}')"

    def _checked_input(self, number: int, tensor: object) -> Tensor:
        what = f"input {number}" if number else "input"
        if not isinstance(tensor, Tensor):
            advice = "pass layer.get_output(0)" if isinstance(tensor, Layer) else "pass a tensor of this network"
            raise self.error(f"{what}: expected a tensor, found {type(tensor).__name__}; {advice}")
        if tensor.network is not self.network:
            raise self.error(f"{what}: tensor '{tensor.name}' belongs to another network; pass one of this network")
        return tensor

    def _require_index(self, index: int, count: int, what: str) -> None:
        checked_index(f"{self.where}: {what}", index, 0, count)


Checked = TypeVar("Checked")


class Setting(Generic[Checked]):
    """A property of a layer: checked when it is set, and then all that depends on it is computed anew."""

    def __init__(self, check: Callable[[str, object], Checked]) -> None:
        self._check = check
        self._name = ""

    def __set_name__(self, owner: type[Layer], name: str) -> None:
        self._name = self._name or name

    @overload
    def __get__(self, layer: None, owner: type[Layer]) -> Self: ...
    @overload
    def __get__(self, layer: Layer, owner: type[Layer]) -> Checked: ...
    def __get__(self, layer: Layer | None, owner: type[Layer]) -> Self | Checked:
        if layer is None:
            return self
        value: Checked = layer.__dict__[self._name]
        return value

    def __set__(self, layer: Layer, value: object) -> None:
        try:
            layer.__dict__[self._name] = self.checked(layer, self._name, value)
        except NetworkError as error:
            raise layer.error(str(error)) from None
        layer.changed()

    def checked(self, layer: Layer, name: str, value: object) -> Checked:
        """The value in its normal form."""
        return self._check(name, value)


def _callers_line() -> str:
    """File and line of the innermost call from outside this package."""
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == PACKAGE:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
