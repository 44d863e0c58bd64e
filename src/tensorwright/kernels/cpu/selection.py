"""The largest elements of rows, best first: one row is one task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TypeAlias

from tensorwright.codegen.convert import convert
from tensorwright.codegen.ir import FUNCTION_ATTRIBUTES, FunctionBuilder
from tensorwright.codegen.scalar import ScalarEmitter
from tensorwright.codegen.target import Target
from tensorwright.codegen.term import Term
from tensorwright.codegen.values import Pointer, Register, i64
from tensorwright.graph.region import Region
from tensorwright.kernels.cpu.function import argument_emitter, signature
from tensorwright.kernels.tactic import NO_OPTIONS, AnyConfig, Config, Kernel, Tactic, TacticOptions, plain_inputs
from tensorwright.ops.indexing import TopKIndices
from tensorwright.tensor.dim import Dim, ceil_divide, product, upper_bound
from tensorwright.tensor.dtype import FLOAT32, FLOAT64, INT64
from tensorwright.tensor.layout import PLAIN
from tensorwright.tensor.type import TensorType

BLOCK_BITS = 6
"""So many bits of a place say where in its block it is; a block is looked through again when its best was taken."""
BLOCK = 1 << BLOCK_BITS

PLACE_BITS = 32
"""The lower half of a key is the place, counted from the end; where elements are wider, the second part of a key is."""
LAST_PLACE = (1 << PLACE_BITS) - 1

LEAST, NO_PLACE = -(1 << 63), -1
"""The key of a block of which all is taken."""

Key: TypeAlias = tuple[Term, ...]
"""Integers of 64 bits, of which the first that differ decide."""


class Selection(Tactic[Target, TacticOptions]):
    """A tree of the larger of two over blocks of a row: what was taken lies above the last key that was taken."""

    name = "selection"

    def configs(self, region: Region, target: Target) -> Sequence[AnyConfig]:
        return [Config(plain_inputs(region), PLAIN, NO_OPTIONS)] if selects(region) else []

    def emit(self, region: Region, config: AnyConfig, target: Target) -> Kernel:
        op, (x,) = region.output.op, region.input_types
        assert isinstance(op, TopKIndices)
        symbols = region.symbols
        writer = _Writer(argument_emitter(1, symbols, target), op, x)
        writer.write()
        return Kernel(
            text=writer.builder.module(signature(1, len(symbols)), FUNCTION_ATTRIBUTES),
            inputs=config.inputs,
            output=config.output,
            tasks=writer.outer * writer.inner,
            packings=(None,),
            symbols=symbols,
            workspace=2 * writer.most_blocks * writer.parts * INT64.size,
        )


TACTICS = (Selection(),)


def selects(region: Region) -> bool:
    """Whether the tactic computes a region: every element of a row has a place of 32 bits."""
    if len(region.values) != 1 or not isinstance(region.output.op, TopKIndices):
        return False
    (x,) = region.input_types
    return upper_bound(x.shape[region.output.op.axis]) <= LAST_PLACE


class _Writer:
    """Writes the kernel.

    A key grows with what is looked for and, of equal elements, with the distance from the last place. Node n of the
    tree, in the workspace, is the larger of the nodes 2n and 2n + 1; the leaves are the largest keys of the blocks.
    """

    def __init__(self, emitter: ScalarEmitter, op: TopKIndices, x: TensorType) -> None:
        self._emitter, self._op, self._x = emitter, op, x
        self._tree = Pointer("%workspace")

    @property
    def builder(self) -> FunctionBuilder:
        return self._emitter.builder

    @property
    def extent(self) -> Dim:
        return self._x.shape[self._op.axis]

    @property
    def outer(self) -> Dim:
        return product(self._x.shape[: self._op.axis])

    @property
    def inner(self) -> Dim:
        return product(self._x.shape[self._op.axis + 1 :])

    @property
    def parts(self) -> int:
        """Of a key."""
        return 2 if self._x.dtype.size > FLOAT32.size else 1

    @property
    def most_blocks(self) -> int:
        return max(1, -(-upper_bound(self.extent) // BLOCK))

    @cached_property
    def _inner(self) -> Term:
        return self._integer(self.inner)

    @cached_property
    def _extent(self) -> Term:
        return self._integer(self.extent)

    @cached_property
    def _blocks(self) -> Term:
        return self._integer(ceil_divide(self.extent, BLOCK))

    def write(self) -> None:
        b = self.builder
        taken = self._integer(self._op.k)
        strides = self._inner, self._extent, self._blocks  # What is the same in all tasks is computed before them.
        with b.loop(Register("%begin", INT64), Register("%end", INT64)) as task:
            image, place = self._term(task.index) // strides[0], self._term(task.index) % strides[0]
            row = b.offset(Pointer("%in0"), (image * self._extent * self._inner + place).register, self._x.dtype)
            out = b.offset(Pointer("%out"), (image * taken * self._inner + place).register, INT64)
            self._plant(row)
            with b.loop(0, taken.register) as turn:
                found = self._take(row)
                b.store(found, b.offset(out, (self._term(turn.index) * self._inner).register, INT64), INT64)

    def _plant(self, row: Pointer) -> None:
        with self.builder.loop(0, self._blocks.register) as loop:
            number = self._term(loop.index)
            self._set(self._blocks + number, self._best(row, number, None))
        with self.builder.loop(1, self._blocks.register) as upwards:
            self._choose_larger(self._blocks - self._term(upwards.index))

    def _take(self, row: Pointer) -> Register:
        """The place of the best element that is left; it is left no longer."""
        key = self._node(self._term(i64(1)))
        place = LAST_PLACE - (key[-1] & LAST_PLACE)
        block = place.logical_right(BLOCK_BITS)
        self._set(self._blocks + block, self._best(row, block, key))
        levels = (2 * self.most_blocks - 1).bit_length() - 1
        with self.builder.loop(0, levels, carried=[(self._blocks + block).register]) as loop:
            parent = self._term(loop.carried[0]).logical_right(1)
            self._choose_larger(parent)
            loop.following = [parent.register]
        return place.register

    def _best(self, row: Pointer, block: Term, below: Key | None) -> Key:
        """The largest key of a block, of those below another."""
        b, first = self.builder, block << BLOCK_BITS
        last = first + BLOCK
        last = last.less(self._extent).choose(last, self._extent)
        with b.loop(first.register, last.register, carried=(LEAST, NO_PLACE)[: self.parts]) as loop:
            place, best = self._term(loop.index), self._terms(loop.carried)
            element = b.load(b.offset(row, (place * self._inner).register, self._x.dtype), self._x.dtype)
            key = self._key(element, place)
            better = _above(key, best) if below is None else _above(key, best) & _above(below, key)
            loop.following = [term.register for term in _chosen(better, key, best)]
        return self._terms(loop.final)

    def _key(self, element: Register, place: Term) -> Key:
        """See the class. Zeros of both signs are equal; no number is larger than every number."""
        ordered = self._ordered(element)
        if not self._op.largest:
            ordered = ~ordered
        from_the_end = LAST_PLACE - place
        return ((ordered << PLACE_BITS) | from_the_end,) if self.parts == 1 else (ordered, from_the_end)

    def _ordered(self, element: Register) -> Term:
        """A signed integer that grows with an element, of 32 bits if elements have no more."""
        dtype = self._x.dtype
        if dtype.is_float:
            number = self._term(convert(self.builder, element, FLOAT32 if dtype.size <= FLOAT32.size else FLOAT64))
            bits = (number + 0.0).bits()
            largest = (1 << (8 * bits.dtype.size - 1)) - 1
            ordered = bits ^ ((bits >> (8 * bits.dtype.size - 1)) & largest)
            return self._widened(number.is_nan().choose(ordered.constant(largest), ordered))
        whole = self._widened(self._term(element))
        return whole + -(1 << (8 * dtype.size - 1)) if dtype.kind == "unsigned" else whole

    def _widened(self, integer: Term) -> Term:
        return self._term(convert(self.builder, integer.register, INT64))

    def _choose_larger(self, number: Term) -> None:
        one, other = self._node(number * 2), self._node(number * 2 + 1)
        self._set(number, _chosen(_above(one, other), one, other))

    def _node(self, number: Term) -> Key:
        return self._terms([self.builder.load(place, INT64) for place in self._places(number)])

    def _set(self, number: Term, key: Key) -> None:
        for part, place in zip(key, self._places(number), strict=True):
            self.builder.store(part.register, place, INT64)

    def _places(self, number: Term) -> list[Pointer]:
        first = self.builder.offset(self._tree, (number * self.parts).register, INT64)
        return [self.builder.offset(first, part, INT64) for part in range(self.parts)]

    def _integer(self, value: Dim) -> Term:
        return self._term(self._emitter.integer(value))

    def _term(self, register: Register) -> Term:
        return Term(self.builder, register)

    def _terms(self, registers: Iterable[Register]) -> Key:
        return tuple(map(self._term, registers))


def _above(one: Key, other: Key) -> Term:
    """Whether a key is larger than another."""
    first, rival = one[0], other[0]
    if len(one) == 1:
        return first.greater(rival)
    return first.greater(rival) | first.equals(rival) & _above(one[1:], other[1:])


def _chosen(condition: Term, one: Key, other: Key) -> Key:
    return tuple(condition.choose(a, b) for a, b in zip(one, other, strict=True))
