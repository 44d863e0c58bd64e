"""The largest elements of rows, best first: one row is one task."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

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
from tensorwright.tensor.dtype import FLOAT32, INT64
from tensorwright.tensor.layout import PLAIN
from tensorwright.tensor.type import TensorType

BLOCK_BITS = 6
"""So many bits of a place say where in its block it is; a block is looked through again when its best was taken."""
BLOCK = 1 << BLOCK_BITS

NONE = -(1 << 63)
"""The key of a block of which all is taken."""
PLACE_BITS = 32
"""The lower half of a key is the place, counted from the end."""
LAST_PLACE = (1 << PLACE_BITS) - 1


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
            workspace=2 * writer.most_blocks * INT64.size,
        )


TACTICS = (Selection(),)


def selects(region: Region) -> bool:
    """Whether the tactic computes a region: elements of at most 32 bits, of which every one has a place of 32 bits."""
    if len(region.values) != 1 or not isinstance(region.output.op, TopKIndices):
        return False
    (x,) = region.input_types
    return x.dtype.size <= FLOAT32.size and upper_bound(x.shape[region.output.op.axis]) <= LAST_PLACE


class _Writer:
    """Writes the kernel.

    A key is an integer that grows with what is looked for and, of equal elements, with the distance from the last
    place. Node n of the tree, in the workspace, is the larger of the nodes 2n and 2n + 1; the leaves are the largest
    keys of the blocks.
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
        place = LAST_PLACE - (key & LAST_PLACE)
        block = place.logical_right(BLOCK_BITS)
        self._set(self._blocks + block, self._best(row, block, key))
        levels = (2 * self.most_blocks - 1).bit_length() - 1
        with self.builder.loop(0, levels, carried=[(self._blocks + block).register]) as loop:
            parent = self._term(loop.carried[0]).logical_right(1)
            self._choose_larger(parent)
            loop.following = [parent.register]
        return place.register

    def _best(self, row: Pointer, block: Term, below: Term | None) -> Term:
        """The largest key of a block, of those below another."""
        b, first = self.builder, block << BLOCK_BITS
        last = first + BLOCK
        last = last.less(self._extent).choose(last, self._extent)
        with b.loop(first.register, last.register, carried=[NONE]) as loop:
            place, best = self._term(loop.index), self._term(loop.carried[0])
            element = b.load(b.offset(row, (place * self._inner).register, self._x.dtype), self._x.dtype)
            key = self._key(element, place)
            better = key.greater(best) if below is None else key.greater(best) & key.less(below)
            loop.following = [better.choose(key, best).register]
        return self._term(loop.final[0])

    def _key(self, element: Register, place: Term) -> Term:
        """See the class. Zeros of both signs are equal; no number is larger than every number."""
        if self._x.dtype.is_float:
            number = self._term(convert(self.builder, element, FLOAT32))
            bits = (number + 0.0).bits()
            ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
            ordered = number.is_nan().choose(ordered.constant(0x7FFFFFFF), ordered).converted("sext", INT64)
        else:
            ordered = self._term(convert(self.builder, element, INT64))
        if not self._op.largest:
            ordered = ~ordered
        if self._x.dtype.kind == "unsigned" and self._x.dtype.size == FLOAT32.size:
            ordered = ordered + (1 << 31) if not self._op.largest else ordered - (1 << 31)
        return (ordered << PLACE_BITS) | (LAST_PLACE - place)

    def _choose_larger(self, number: Term) -> None:
        one, other = self._node(number * 2), self._node(number * 2 + 1)
        self._set(number, one.greater(other).choose(one, other))

    def _node(self, number: Term) -> Term:
        return self._term(self.builder.load(self.builder.offset(self._tree, number.register, INT64), INT64))

    def _set(self, number: Term, key: Term) -> None:
        self.builder.store(key.register, self.builder.offset(self._tree, number.register, INT64), INT64)

    def _integer(self, value: Dim) -> Term:
        return self._term(self._emitter.integer(value))

    def _term(self, register: Register) -> Term:
        return Term(self.builder, register)
