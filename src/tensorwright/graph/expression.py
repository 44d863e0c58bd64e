"""The language in which operators state their mathematics: scalar expressions over indices of tensors.

A `Computation` says what one element of the output is: for every assignment of its index variables, the value of its
body. Bodies are made of constants, loads of input elements, functions applied to scalars, and reductions over further
variables. Code generation, fusion and the NumPy interpreter all read this one form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from tensorwright.tensor.dim import (
    Atom,
    Dim,
    IntegerExpression,
    coefficient_of,
    expression,
    is_static,
    maximum,
    minimum,
    parts_of,
    substitute,
    upper_bound,
)
from tensorwright.tensor.dtype import BOOL, INT64, DType

Combine = Literal["add", "mul", "max", "min"]


@dataclass(frozen=True)
class Variable:
    """An index that runs from 0 up to, not including, `extent`."""

    name: str
    extent: Dim

    @cached_property
    def _hash(self) -> int:
        return hash((self.name, self.extent))

    def __hash__(self) -> int:
        return self._hash

    @property
    def bounds(self) -> tuple[int, int]:
        return 0, max(0, upper_bound(self.extent) - 1)

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Constant:
    """A scalar known at build time."""

    value: float | int | bool
    dtype: DType


@dataclass(frozen=True)
class IndexValue:
    """An integer made of indices and dimensions, used as a scalar of type int64."""

    index: Dim
    dtype: DType = INT64


@dataclass(frozen=True)
class Load:
    """The element of input number `operand` at a logical index.

    Where `guard` (a bool scalar) is false nothing is read, and the value is `otherwise`.
    """

    operand: int
    index: tuple[Dim, ...]
    dtype: DType
    guard: Scalar | None = None
    otherwise: float | int | bool = 0


@dataclass(frozen=True)
class Apply:
    """A function of scalars; the names are listed in `tensorwright.graph.functions`."""

    function: str
    operands: tuple[Scalar, ...]
    dtype: DType


@dataclass(frozen=True)
class Reduce:
    """The sum, product, largest or smallest of `body` over all values of `variables`."""

    combine: Combine
    variables: tuple[Variable, ...]
    body: Scalar
    dtype: DType

    @cached_property
    def _hash(self) -> int:
        return hash((self.combine, self.variables, self.body))

    def __hash__(self) -> int:
        return self._hash


Scalar = Constant | IndexValue | Load | Apply | Reduce


@dataclass(frozen=True)
class DataIndex:
    """An integer read from a tensor and used as an index, with the bounds that make it a legal one."""

    scalar: Scalar
    low: int
    high: int

    @property
    def bounds(self) -> tuple[int, int]:
        return self.low, self.high


@dataclass(frozen=True)
class Computation:
    """One output element as a function of its logical index (`variables`, outermost first)."""

    variables: tuple[Variable, ...]
    body: Scalar

    @property
    def index(self) -> tuple[Dim, ...]:
        return tuple(expression(v) for v in self.variables)


def variables_for(shape: tuple[Dim, ...], prefix: str = "i") -> tuple[Variable, ...]:
    """One variable per axis of a shape."""
    return tuple(Variable(f"{prefix}{axis}", extent) for axis, extent in enumerate(shape))


def data_index(scalar: Scalar, extent: Dim) -> Dim:
    """A scalar read from data as an index into an axis of `extent` elements, whatever the data is."""
    index = expression(DataIndex(scalar, 0, max(0, upper_bound(extent) - 1)))
    return index if is_static(extent) else minimum(index, maximum(extent - 1, 0))


def compare(function: Literal["less", "less_equal", "equal"], left: Dim, right: Dim) -> Scalar:
    """A condition on indices."""
    return Apply(function, (IndexValue(left), IndexValue(right)), BOOL)


def all_of(conditions: list[Scalar]) -> Scalar | None:
    """The conjunction of conditions; None for none."""
    result: Scalar | None = None
    for condition in conditions:
        result = condition if result is None else Apply("and", (result, condition), BOOL)
    return result


def inside(index: Dim, extent: Dim) -> list[Scalar]:
    """The conditions, not already certain, under which ``0 <= index < extent``."""
    low = index if isinstance(index, int) else index.bounds[0]
    high = index if isinstance(index, int) else index.bounds[1]
    conditions: list[Scalar] = []
    if low < 0:
        conditions.append(compare("less_equal", 0, index))
    if not isinstance(extent, int) or high >= extent:
        conditions.append(compare("less", index, extent))
    return conditions


def children(scalar: Scalar) -> Iterator[Scalar]:
    """The scalars that a scalar is made of, those inside data-dependent indices included."""
    match scalar:
        case Apply(operands=operands):
            yield from operands
        case Reduce(body=body):
            yield body
        case Load(index=index, guard=guard):
            if guard is not None:
                yield guard
            for position in index:
                yield from scalars_in(position)
        case IndexValue(index=index):
            yield from scalars_in(index)
        case Constant():
            return


def scalars_in(value: Dim | Atom) -> Iterator[Scalar]:
    """The scalars that occur as data-dependent indices in an integer."""
    if isinstance(value, IntegerExpression):
        for atom in sorted(value.atoms, key=repr):
            yield from scalars_in(atom)
    elif isinstance(value, DataIndex):
        yield value.scalar
    elif not isinstance(value, int):
        for part in parts_of(value):
            yield from scalars_in(part)


def walk(scalar: Scalar) -> Iterator[Scalar]:
    """The scalar and everything below it, parents first, each object once."""
    seen: set[int] = set()
    stack = [scalar]
    while stack:
        node = stack.pop()
        if id(node) not in seen:
            seen.add(id(node))
            yield node
            stack.extend(children(node))


def transform(
    scalar: Scalar,
    on_index: Callable[[Dim], Dim],
    on_load: Callable[[Load], Scalar] | None = None,
    on_reduce: Callable[[Reduce], Scalar] | None = None,
) -> Scalar:
    """The scalar with every integer passed through `on_index`; afterwards loads and reductions through their function.

    Objects that are shared stay shared.
    """
    done: dict[int, Scalar] = {}

    def visit(node: Scalar) -> Scalar:
        if id(node) not in done:
            done[id(node)] = rebuilt(node)
        return done[id(node)]

    def rebuilt(node: Scalar) -> Scalar:
        match node:
            case Constant():
                return node
            case IndexValue(index=index):
                return IndexValue(visit_index(index), node.dtype)
            case Apply(function=function, operands=operands, dtype=dtype):
                return Apply(function, tuple(visit(operand) for operand in operands), dtype)
            case Reduce(body=body):
                reduced = replace(node, body=visit(body))
                return reduced if on_reduce is None else on_reduce(reduced)
            case Load(index=index, guard=guard):
                moved = replace(
                    node,
                    index=tuple(visit_index(position) for position in index),
                    guard=None if guard is None else visit(guard),
                )
                return moved if on_load is None else on_load(moved)

    def visit_index(value: Dim) -> Dim:
        inner: dict[Atom, Dim] = {}
        _map_data_indices(value, visit, inner)
        return on_index(substitute(value, inner) if inner else value)

    return visit(scalar)


def rename(scalar: Scalar, replacements: Mapping[Atom, Dim]) -> Scalar:
    """The scalar with index variables replaced by integers."""
    return transform(scalar, lambda value: substitute(value, replacements)) if replacements else scalar


def rename_reductions(scalar: Scalar, rename_variable: Callable[[Variable], Variable]) -> Scalar:
    """The scalar with the variables of its reductions renamed, for instance to merge two expressions."""
    bound = {v for node in walk(scalar) if isinstance(node, Reduce) for v in node.variables}
    fresh: dict[Atom, Dim] = {old: expression(rename_variable(old)) for old in bound}

    def renamed(node: Reduce) -> Reduce:
        return replace(node, variables=tuple(rename_variable(v) for v in node.variables))

    return transform(scalar, lambda value: substitute(value, fresh), on_reduce=renamed) if fresh else scalar


def depends(value: Dim | Atom, atom: Atom) -> bool:
    """Whether an integer depends on `atom`, also through data-dependent indices."""
    return atom in free_atoms(value)


def free_atoms(value: Dim | Atom) -> frozenset[Atom]:
    """The symbols and variables that an integer depends on, also through data-dependent indices."""
    found: set[Atom] = set()
    waiting: list[Dim | Atom] = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, IntegerExpression):
            waiting += one.atoms
        elif isinstance(one, DataIndex):
            found |= scalar_atoms(one.scalar)
        elif not isinstance(one, int):
            parts = parts_of(one)
            waiting += parts
            if not parts:
                found.add(one)
    return frozenset(found)


def scalar_atoms(scalar: Scalar, known: dict[int, frozenset[Atom]] | None = None) -> frozenset[Atom]:
    """The symbols and variables that a scalar depends on, without those that its reductions bind.

    known: of scalars by their ids, to which everything below this one is added; they have to be kept alive.
    """
    done = {} if known is None else known

    def visit(node: Scalar) -> frozenset[Atom]:
        if id(node) not in done:
            done[id(node)] = collect(node)
        return done[id(node)]

    def collect(node: Scalar) -> frozenset[Atom]:
        match node:
            case Constant():
                return frozenset()
            case IndexValue(index=index):
                return free_atoms(index)
            case Load(index=index, guard=guard):
                own = frozenset[Atom]().union(*map(free_atoms, index))
                return own if guard is None else own | visit(guard)
            case Apply(operands=operands):
                return frozenset[Atom]().union(*map(visit, operands))
            case Reduce(body=body, variables=variables):
                extents = frozenset[Atom]().union(*(free_atoms(v.extent) for v in variables))
                return (visit(body) - frozenset(variables)) | extents

    return visit(scalar)


def stride_along(value: Dim, atom: Atom) -> Dim | None:
    """The step that an address makes along a variable; None when it is not a constant step."""
    if not isinstance(value, IntegerExpression):
        return 0
    if any(other != atom and depends(other, atom) for other in value.atoms):
        return None
    return coefficient_of(value, atom)


def _map_data_indices(value: Dim | Atom, visit: Callable[[Scalar], Scalar], found: dict[Atom, Dim]) -> None:
    if isinstance(value, IntegerExpression):
        for atom in value.atoms:
            _map_data_indices(atom, visit, found)
    elif isinstance(value, DataIndex):
        found[value] = expression(DataIndex(visit(value.scalar), value.low, value.high))
    elif not isinstance(value, int):
        for part in parts_of(value):
            _map_data_indices(part, visit, found)
