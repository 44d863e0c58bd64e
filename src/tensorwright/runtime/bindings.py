"""Inputs and outputs of a plan: names, numbers, and which sizes fit together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import index
from typing import SupportsIndex

from tensorwright.base.errors import ExecutionError
from tensorwright.base.fork import cached_property
from tensorwright.plan.plan import Binding, Plan
from tensorwright.tensor.dim import (
    Dim,
    IntegerExpression,
    Symbol,
    coefficient_of,
    evaluate,
    is_static,
    linear_part,
    symbols_of,
)
from tensorwright.tensor.dtype import DType

Extents = tuple[int, ...]
UNKNOWN = -1


@dataclass(frozen=True)
class Slot:
    """A binding: its number, its place among the inputs or among the outputs, its name and dtype."""

    number: int
    place: int
    name: str
    dtype: DType


@dataclass(frozen=True)
class Sizes:
    """All sizes of one inference: one value per symbol, one shape per binding, in the order of the plan.

    empty: the numbers of the bindings without elements.
    """

    symbols: tuple[int, ...]
    shapes: tuple[Extents, ...]
    empty: tuple[int, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """The value of a symbol and who says so."""

    value: int
    source: str


class BindingTable:
    """The bindings of a plan. Raises ExecutionError for whatever does not fit them."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.bindings = plan.bindings
        self.numbers = {binding.name: number for number, binding in enumerate(plan.bindings)}
        self.inputs = _slots(plan, "input")
        self.outputs = _slots(plan, "output")
        self.input_names = tuple(slot.name for slot in self.inputs)

    @cached_property
    def batch_symbol(self) -> Symbol | None:
        """The symbol that `batch_size` gives a value to.

        It is the plan's own, or else the only symbol, if every input has it as its first dimension.
        """
        if self.plan.batch_symbol is not None:
            return next(symbol for symbol in self.plan.symbols if symbol.name == self.plan.batch_symbol)
        if len(self.plan.symbols) != 1 or not self.inputs:
            return None
        shapes = [self.bindings[slot.number].type.shape for slot in self.inputs]
        leads = all(shape and bare_symbol(shape[0]) == self.plan.symbols[0] for shape in shapes)
        return self.plan.symbols[0] if leads else None

    @cached_property
    def _linear(self) -> tuple[tuple[tuple[Symbol, int, int] | None, ...], ...]:
        """The symbol that each extent of each binding shows, with its factor and the rest; None where it shows none."""
        return tuple(tuple(map(linear_part, binding.type.shape)) for binding in self.bindings)

    @cached_property
    def _symbols(self) -> Mapping[str, Symbol]:
        return {symbol.name: symbol for symbol in self.plan.symbols}

    @cached_property
    def max_batch_size(self) -> int:
        """The largest batch; 1 when no dimension is a batch."""
        return self.batch_symbol.max if self.batch_symbol is not None else 1

    def number(self, binding: object) -> int:
        """The number of a binding that is given by number or name."""
        if isinstance(binding, str):
            if binding not in self.numbers:
                raise ExecutionError(f"{self.where} has no binding '{binding}'; expected one of {self._all_names}")
            return self.numbers[binding]
        if not isinstance(binding, SupportsIndex) or not 0 <= index(binding) < len(self.bindings):
            raise ExecutionError(
                f"{self.where} has no binding {binding!r}; expected a number from 0 to {len(self.bindings) - 1} "
                f"({self._all_names})"
            )
        return index(binding)

    @property
    def where(self) -> str:
        return f"engine '{self.plan.name}'"

    @property
    def _all_names(self) -> str:
        return ", ".join(f"'{binding.name}'" for binding in self.bindings)

    def describe(self, number: int) -> str:
        """The binding as messages name it."""
        binding = self.bindings[number]
        return f"{binding.mode} '{binding.name}' of {self.where}"

    def sizes(self, shapes: Mapping[int, Extents], known: Mapping[str, Evidence]) -> Sizes:
        """All sizes, from the shapes of some bindings and from values that are known already.

        Raises:
            ExecutionError: they contradict each other or the plan, or leave a symbol without a value.
        """
        evidence = self.evidence(shapes, known)
        values = {name: found.value for name, found in evidence.items()}
        self._require_all(values)
        self._verify(shapes, evidence)
        full = tuple(self._evaluate(binding, values) for binding in self.bindings)
        empty = tuple(number for number, shape in enumerate(full) if 0 in shape)
        return Sizes(tuple(values[symbol.name] for symbol in self.plan.symbols), full, empty)

    def extents(self, number: int, shape: Sequence[SupportsIndex]) -> Extents:
        """A shape that is given for a binding, as plain integers.

        Raises:
            ExecutionError: it is no sequence of integers.
        """
        try:
            return tuple(map(index, shape))
        except TypeError:
            raise ExecutionError(
                f"{self.describe(number)}: expected a shape, a sequence of integers, found {shape!r}"
            ) from None

    def check(self, shapes: Mapping[int, Extents]) -> None:
        """Refuse shapes that cannot fit the plan, whatever the other shapes are."""
        self._verify(shapes, self.evidence(shapes, {}))

    def partial_shape(self, number: int, evidence: Mapping[str, Evidence]) -> Extents:
        """The shape of a binding, -1 for dimensions that are not known yet."""
        values = {name: found.value for name, found in evidence.items()}
        return tuple(
            dim
            if isinstance(dim, int)
            else evaluate(dim, values)
            if all(symbol.name in values for symbol in symbols_of(dim))
            else UNKNOWN
            for dim in self.bindings[number].type.shape
        )

    def batch_evidence(self, batch_size: object) -> dict[str, Evidence]:
        """What `batch_size` says about symbols.

        Raises:
            ExecutionError: it is no integer from 1 to `max_batch_size`.
        """
        symbol = self.batch_symbol
        if not isinstance(batch_size, SupportsIndex) or not 1 <= index(batch_size) <= self.max_batch_size:
            advice = (
                "split the batch or build the plan for a larger one" if symbol else "its batch is part of the shapes"
            )
            raise ExecutionError(
                f"{self.where}: expected a batch size from 1 to {self.max_batch_size}, found {batch_size!r}; {advice}"
            )
        return {} if symbol is None else {symbol.name: Evidence(index(batch_size), f"the batch size is {batch_size}")}

    def addresses(self, bindings: Sequence[int], empty: Sequence[int] = ()) -> list[int]:
        """Raw addresses as plain integers, one per binding. empty: the numbers of those without elements, which may be
        any.

        Raises:
            ExecutionError: their number is wrong, or one is null or not aligned to its elements.
        """
        try:
            count = len(bindings)
        except TypeError:
            raise ExecutionError(
                f"{self.where}: expected a list of addresses ({self._all_names}), found {type(bindings).__name__}"
            ) from None
        if count != len(self.bindings):
            raise ExecutionError(
                f"{self.where}: expected {len(self.bindings)} addresses ({self._all_names}), found {count}"
            )
        return [0 if number in empty else self._address(number, address) for number, address in enumerate(bindings)]

    def _address(self, number: int, value: SupportsIndex) -> int:
        try:
            address = index(value)
        except TypeError:
            raise ExecutionError(
                f"{self.describe(number)}: expected an address (an integer), found {type(value).__name__}; "
                "pass array.ctypes.data"
            ) from None
        alignment = self.bindings[number].type.dtype.size
        if not 0 < address < 1 << 64 or address % alignment:
            raise ExecutionError(
                f"{self.describe(number)}: expected an address that is a positive multiple of {alignment}, found "
                f"{address:#x}; pass memory aligned to its elements"
            )
        return address

    def evidence(self, shapes: Mapping[int, Extents], known: Mapping[str, Evidence]) -> dict[str, Evidence]:
        """The values of symbols that the shapes show, together with those that are known already."""
        found = {s.name: Evidence(s.min, f"the plan allows only {s.min}") for s in self.plan.symbols if s.min == s.max}
        for name, evidence in known.items():
            self._add(found, name, evidence)
        for number, shape in shapes.items():
            self._require_rank(number, shape)
            for axis, (linear, extent) in enumerate(zip(self._linear[number], shape, strict=True)):
                if linear is not None:
                    symbol, factor, rest = linear
                    value, left = divmod(extent - rest, factor)
                    if left:
                        raise self._no_such_extent(number, axis, extent)
                    self._add(
                        found, symbol.name, Evidence(value, f"axis {axis} of {self.describe(number)} has {extent}")
                    )
        if len(found) < len(self.plan.symbols):
            self._solve(found, shapes)
        return found

    def _solve(self, found: dict[str, Evidence], shapes: Mapping[int, Extents]) -> None:
        """Add what extents with several symbols show, once all of these but one are known."""
        waiting = [
            (number, axis, dim, extent)
            for number, shape in shapes.items()
            for axis, (dim, extent) in enumerate(zip(self.bindings[number].type.shape, shape, strict=True))
            if len(symbols_of(dim)) > 1
        ]
        count = -1
        while count != len(waiting):
            count, still = len(waiting), []
            for number, axis, dim, extent in waiting:
                unknown = [symbol for symbol in symbols_of(dim) if symbol.name not in found]
                factor = coefficient_of(dim, unknown[0]) if len(unknown) == 1 else None
                if not isinstance(factor, int) or factor <= 0:
                    still += [(number, axis, dim, extent)] if unknown else []
                    continue
                (symbol,) = unknown
                values = {name: evidence.value for name, evidence in found.items()}
                value, left = divmod(extent - evaluate(dim, {**values, symbol.name: 0}), factor)
                if left:
                    raise self._no_such_extent(number, axis, extent)
                source = f"axis {axis} of {self.describe(number)}, which is {dim}, has {extent}"
                self._add(found, symbol.name, Evidence(value, source))
            waiting = still

    def _no_such_extent(self, number: int, axis: int, extent: int) -> ExecutionError:
        dims = self.bindings[number].type.shape
        return ExecutionError(
            f"{self.describe(number)}: expected shape {format_shape(dims)}, found {extent} on axis {axis}, which "
            f"{dims[axis]} never is; pad or crop it"
        )

    def _add(self, found: dict[str, Evidence], name: str, evidence: Evidence) -> None:
        symbol = self._symbols[name]
        if not symbol.min <= evidence.value <= symbol.max:
            raise ExecutionError(
                f"{self.where}: dimension '{name}' is {evidence.value}, because {evidence.source}; expected "
                f"{symbol.min} to {symbol.max}; build the plan with a wider range or split the input"
            )
        other = found.setdefault(name, evidence)
        if other.value != evidence.value:
            raise ExecutionError(
                f"{self.where}: dimension '{name}' cannot be both {other.value} and {evidence.value}: "
                f"{other.source}, but {evidence.source}; make the two agree"
            )

    def _require_rank(self, number: int, shape: Extents) -> None:
        expected = self.bindings[number].type.shape
        if len(shape) != len(expected):
            raise ExecutionError(
                f"{self.describe(number)}: expected {len(expected)} dimensions {format_shape(expected)}, found "
                f"{len(shape)} dimensions {format_shape(shape)}; reshape the array"
            )

    def _require_all(self, values: Mapping[str, int]) -> None:
        missing = [symbol.name for symbol in self.plan.symbols if symbol.name not in values]
        if missing:
            raise ExecutionError(
                f"{self.where}: the size of {', '.join(missing)} is not known; call set_input_shape for the inputs "
                "that have these dimensions, or pass arrays"
            )

    def _verify(self, shapes: Mapping[int, Extents], evidence: Mapping[str, Evidence]) -> None:
        for number, shape in shapes.items():
            dims = self.bindings[number].type.shape
            for axis, (dim, wanted) in enumerate(zip(dims, self.partial_shape(number, evidence), strict=True)):
                if wanted not in (shape[axis], UNKNOWN):
                    raise ExecutionError(
                        f"{self.describe(number)}: expected shape {format_shape(dims)}, found {format_shape(shape)}: "
                        f"axis {axis} must be {_explain(dim, wanted, evidence)}; reshape or crop it"
                    )

    def _evaluate(self, binding: Binding, values: Mapping[str, int]) -> Extents:
        shape = tuple(evaluate(dim, values) for dim in binding.type.shape)
        if any(extent < 0 for extent in shape):
            raise ExecutionError(
                f"{self.where}: {binding.mode} '{binding.name}' {format_shape(binding.type.shape)} would have the "
                f"shape {format_shape(shape)} with {dict(values)}; expected no negative size; use larger inputs"
            )
        return shape


