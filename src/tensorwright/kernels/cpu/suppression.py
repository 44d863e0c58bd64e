"""Choosing boxes among many that overlap: one class of one image is one task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorwright.codegen.ir import FUNCTION_ATTRIBUTES, FunctionBuilder
from tensorwright.codegen.target import Target
from tensorwright.codegen.term import Term
from tensorwright.codegen.values import Pointer, Register, i64, literal
from tensorwright.graph.region import Region
from tensorwright.kernels.cpu.function import argument_emitter, signature
from tensorwright.kernels.tactic import NO_OPTIONS, AnyConfig, Config, Kernel, Tactic, TacticOptions, plain_inputs
from tensorwright.ops.detection import BoxSuppression
from tensorwright.tensor.dim import upper_bound
from tensorwright.tensor.dtype import BOOL, FLOAT32, INT64, UINT8
from tensorwright.tensor.layout import PLAIN

CACHE_LINE = 64

TAKEN = -(1 << 63)
"""The key of a place that is no candidate, or none any more."""

PLACE_BITS = 32
"""The lower half of a key is the place, counted from the end."""


class Suppression(Tactic[Target, TacticOptions]):
    """The best box that is left, from a tree of the larger of two, is compared with vectors of those that are kept."""

    name = "suppression"

    def configs(self, region: Region, target: Target) -> Sequence[AnyConfig]:
        only = len(region.values) == 1 and isinstance(region.output.op, BoxSuppression)
        return [Config(plain_inputs(region), PLAIN, NO_OPTIONS)] if only else []

    def emit(self, region: Region, config: AnyConfig, target: Target) -> Kernel:
        op = region.output.op
        assert isinstance(op, BoxSuppression)
        scores, boxes = region.input_types
        _, classes, places = scores.shape
        assert isinstance(classes, int)
        most, symbols = upper_bound(places), region.symbols
        memory = _Memory(most, min(op.limit, most), target.float_lanes)
        emitter = argument_emitter(2, symbols, target)
        writer = _Writer(emitter.builder, op, memory, classes if boxes.shape[1] == 1 else 1)
        writer.write(Term(emitter.builder, emitter.integer(places)))
        return Kernel(
            text=emitter.builder.module(signature(2, len(symbols)), FUNCTION_ATTRIBUTES),
            inputs=config.inputs,
            output=config.output,
            tasks=scores.shape[0] * classes,
            packings=(None, None),
            symbols=symbols,
            workspace=memory.size,
        )


TACTICS = (Suppression(),)


@dataclass(frozen=True)
class _Memory:
    """The workspace of a task: what changes from one candidate to the next, a tree of keys, the boxes that are kept.

    most: boxes to choose from, at most. kept: the largest number that is. lanes: of a vector.
    """

    most: int
    kept: int
    lanes: int

    @property
    def levels(self) -> int:
        """Of the tree, without its root, at most; its leaves are as many as boxes."""
        return (2 * max(1, self.most) - 1).bit_length() - 1

    @property
    def column(self) -> int:
        """Bytes of one coordinate of all boxes that are kept, to whole vectors."""
        return -(-self.kept // self.lanes) * self.lanes * FLOAT32.size

    @property
    def boxes(self) -> int:
        """Where they start, behind the state and the tree."""
        return CACHE_LINE + -(-2 * self.most * INT64.size // CACHE_LINE) * CACHE_LINE

    @property
    def size(self) -> int:
        return self.boxes + 5 * self.column


class _Writer:
    """Writes the kernel.

    A key is an integer that grows with the score and, of equal scores, with the distance from the last place. Node n of
    the tree is the larger of the nodes 2n and 2n + 1; the leaf of a place is that of its key.
    """

    def __init__(self, builder: FunctionBuilder, op: BoxSuppression, memory: _Memory, shared: int) -> None:
        self._b, self._op, self._memory, self._shared = builder, op, memory, shared
        state = Pointer("%workspace")
        self._count, self._threshold, self._hidden = (builder.offset(state, at, UINT8) for at in (0, 8, 16))
        self._tree = builder.offset(state, CACHE_LINE, UINT8)
        self._columns = [builder.offset(state, memory.boxes + number * memory.column, UINT8) for number in range(5)]

    def write(self, places: Term) -> None:
        """places: boxes to choose from."""
        b = self._b
        with b.loop(Register("%begin", INT64), Register("%end", INT64)) as task:
            image = self._term(b.div(task.index, self._shared))
            scores = b.offset(Pointer("%in0"), (self._term(task.index) * places).register, FLOAT32)
            boxes = b.offset(Pointer("%in1"), (image * places * 4).register, FLOAT32)
            kept = b.offset(Pointer("%out"), b.scaled(task.index, self._op.limit), INT64)
            turns = self._turns(self._plant(scores, places))
            b.store(i64(0), self._count, INT64)
            b.store(literal(self._op.overlap, FLOAT32), self._threshold, FLOAT32)
            with b.loop(0, turns), b.when(self._number(self._count).less(self._op.limit).register):
                self._consider(self._best(places), boxes, kept)
            with b.loop(b.load(self._count, INT64), self._op.limit) as rest:
                b.store(i64(-1), b.offset(kept, rest.index, INT64), INT64)

    def _turns(self, candidates: Register) -> Register:
        """How many candidates are looked at."""
        if self._op.candidates is None:
            return candidates
        found = self._term(candidates)
        return found.less(self._op.candidates).choose(found, self._op.candidates).register

    # ---- the tree

    def _plant(self, scores: Pointer, places: Term) -> Register:
        """Make the tree of all scores above the limit. How many there are."""
        b = self._b
        with b.loop(0, places.register, carried=[0]) as loop:
            score = self._term(b.load(b.offset(scores, loop.index, FLOAT32), FLOAT32))
            is_candidate = score.greater(self._op.score)
            key = is_candidate.choose(self._key(score, self._term(loop.index)), TAKEN)
            self._set(places + self._term(loop.index), key)
            loop.following = [(self._term(loop.carried[0]) + is_candidate.converted("zext", INT64)).register]
        with b.loop(1, places.register) as upwards:
            self._choose_larger(places - self._term(upwards.index))
        return loop.final[0]

    def _key(self, score: Term, place: Term) -> Term:
        """See the class; -0 becomes 0 before."""
        bits = (score + 0.0).bits()
        ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
        behind = ((1 << PLACE_BITS) - 1) - place
        return (ordered.converted("sext", INT64) << PLACE_BITS) | behind

    def _best(self, places: Term) -> Register:
        """The place of the best candidate that is left; it is left no longer."""
        place = ((1 << PLACE_BITS) - 1) - (self._node(i64(1)) & ((1 << PLACE_BITS) - 1))
        leaf = places + place
        self._set(leaf, Term(self._b, i64(TAKEN)))
        with self._b.loop(0, self._memory.levels, carried=[leaf.register]) as loop:
            parent = self._term(loop.carried[0]).logical_right(1)
            self._choose_larger(parent)
            loop.following = [parent.register]
        return place.register

    def _choose_larger(self, number: Term) -> None:
        one, other = self._node((number * 2).register), self._node((number * 2 + 1).register)
        self._set(number, one.greater(other).choose(one, other))

    def _node(self, number: Register) -> Term:
        return self._number(self._b.offset(self._tree, number, INT64))

    def _set(self, number: Term, key: Term) -> None:
        self._b.store(key.register, self._b.offset(self._tree, number.register, INT64), INT64)

    # ---- boxes

    def _consider(self, place: Register, boxes: Pointer, kept: Pointer) -> None:
        """Keep a box unless it overlaps one that is kept."""
        b, lanes = self._b, self._memory.lanes
        own = self._box(boxes, place)
        count, threshold = self._number(self._count), self._term(b.load(self._threshold, FLOAT32))
        b.store(literal(False, BOOL), self._hidden, BOOL)
        left, top, right, bottom = map(self._splat, own.corners)
        wide = _Box(left, top, right, bottom, self._splat(own.area))
        with b.loop(0, count.register, lanes) as loop, b.when((~self._is_hidden()).register):
            self._compare(wide, loop.index, self._splat(threshold))
        with b.when((~self._is_hidden()).register):
            self._keep(own, count)
            b.store(place, b.offset(kept, count.register, INT64), INT64)
            b.store((count + 1).register, self._count, INT64)
            if self._op.decay != 1:
                lower = threshold.greater(0.5).choose(threshold * self._op.decay, threshold)
                b.store(lower.register, self._threshold, FLOAT32)

    def _compare(self, own: _Box, first: Register, threshold: Term) -> None:
        """Note whether a box overlaps one of a vector of those that are kept; most vectors have none that it meets."""
        b, lanes = self._b, self._memory.lanes
        places = [b.offset(column, first, FLOAT32) for column in self._columns]
        left, top, right, bottom, area = (self._term(b.load(place, FLOAT32, lanes)) for place in places)
        other = _Box(left, top, right, bottom, area)
        width, height = own.common(other)
        meets = width.greater(0) & height.greater(0)
        with b.when(self._any(meets)):
            common = width.exact_mul(height)
            ratio = common / (own.area + other.area - common)
            b.store(self._any(meets & ratio.greater(threshold)), self._hidden, BOOL)

    def _keep(self, box: _Box, count: Term) -> None:
        """Write a box behind those that are kept; the first of a vector is followed by some that nothing meets."""
        b, lanes = self._b, self._memory.lanes
        with b.when((count % lanes).equals(0).register):
            for column in self._columns:
                b.store(literal(0.0, FLOAT32, lanes), b.offset(column, count.register, FLOAT32), FLOAT32)
        for column, each in zip(self._columns, (*box.corners, box.area), strict=True):
            b.store(each.register, b.offset(column, count.register, FLOAT32), FLOAT32)

    def _box(self, boxes: Pointer, position: Register) -> _Box:
        start = self._b.offset(boxes, self._b.scaled(position, 4), FLOAT32)
        left, top, right, bottom = (
            self._term(self._b.load(self._b.offset(start, corner, FLOAT32), FLOAT32)) for corner in range(4)
        )
        return _Box(left, top, right, bottom, (right - left).exact_mul(bottom - top))

    def _is_hidden(self) -> Term:
        return self._term(self._b.load(self._hidden, BOOL))

    def _any(self, condition: Term) -> Register:
        return condition.register if condition.lanes == 1 else self._b.any(condition.register)

    def _splat(self, number: Term) -> Term:
        lanes = self._memory.lanes
        return number if lanes == 1 else self._term(self._b.splat(number.register, lanes))

    def _number(self, place: Pointer) -> Term:
        return self._term(self._b.load(place, INT64))

    def _term(self, register: Register) -> Term:
        return Term(self._b, register)


@dataclass(frozen=True)
class _Box:
    """Two corners of a box, or of a vector of boxes, and the area."""

    left: Term
    top: Term
    right: Term
    bottom: Term
    area: Term

    @property
    def corners(self) -> tuple[Term, Term, Term, Term]:
        return self.left, self.top, self.right, self.bottom

    def common(self, other: _Box) -> tuple[Term, Term]:
        """Width and height of what two boxes have in common; not both positive where they do not meet."""
        left, top = _larger(self.left, other.left), _larger(self.top, other.top)
        return _smaller(self.right, other.right) - left, _smaller(self.bottom, other.bottom) - top


def _larger(left: Term, right: Term) -> Term:
    return left.greater(right).choose(left, right)


def _smaller(left: Term, right: Term) -> Term:
    return left.less(right).choose(left, right)
