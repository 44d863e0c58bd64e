"""A network while it is generated: adds nodes whose elements stay bounded, and finds operands for the next one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from networks.choices import Choices, chance, choose
from networks.network import Attribute, Constant, Extent, Network, Node, Tensor, is_varying

LARGEST = {"float16": 200.0, "bfloat16": 1e3, "float32": 1e3, "float64": 1e3}
"""Elements stay below these, so that errors relative to the largest element mean something."""

MOST_ELEMENTS = 1 << 15
RECENT = 6


class Unfit(Exception):
    """An operator does not fit the network so far."""


class Growing:
    """The only object of the generator that changes."""

    def __init__(self, choices: Choices, symbols: Sequence[tuple[str, Extent]] = ()) -> None:
        self.choices = choices
        self.symbols = tuple(symbols)
        self.assignments = len(symbols[0][1]) if symbols else 1
        self.inputs: list[Tensor] = []
        self.constants: list[Constant] = []
        self.nodes: list[Node] = []
        self.tensors: list[Tensor] = []
        self._count = 0

    def network(self, outputs: Sequence[str]) -> Network:
        return Network(tuple(self.inputs), tuple(self.constants), tuple(self.nodes), tuple(outputs), self.symbols)

    def fixed(self, extent: int) -> Extent:
        return (extent,) * self.assignments

    def fixed_shape(self, shape: Sequence[int]) -> tuple[Extent, ...]:
        return tuple(map(self.fixed, shape))

    def input(self, dtype: str, shape: Sequence[Extent], low: float, high: float) -> Tensor:
        tensor = Tensor(self._name("x"), dtype, tuple(shape), low, high, is_exact=True)
        self._checked(tensor)
        self.inputs.append(tensor)
        self.tensors.append(tensor)
        return tensor

    def constant(self, dtype: str, shape: Sequence[int], low: float, high: float) -> Tensor:
        """Random elements."""
        tensor = Tensor(self._name("w"), dtype, self.fixed_shape(shape), low, high, is_exact=True)
        self.constants.append(Constant(tensor, self.choices.integer(0, 1 << 30)))
        return tensor

    def given(self, elements: Sequence[int], shape: Sequence[int] | None = None, dtype: str = "int64") -> Tensor:
        """A constant of these integers."""
        low, high = min(elements, default=0), max(elements, default=0)
        shape = (len(elements),) if shape is None else shape
        tensor = Tensor(self._name("c"), dtype, self.fixed_shape(shape), low, high, is_exact=True)
        self.constants.append(Constant(tensor, elements=tuple(elements)))
        return tensor

    def number(self, like: Tensor, value: float) -> Tensor:
        """A constant of rank 0."""
        tensor = Tensor(self._name("c"), like.dtype, (), value, value, is_exact=True)
        self.constants.append(Constant(tensor, elements=(value,)))
        return tensor

    def pick(self, fits: Callable[[Tensor], bool]) -> Tensor:
        """A tensor that fits: mostly one of the last few, else any.

        Raises:
            Unfit: there is none.
        """
        fitting = [tensor for tensor in self.tensors if fits(tensor)]
        if not fitting:
            raise Unfit
        recent = fitting[-RECENT:] if chance(self.choices, 60) else fitting
        return recent[len(recent) - 1 - self.choices.integer(0, len(recent) - 1)]

    def add(
        self,
        operator: str,
        operands: Sequence[Tensor | None],
        result: tuple[str, Sequence[Extent]],
        bounds: tuple[float, float],
        *,
        exact: bool = False,
        unbounded: bool = False,
        **attributes: Attribute,
    ) -> Tensor:
        """One node with one result."""
        results = [(*result, *bounds)]
        return self.add_all(operator, operands, results, exact=exact, unbounded=unbounded, **attributes)[0]

    def add_all(
        self,
        operator: str,
        operands: Sequence[Tensor | None],
        results: Sequence[tuple[str, Sequence[Extent], float, float]],
        *,
        exact: bool = False,
        unbounded: bool = False,
        **attributes: Attribute,
    ) -> tuple[Tensor, ...]:
        """One node.

        exact: whether the results are exact where all operands are. unbounded: whether elements may be large.

        Raises:
            Unfit: a result is too large.
        """
        is_exact = exact and all(operand is None or operand.is_exact for operand in operands)
        tensors = tuple(
            Tensor(self._name("t"), dtype, tuple(shape), low, high, is_exact or "float" not in dtype)
            for dtype, shape, low, high in results
        )
        for tensor in tensors:
            self._checked(tensor, unbounded=unbounded)
        names = tuple("" if operand is None else operand.name for operand in operands)
        self.nodes.append(Node(operator, names, tensors, tuple(sorted(attributes.items()))))
        self.tensors.extend(tensors)
        return tensors

    def forget(self, *tensors: Tensor) -> None:
        """Nothing else is to read these."""
        self.tensors = [tensor for tensor in self.tensors if tensor not in tensors]

    def checkpoint(self) -> tuple[list[Tensor], list[Constant], list[Node], list[Tensor]]:
        return self.inputs[:], self.constants[:], self.nodes[:], self.tensors[:]

    def restore(self, point: tuple[list[Tensor], list[Constant], list[Node], list[Tensor]]) -> None:
        """Forget what was added since a checkpoint."""
        self.inputs, self.constants, self.nodes, self.tensors = point

    def choose(self, *options: object) -> object:
        return choose(self.choices, options)

    def extent(self) -> int:
        return choose(self.choices, (4, 1, 2, 3, 5, 7, 8, 16, 17))

    def axis(self, tensor: Tensor, fits: Callable[[Extent], bool] = lambda extent: not is_varying(extent)) -> int:
        """The number of an axis whose extent fits; by default a fixed one."""
        axes = [axis for axis, extent in enumerate(tensor.shape) if fits(extent)]
        if not axes:
            raise Unfit
        return choose(self.choices, axes)

    def _name(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count}"

    def _checked(self, tensor: Tensor, *, unbounded: bool = False) -> None:
        if any(prod(tensor.extents(assignment)) > MOST_ELEMENTS for assignment in range(self.assignments)):
            raise Unfit
        if tensor.is_float and not unbounded and not tensor.largest <= LARGEST[tensor.dtype]:
            raise Unfit
        if tensor.is_integer and not fits_integer(tensor):
            raise Unfit


def fits_integer(tensor: Tensor) -> bool:
    bits = int(tensor.dtype.lstrip("uint"))
    low, high = (0, 1 << bits) if tensor.dtype.startswith("u") else (-1 << (bits - 1), 1 << (bits - 1))
    return low <= tensor.low and tensor.high < min(high, 1 << 40)


def broadcast(a: Sequence[Extent], b: Sequence[Extent]) -> tuple[Extent, ...] | None:
    """The shape of two operands together; None if they do not fit."""
    longer, shorter = (a, b) if len(a) >= len(b) else (b, a)
    result = list(longer)
    for offset, extent in enumerate(reversed(shorter), 1):
        other = result[-offset]
        if set(other) == {1}:
            result[-offset] = extent
        elif extent != other and set(extent) != {1}:
            return None
    return tuple(result)