def wrong_names(table: BindingTable, inputs: object, what: str) -> ExecutionError:
    """What to say of inputs that are no mapping with exactly the names of the inputs. what: what it should hold."""
    names = table.input_names
    wanted = f"{table.where}: expected {what} for the inputs {', '.join(map(repr, names)) or 'none'}"
    if not isinstance(inputs, Mapping):
        return ExecutionError(f"{wanted}, found {type(inputs).__name__}; pass a dict of {what} by name")
    missing = [name for name in names if name not in inputs]
    unknown = [name for name in inputs if name not in names]
    return ExecutionError(f"{wanted}; missing: {missing or 'none'}; unknown: {unknown or 'none'}")


def _slots(plan: Plan, mode: str) -> tuple[Slot, ...]:
    numbers = [number for number, binding in enumerate(plan.bindings) if binding.mode == mode]
    found = [(number, plan.bindings[number]) for number in numbers]
    return tuple(Slot(number, place, b.name, b.type.dtype) for place, (number, b) in enumerate(found))


def bare_symbol(dim: Dim) -> Symbol | None:
    """The symbol, when the dimension is nothing but a symbol."""
    if not isinstance(dim, IntegerExpression) or len(dim.terms) != 1:
        return None
    monomial, coefficient = dim.terms[0]
    if coefficient == 1 and len(monomial) == 1 and isinstance(monomial[0], Symbol):
        return monomial[0]
    return None


def format_shape(shape: Iterable[Dim]) -> str:
    """A shape as messages show it; symbols with their range."""
    return f"[{', '.join(_format_dim(dim) for dim in shape)}]"


def _format_dim(dim: Dim) -> str:
    symbol = bare_symbol(dim)
    return str(dim) if symbol is None else f"{symbol.name} in {symbol.min}..{symbol.max}"


def _explain(dim: Dim, wanted: int, evidence: Mapping[str, Evidence]) -> str:
    if is_static(dim):
        return str(wanted)
    reasons = "; ".join(f"{symbol.name}: {evidence[symbol.name].source}" for symbol in symbols_of(dim))
    return f"{wanted} = {dim} ({reasons})"
