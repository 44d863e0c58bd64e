"""Regions: what one kernel will compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from tensorwright.graph.expression import (
    Apply,
    Computation,
    Constant,
    Load,
    Scalar,
    Variable,
    rename,
    rename_reductions,
    scalar_atoms,
    transform,
    walk,
)
from tensorwright.graph.graph import Value, is_constant, storage_root, weights_in
from tensorwright.graph.substitute import dims_of, substituted, substituted_type
from tensorwright.tensor.dim import Atom, Dim, Symbol, expression, symbols_of
from tensorwright.tensor.dtype import BOOL
from tensorwright.tensor.type import TensorType


@dataclass(frozen=True, eq=False)
class Region:
    """A connected piece of a graph with one result.

    values: its operator applications, operands first; the last one is the result.
    inputs: what they use from outside, constants included.
    anchor: the convolution, product or reduction that the kernel is built around; None for elementwise regions.
    stages: the regions that were joined into this one: each with an anchor reads the result of the one before with an
        anchor; those without one move what the others read, or transpose what the last one gives. Empty for a region
        with one anchor. Otherwise the anchor is that of the last stage that has one.
    pattern: what it shares a kernel with, if many regions are alike but for numbers: a region with a symbol for each of
        these, a slot. slots: by name, what they are here.
    """

    values: tuple[Value, ...]
    inputs: tuple[Value, ...]
    anchor: Value | None
    stages: tuple[Region, ...] = ()
    pattern: Region | None = None
    slots: Mapping[str, int] = field(default_factory=dict)

    @property
    def general(self) -> Region:
        """What kernels are made for."""
        return self.pattern or self

    @property
    def output(self) -> Value:
        return self.values[-1]

    @property
    def name(self) -> str:
        """The names of the user's layers that the region computes."""
        return " + ".join(dict.fromkeys(value.name for value in self.values))

    @property
    def input_types(self) -> tuple[TensorType, ...]:
        return tuple(value.type for value in self.inputs)

    @property
    def is_sequential(self) -> bool:
        """Whether there is no `computation`, since elements follow from one another."""
        return any(value.op.is_sequential for value in self.values)

    @cached_property
    def symbols(self) -> tuple[Symbol, ...]:
        """The symbolic dimensions that occur, sorted by name."""
        if self.stages:
            return tuple(sorted({s for stage in self.stages for s in stage.symbols}, key=lambda s: s.name))
        dims = {dim for value in (*self.inputs, *self.values) for dim in value.type.shape}
        found = {symbol for dim in dims for symbol in symbols_of(dim)}
        if not self.is_sequential:
            found |= {atom for atom in scalar_atoms(self.computation.body) if isinstance(atom, Symbol)}
        return tuple(sorted(found, key=lambda s: s.name))

    @cached_property
    def named(self) -> tuple[Symbol, ...]:
        """The symbols of types and attributes, in the order in which the signature comes upon them."""
        shapes = [dim for value in (*self.inputs, *self.values) for dim in value.type.shape]
        attributes = [dim for value in self.values for dim in dims_of(value.op)]
        return tuple(dict.fromkeys(symbol for dim in (*shapes, *attributes) for symbol in symbols_of(dim)))

    @property
    def filling(self) -> tuple[Symbol | int, ...]:
        """What stands here for the symbols `named` of what kernels are made for."""
        return tuple(self.slots.get(symbol.name, symbol) for symbol in self.general.named)

    @cached_property
    def computation(self) -> Computation:
        """The whole region as one computation whose operands are the region's inputs."""
        return _Composer(self.inputs, frozenset(self.values)).computation(self.output)

    @cached_property
    def epilogue(self) -> Scalar:
        """The result as a function of the anchor's element, at the logical index `epilogue_index`.

        The anchor's element is a Load of operand number ``len(inputs)`` at its own logical index.
        """
        assert self.anchor is not None
        inputs = (*self.inputs, self.anchor)
        composer = _Composer(inputs, frozenset(self.values) - {self.anchor})
        return composer.body_at(self.output, self.epilogue_index)

    @cached_property
    def epilogue_variables(self) -> tuple[Variable, ...]:
        return tuple(Variable(f"e{axis}", extent) for axis, extent in enumerate(self.output.type.shape))

    @property
    def epilogue_index(self) -> tuple[Dim, ...]:
        return tuple(expression(v) for v in self.epilogue_variables)

    @property
    def is_elementwise_around_anchor(self) -> bool:
        """Whether every element of the output needs the anchor's element at the same index, and no other."""
        if self.anchor is None or self.output.type.shape != self.anchor.type.shape:
            return False
        return all(
            here == wanted or extent == 1
            for node in walk(self.epilogue)
            if isinstance(node, Load) and node.operand == len(self.inputs)
            for here, wanted, extent in zip(node.index, self.epilogue_index, self.anchor.type.shape, strict=True)
        )

    def input_number(self, value: Value) -> int:
        """The position of an input."""
        return self.inputs.index(value)

    @cached_property
    def signature(self) -> str:
        """A text that is equal for regions that need the same kernel: operators, types and wiring, no names.

        Constants of one element are part of the code, others are data. Symbols are called by their places in `named`.
        """
        if self.pattern is not None:
            return self.pattern.signature
        named = {s: Symbol(f"s{place}", s.min, s.opt, s.max) for place, s in enumerate(self.named)}
        dims: Mapping[Atom, Dim] = {symbol: expression(name) for symbol, name in named.items()}
        numbers = {value: f"in{position}" for position, value in enumerate(self.inputs)}
        lines = [f"{s}: {s.min} {s.opt} {s.max}" for s in named.values()]
        lines += [f"{numbers[v]}: {_constant_text(v)}{substituted_type(v.type, dims)}" for v in self.inputs]
        for position, value in enumerate(self.values):
            numbers[value] = f"v{position}"
            type, op = substituted_type(value.type, dims), substituted(value.op, dims)
            lines.append(f"{numbers[value]}: {type} = {op}({', '.join(numbers[i] for i in value.inputs)})")
        lines.extend(f"stage: {numbers[stage.output]}" for stage in self.stages)
        return "\n".join(lines)


