"""Compiles any computation to a loop nest over the output.

Order of the loops: first the variables that every reduction depends on, then those over which some reduction can be
done once (the normalised axis of a softmax). A reduction is emitted where the last variable it depends on is bound. The
innermost axis of the output in memory runs across the lanes of vector registers. Outer loops, taken together, are the
parallel tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tensorwright.codegen.flatten import FlatComputation
from tensorwright.codegen.interior import Range, inside, interior_of
from tensorwright.codegen.scalar import Lane, ScalarEmitter, lane_mask
from tensorwright.codegen.target import Target
from tensorwright.codegen.values import Pointer, Register
from tensorwright.graph.expression import Load, Reduce, Scalar, Variable, rename, scalar_atoms, stride_along, walk
from tensorwright.tensor.dim import Atom, Dim, bounds, expression, is_static, product, substitute, tuning_value
from tensorwright.tensor.dtype import DType

CHUNK_ELEMENTS = 4096
ENOUGH_TASKS = 64
"""With so many tasks, inner loops stay inside tasks."""
LONG_REDUCTION = 16
"""Steps from which on a reduction is worth vectors of its own."""


@dataclass(frozen=True)
class Nest:
    """Loops in the order in which they are to run.

    parallel: outermost loops, whose product is the number of tasks; sequential: the loops inside one task;
    lane: the variable across the lanes, among the sequential ones.
    """

    parallel: tuple[Variable, ...]
    sequential: tuple[Variable, ...]
    lane: Variable | None
    address: Dim
    body: Scalar

    @property
    def tasks(self) -> Dim:
        return product(v.extent for v in self.parallel)


def arrange(flat: FlatComputation) -> Nest:
    """Choose the order of the loops, the lane variable and the parallel tasks."""
    variables = [v for v in flat.variables if v.extent != 1]
    flat = _without_unit_loops(flat)
    reductions = [node for node in walk(flat.body) if isinstance(node, Reduce)]
    lane = variables[-1] if variables and bounds(variables[-1].extent)[1] > 1 else None
    if lane is not None and any(_runs_along_reduction(node, lane) for node in reductions):
        lane = None
    shared = {v for v in variables if any(v not in scalar_atoms(node) for node in _outermost(reductions))}
    outer = [v for v in variables if v not in shared and v != lane]
    inner = [v for v in variables if v in shared and v != lane]
    if lane is not None and lane not in shared and not outer:
        return _chunked(flat, lane, inner)
    dealt = _parallel_loops(outer)
    parallel, outer = tuple(outer[:dealt]), outer[dealt:]
    if lane is None:
        return Nest(parallel, (*outer, *inner), None, flat.address, flat.body)
    inner = [*inner, lane] if lane in shared else [lane, *inner]
    return Nest(parallel, (*outer, *inner), lane, flat.address, flat.body)


def _runs_along_reduction(node: Reduce, lane: Variable) -> bool:
    """Whether the elements of a long reduction lie side by side, while those of neighbouring results do not."""
    inner = node.variables[-1]
    loads = [part for part in walk(node.body) if isinstance(part, Load)]
    scattered = any(stride_along(index, lane) not in (0, 1) for load in loads for index in load.index)
    contiguous = all(stride_along(index, inner) in (0, 1) for load in loads for index in load.index)
    return scattered and contiguous and bounds(inner.extent)[1] >= LONG_REDUCTION


def _parallel_loops(outer: Sequence[Variable]) -> int:
    """How many of the outer loops it takes to have enough tasks."""
    tasks = 1
    for position, variable in enumerate(outer):
        tasks *= tuning_value(variable.extent)
        if tasks >= ENOUGH_TASKS:
            return position + 1
    return len(outer)


def _without_unit_loops(flat: FlatComputation) -> FlatComputation:
    ones: dict[Atom, Dim] = {v: 0 for v in flat.variables if v.extent == 1}
    return FlatComputation(flat.variables, substitute(flat.address, ones), rename(flat.body, ones)) if ones else flat


def _outermost(reductions: Sequence[Reduce]) -> list[Reduce]:
    inside = {id(below) for node in reductions for below in walk(node.body)}
    return [node for node in reductions if id(node) not in inside]


def _chunked(flat: FlatComputation, lane: Variable, inner: list[Variable]) -> Nest:
    """Cut a single long loop into equal pieces, so that threads can share it."""
    size = None if inner or not is_static(lane.extent) else _chunk_size(bounds(lane.extent)[1])
    if size is None:
        return Nest((), (lane, *inner), lane, flat.address, flat.body)
    chunk, part = Variable("chunk", bounds(lane.extent)[1] // size), Variable(lane.name, size)
    moved: dict[Atom, Dim] = {lane: expression(chunk) * size + expression(part)}
    return Nest((chunk,), (part,), part, substitute(flat.address, moved), rename(flat.body, moved))


def _chunk_size(extent: int) -> int | None:
    """The divisor of a long extent that is nearest to CHUNK_ELEMENTS, whole cache lines preferred."""
    if extent <= 2 * CHUNK_ELEMENTS:
        return None
    divisors = [d for d in range(CHUNK_ELEMENTS // 2, 2 * CHUNK_ELEMENTS) if extent % d == 0]
    return min(divisors, key=lambda d: (d % 64 != 0, abs(d - CHUNK_ELEMENTS)), default=None)


@dataclass(frozen=True)
class NestEmitter:
    """Emits a nest: `run` writes the loop over tasks from `begin` to `end`."""

    nest: Nest
    emitter: ScalarEmitter
    output: Pointer
    dtype: DType

    def run(self, begin: Register, end: Register) -> None:
        builder = self.emitter.builder
        with builder.loop(begin, end) as loop, self.emitter.scope():
            self._bind_parallel(loop.index)
            self._task(list(self.nest.parallel))

    def _task(self, unsplit: list[Variable]) -> None:
        """Write the work of a task, apart for the interior and the border of the variables in `unsplit`."""
        for position, variable in enumerate(unsplit):
            place = interior_of(self.nest.body, variable)
            if place is not None:
                self._task_apart(place, unsplit[position + 1 :])
                return
        self._hoist(set(self.nest.parallel))
        self._sequential(list(self.nest.sequential), set(self.nest.parallel))

    def _task_apart(self, place: Range, unsplit: list[Variable]) -> None:
        builder, index = self.emitter.builder, self.emitter.values[place.variable]
        below, above = builder.compare("slt", index, place.start), builder.compare("sge", index, place.stop)
        on_border = builder.binary("or", below, above)
        with builder.when(on_border), self.emitter.scope():
            self._task([])
        with builder.when(builder.binary("xor", on_border, True)), self.emitter.scope():
            self.emitter.values[place.inner] = builder.sub(index, place.start)
            self._within(place, self.nest.parallel)._task(unsplit)

    def _within(self, place: Range, parallel: tuple[Variable, ...]) -> NestEmitter:
        """The emitter of the same nest for one variable in its range only."""
        parallel = tuple(place.inner if v == place.variable else v for v in parallel)
        body, address = inside(self.nest.body, place), substitute(self.nest.address, place.replacement)
        return replace(self, nest=replace(self.nest, parallel=parallel, address=address, body=body))

    def _bind_parallel(self, task: Register) -> None:
        builder, rest = self.emitter.builder, task
        for position, variable in reversed(list(enumerate(self.nest.parallel))):
            if position == 0:
                self.emitter.values[variable] = rest
                break
            extent = self.emitter.integer(variable.extent)
            self.emitter.values[variable] = builder.binary("urem", rest, extent)
            rest = builder.binary("udiv", rest, extent)

    def _sequential(self, variables: list[Variable], bound: set[Variable]) -> None:
        if not variables:
            value = self.emitter.scalar(self.nest.body)
            self.emitter.store(value, self.output, self.nest.address, self.dtype)
            return
        variable, *rest = variables
        if variable == self.nest.lane:
            self._lane_loop(variable, rest, bound)
        else:
            self._plain_loop(variable, rest, bound)

    def _plain_loop(self, variable: Variable, rest: list[Variable], bound: set[Variable]) -> None:
        place = interior_of(self.nest.body, variable)
        if place is None:
            self._rounds(variable, 0, self.emitter.integer(variable.extent), rest, bound)
            return
        if place.start:
            self._rounds(variable, 0, place.start, rest, bound)
        within = self._within(place, self.nest.parallel)
        within._rounds(place.inner, 0, place.stop - place.start, rest, bound)
        if place.stop != variable.extent:
            self._rounds(variable, place.stop, self.emitter.integer(variable.extent), rest, bound)

    def _rounds(
        self,
        variable: Variable,
        start: Register | int,
        stop: Register | int,
        rest: list[Variable],
        bound: set[Variable],
    ) -> None:
        emitter = self.emitter
        with emitter.builder.loop(start, stop) as loop:
            emitter.values[variable] = loop.index
            with emitter.scope():
                self._hoist({*bound, variable})
                self._sequential(rest, {*bound, variable})

    def _lane_loop(self, variable: Variable, rest: list[Variable], bound: set[Variable]) -> None:
        emitter, builder = self.emitter, self.emitter.builder
        lanes = lane_count(variable, emitter.target)
        extent = emitter.integer(variable.extent)
        whole = emitter.whole_rounds(extent, variable, lanes)
        if bounds(variable.extent)[1] >= lanes:
            with builder.loop(0, whole, lanes) as loop:
                self._lane_round(Lane(variable, lanes), loop.index, rest, bound)
        if isinstance(variable.extent, int):
            if variable.extent % lanes:
                lane = Lane(variable, lanes, lane_mask(variable.extent % lanes, lanes), variable.extent % lanes)
                self._lane_round(lane, whole, rest, bound)
            return
        with builder.loop(whole, extent, lanes) as loop:
            mask = emitter.tail_mask(extent, loop.index, lanes)
            self._lane_round(Lane(variable, lanes, mask), loop.index, rest, bound)

    def _lane_round(self, lane: Lane, start: Register, rest: list[Variable], bound: set[Variable]) -> None:
        emitter = self.emitter
        emitter.values[lane.variable] = start
        with emitter.scope(), emitter.in_lanes(lane):
            self._hoist({*bound, lane.variable})
            self._sequential(rest, {*bound, lane.variable})

    def _hoist(self, bound: set[Variable]) -> None:
        """Emit every reduction whose variables are all bound, before the next loop opens."""
        for node in self._reductions_inside_out():
            free = {atom for atom in self.emitter.atoms(node) if isinstance(atom, Variable)}
            if free <= bound and not self.emitter.known(node):
                self.emitter.scalar(node)

    def _reductions_inside_out(self) -> list[Reduce]:
        return [node for node in reversed(list(walk(self.nest.body))) if isinstance(node, Reduce)]


def lane_count(variable: Variable, target: Target) -> int:
    """Lanes for a loop: a full register, or the next power of two above a short extent."""
    longest = bounds(variable.extent)[1]
    lanes = target.float_lanes
    while lanes > 1 and lanes >= 2 * longest:
        lanes //= 2
    return lanes
