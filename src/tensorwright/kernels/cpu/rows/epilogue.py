"""The epilogue of a row-major output by row and column, all leading axes taken together as rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tensorwright.codegen.epilogue import Epilogue, epilogue_of
from tensorwright.codegen.flatten import collapse_leading
from tensorwright.codegen.scalar import Lane, ScalarEmitter
from tensorwright.codegen.values import Pointer, Register
from tensorwright.graph.expression import Variable
from tensorwright.graph.region import Region
from tensorwright.tensor.dim import Dim, expression, product
from tensorwright.tensor.layout import PLAIN


@dataclass(frozen=True)
class RowEpilogue:
    """Finishes accumulators at a row, counted through all leading axes, and a column."""

    epilogue: Epilogue
    lanes: int

    @property
    def column(self) -> Variable:
        """The variable that runs across the lanes; its value is a multiple of the lanes."""
        return Variable("column", self.epilogue.variables[-1].extent)

    def store(
        self,
        emitter: ScalarEmitter,
        output: Pointer,
        accumulators: Sequence[Register],
        row: Dim,
        masks: Sequence[Register | None],
    ) -> None:
        """Write vectors of a row, side by side from `column` on; of each only the lanes in its mask."""
        lead, column = self.position(row), expression(self.column)
        for number, (accumulator, mask) in enumerate(zip(accumulators, masks, strict=True)):
            lane = Lane(self.column, self.lanes, mask)
            self.epilogue.store(emitter, output, accumulator, (*lead, column + number * self.lanes), lane)

    def position(self, row: Dim) -> tuple[Dim, ...]:
        """The index along each leading axis of a row counted through all of them."""
        extents = [v.extent for v in self.epilogue.variables[:-1]]
        inside = [product(extents[axis + 1 :]) for axis in range(len(extents))]
        found: list[Dim] = []
        for axis, extent in enumerate(extents):
            if extent == 1:
                found.append(0)
                continue
            index = row // inside[axis]
            outermost = all(other == 1 for other in extents[:axis])
            found.append(index if outermost else index % extent)
        return tuple(found)


def row_epilogue(region: Region, lanes: int, steps: Sequence[Dim] | None = None) -> RowEpilogue:
    """The epilogue of a region whose output is row-major, or lies with the given steps along its axes."""
    epilogue = epilogue_of(region, (PLAIN,) * len(region.inputs), PLAIN)
    flat = epilogue.flat
    if steps is not None:
        address: Dim = 0
        for variable, step in zip(flat.variables, steps, strict=True):
            address = address if variable.extent == 1 else address + step * expression(variable)
        flat = replace(flat, address=address)
    return RowEpilogue(replace(epilogue, flat=collapse_leading(flat)), lanes)