@dataclass(frozen=True)
class _Composer:
    """Substitutes the bodies of operators into the loads of their consumers.

    Meanwhile loads of the region's inputs have negative numbers: those in an index that depends on data come along with
    it into the bodies of other operators, whose own loads are numbered by their operands.
    """

    inputs: Sequence[Value]
    inner: frozenset[Value]

    def computation(self, output: Value) -> Computation:
        variables = tuple(Variable(f"i{axis}", extent) for axis, extent in enumerate(output.type.shape))
        return Computation(variables, self.body_at(output, tuple(expression(v) for v in variables)))

    def body_at(self, value: Value, index: tuple[Dim, ...]) -> Scalar:
        """The scalar of one element of a value."""
        scalar = self._at(value, index, _Composition({}, [0]))
        return transform(scalar, lambda i: i, self._finished)

    def _finished(self, load: Load) -> Scalar:
        """A load of an input by its number; of one without elements what stands for those outside."""
        operand = _final(load.operand)
        if load.guard is not None and self.inputs[operand].type.is_empty:
            return Constant(load.otherwise, load.dtype)
        return replace(load, operand=operand)

    def _at(self, value: Value, index: tuple[Dim, ...], state: _Composition) -> Scalar:
        key = (value, index)
        if key not in state.done:
            state.done[key] = self._made(value, index, state)
        return state.done[key]

    def _made(self, value: Value, index: tuple[Dim, ...], state: _Composition) -> Scalar:
        if value not in self.inner:
            if is_constant(value) and weights_in(value).is_scalar:
                return Constant(weights_in(value).array.item(), value.type.dtype)
            return Load(_final(self.inputs.index(value)), index, value.type.dtype)
        definition = value.op.define([operand.type for operand in value.inputs], value.type)
        state.count[0] += 1
        prefix = f"c{state.count[0]}"
        body = rename_reductions(definition.body, lambda v: Variable(f"{prefix}{v.name}", v.extent))
        body = rename(body, dict(zip(definition.variables, index, strict=True)))
        return transform(body, lambda i: i, lambda load: self._loaded(value, load, state))

    def _loaded(self, value: Value, load: Load, state: _Composition) -> Scalar:
        if load.operand < 0:
            return load
        operand = value.inputs[load.operand]
        inside = self._at(operand, load.index, state)
        if load.guard is None:
            return inside
        if isinstance(inside, Load) and inside.guard is None:
            return replace(inside, guard=load.guard, otherwise=load.otherwise)
        guarded = _guarded(inside, self._with_own_reductions(load.guard, state))
        return Apply("select", (load.guard, guarded, Constant(load.otherwise, load.dtype)), load.dtype)

    def _with_own_reductions(self, guard: Scalar, state: _Composition) -> Scalar:
        """The guard for use inside of other reductions, which may be those that it has itself."""
        state.count[0] += 1
        return rename_reductions(guard, lambda v: Variable(f"c{state.count[0]}{v.name}", v.extent))


def _final(number: int) -> int:
    """The negative number that stands for an input's, and the other way round."""
    return -1 - number


@dataclass(frozen=True)
class _Composition:
    done: dict[tuple[Value, tuple[Dim, ...]], Scalar]
    count: list[int]


def _guarded(scalar: Scalar, guard: Scalar) -> Scalar:
    """The scalar with every load guarded, so that nothing is read where the guard is false."""

    def guard_load(load: Load) -> Scalar:
        both = guard if load.guard is None else Apply("and", (guard, load.guard), BOOL)
        return replace(load, guard=both)

    return transform(scalar, lambda index: index, guard_load)


def _constant_text(value: Value) -> str:
    if not is_constant(value):
        return ""
    weights = weights_in(value)
    return f"constant {weights.array.item()!r} " if weights.is_scalar else "constant "


def used_operands(scalar: Scalar) -> frozenset[int]:
    """The numbers of the operands that a scalar loads."""
    return frozenset(node.operand for node in walk(scalar) if isinstance(node, Load))


def region_of(values: Sequence[Value], anchor: Value | None = None) -> Region:
    """The region of the given applications, operands first."""
    inner = frozenset(values)
    inputs: dict[Value, None] = {}
    for value in values:
        inputs.update((operand, None) for operand in value.inputs if operand not in inner)
    return Region(tuple(values), tuple(inputs), anchor)


def joined(stages: Sequence[Region]) -> Region:
    """One region that computes what several regions compute, in order; only the last one's result is needed outside."""
    anchors = [stage.anchor for stage in stages if stage.anchor is not None]
    values = dict[Value, None]()
    for stage in stages:
        for operand in stage.inputs:
            values.update((view, None) for view in _views(operand) if storage_root(operand) in values)
        values.update((value, None) for value in stage.values)
    whole = region_of(tuple(values), anchors[-1] if anchors else None)
    return replace(whole, stages=tuple(stages))


def _views(value: Value) -> list[Value]:
    """The views that a value is of another one, the first one first."""
    found = list[Value]()
    while value.op.kind == "view":
        found.insert(0, value)
        value = value.inputs[0]
    return found
