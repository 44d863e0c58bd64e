"""What a hand-written kernel does with its accumulators: the elementwise operators fused behind the anchor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tensorwright.codegen.flatten import FlatComputation, flatten
from tensorwright.codegen.scalar import Lane, ScalarEmitter
from tensorwright.codegen.values import Pointer, Register
from tensorwright.graph.expression import Computation, Load, Variable, rename, walk
from tensorwright.graph.region import Region
from tensorwright.tensor.dim import Atom, Dim, substitute
from tensorwright.tensor.dtype import DType
from tensorwright.tensor.layout import Layout


@dataclass(frozen=True)
class Epilogue:
    """The result of a region as a function of its anchor's element.

    variables: one per physical axis of the output, outermost first; the last one runs across the lanes.
    """

    flat: FlatComputation
    anchor: int
    dtype: DType

    @property
    def variables(self) -> tuple[Variable, ...]:
        return self.flat.variables

    def apply(
        self, emitter: ScalarEmitter, accumulator: Register, position: Sequence[Dim], lane: Lane | None = None
    ) -> tuple[Register, Dim]:
        """The finished element (or vector of elements) and its address in the output.

        position: for every physical axis its index, in variables that the emitter knows; on the lane axis the index of
        lane 0, or an expression of the lane's own variable. Without `lane` the accumulator is one element.
        """
        moved = self._moved(position)
        body, address = rename(self.flat.body, moved), substitute(self.flat.address, moved)
        emitter.given[self.anchor] = accumulator
        with emitter.scope(), emitter.in_lanes(lane):
            value = emitter.scalar(body)
        del emitter.given[self.anchor]
        return value, address

    def reads(self, position: Sequence[Dim]) -> Iterator[tuple[int, Dim]]:
        """The operands, beside the accumulator, that the element at a position reads whatever it is, and where."""
        for node in walk(rename(self.flat.body, self._moved(position))):
            if isinstance(node, Load) and node.operand != self.anchor and node.guard is None:
                yield node.operand, node.index[0]

    def _moved(self, position: Sequence[Dim]) -> dict[Atom, Dim]:
        return dict(zip(self.flat.variables, position, strict=True))

    def store(
        self,
        emitter: ScalarEmitter,
        output: Pointer,
        accumulator: Register,
        position: Sequence[Dim],
        lane: Lane | None = None,
    ) -> None:
        """Finish an accumulator and write it to its place in the output, converted to the output's element type."""
        value, address = self.apply(emitter, accumulator, position, lane)
        with emitter.scope(), emitter.in_lanes(lane):
            emitter.store(value, output, address, self.dtype)


def epilogue_of(region: Region, inputs: Sequence[Layout], output: Layout) -> Epilogue:
    """The epilogue of an anchored region under the given layouts."""
    assert region.anchor is not None
    operands = list(zip(region.input_types, inputs, strict=True))
    operands.append((region.anchor.type, output))
    computation = Computation(region.epilogue_variables, region.epilogue)
    flat = flatten(computation, operands, (region.output.type, output), collapse=False)
    return Epilogue(flat, len(region.inputs), region.output.type.dtype)
