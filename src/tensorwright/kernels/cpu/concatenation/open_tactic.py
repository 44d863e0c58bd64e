"""Concatenations along an axis whose extents are known only at run time: pieces that lie side by side are copied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorwright.codegen.ir import FUNCTION_ATTRIBUTES, FunctionBuilder
from tensorwright.codegen.target import Target
from tensorwright.codegen.term import Term, greatest, least
from tensorwright.codegen.values import Pointer, Register, i64
from tensorwright.graph.region import Region
from tensorwright.kernels.cpu.copying import copy, is_copied
from tensorwright.kernels.cpu.function import argument_emitter, signature
from tensorwright.kernels.tactic import NO_OPTIONS, AnyConfig, Config, Kernel, Tactic, TacticOptions, plain_inputs
from tensorwright.ops.shape import Concatenation
from tensorwright.tensor.dim import product, tuning_value
from tensorwright.tensor.dtype import INT64, UINT8, WORDS, DType
from tensorwright.tensor.layout import PLAIN

SHARE = 1 << 14
"""Bytes of a row that are worth a task of their own."""
MOST_SHARES = 32
ENTRY, SIZE = 16, 8
"""Bytes of the table for a piece, and where its size stands behind its address."""
COPIED = 0.9
"""The share of the roofline that a copy reaches: more than loops that ask of every element where it comes from."""


class OpenConcatenation(Tactic[Target, TacticOptions]):
    """One row for each index of the axes before that of the pieces; a task copies one row, or an equal share of it.

    Where pieces begin is added up once, so that code grows as they do.
    """

    name = "open concatenation"

    def configs(self, region: Region, target: Target) -> Sequence[AnyConfig]:
        return [Config(plain_inputs(region), PLAIN, NO_OPTIONS)] if is_copied(region) else []

    def efficiency(self, region: Region, config: AnyConfig) -> float:
        return COPIED

    def emit(self, region: Region, config: AnyConfig, target: Target) -> Kernel:
        value, symbols = region.output, region.symbols
        assert isinstance(value.op, Concatenation)
        shape, axis = value.type.shape, value.op.axis
        emitter = argument_emitter(len(region.inputs), symbols, target)
        sizes = [emitter.integer(product(piece.type.shape[axis:])) for piece in value.inputs]
        places = [emitter.operands[region.input_number(piece)] for piece in value.inputs]
        rows, word = product(shape[:axis]), WORDS[value.type.dtype.size]
        row_bytes = tuning_value(product(shape[axis:])) * word.size
        shares = min(MOST_SHARES, max(1, row_bytes // (SHARE * max(1, tuning_value(rows)))))
        _Copies(emitter.builder, target, word, tuple(zip(places, sizes, strict=True)), shares).write()
        return Kernel(
            text=emitter.builder.module(signature(len(region.inputs), len(symbols)), FUNCTION_ATTRIBUTES),
            inputs=config.inputs,
            output=config.output,
            tasks=rows * shares,
            packings=(None,) * len(region.inputs),
            symbols=symbols,
            workspace=ENTRY * len(value.inputs),
        )


TACTICS = (OpenConcatenation(),)


@dataclass(frozen=True)
class _Copies:
    """pieces: where each lies and how many words of a row it has. shares: the tasks of a row.

    Both stand in a table in the workspace, over which a loop goes: what LLVM knows of sums of many sizes keeps it busy.
    """

    builder: FunctionBuilder
    target: Target
    word: DType
    pieces: Sequence[tuple[Pointer, Register]]
    shares: int

    def write(self) -> None:
        builder, shares = self.builder, self.shares
        whole = Term(builder, i64(0))
        for number, (place, size) in enumerate(self.pieces):
            builder.emit(f"store ptr {place.text}, ptr {self._entry(number, 0).text}, align 8")
            builder.store(size, self._entry(number, SIZE), INT64)
            whole = whole + Term(builder, size)
        with builder.loop(Register("%begin", INT64), Register("%end", INT64)) as tasks:
            row, share = Term(builder, tasks.index) // shares, Term(builder, tasks.index) % shares
            low, high = whole * share // shares, whole * (share + 1) // shares
            output = builder.offset(Pointer("%out"), (row * whole).register, self.word)
            with builder.loop(0, len(self.pieces), carried=[0]) as loop:
                (begin,) = loop.carried
                end = self._piece(loop.index, Term(builder, begin), output, row, low, high)
                loop.following = [end.register]

    def _piece(self, number: Register, begin: Term, output: Pointer, row: Term, low: Term, high: Term) -> Term:
        """Copy what a task has of a piece that begins somewhere in a row; where the piece ends."""
        builder, place = self.builder, Pointer(self.builder.fresh("p"))
        builder.emit(f"{place.text} = load ptr, ptr {self._entry(number, 0).text}, align 8")
        size = Term(builder, builder.load(self._entry(number, SIZE), INT64))
        first = greatest(low, begin)
        count = greatest(least(high, begin + size) - first, 0)
        source = builder.offset(place, (row * size + (first - begin)).register, self.word)
        destination = builder.offset(output, first.register, self.word)
        copy(builder, self.target, self.word, destination, source, count.register)
        return begin + size

    def _entry(self, number: Register | int, what: int) -> Pointer:
        place = self.builder.offset(Pointer("%workspace"), self.builder.scaled(i64(number), ENTRY), UINT8)
        return self.builder.offset(place, what, UINT8)
