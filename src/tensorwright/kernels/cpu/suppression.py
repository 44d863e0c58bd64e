"""Choosing boxes among many that overlap: one class of one image is one task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorwright.codegen.ir import FUNCTION_ATTRIBUTES, FunctionBuilder
from tensorwright.codegen.target import Target
from tensorwright.codegen.term import Term
from tensorwright.codegen.values import Pointer, Register, i64, literal
from tensorwright.graph.region import Region
from tensorwright.kernels.cpu.function import signature
from tensorwright.kernels.tactic import NO_OPTIONS, AnyConfig, Config, Kernel, Tactic, TacticOptions, plain_inputs
from tensorwright.ops.detection import BoxSuppression
from tensorwright.tensor.dtype import BOOL, FLOAT32, INT64, UINT8
from tensorwright.tensor.layout import PLAIN

CACHE_LINE = 64


class Suppression(Tactic[Target, TacticOptions]):
    """Candidates are gathered first; then the best one left is taken again and again and compared with those kept."""

    name = "suppression"

    def configs(self, region: Region, target: Target) -> Sequence[AnyConfig]:
        only = len(region.values) == 1 and isinstance(region.output.op, BoxSuppression)
        return [Config(plain_inputs(region), PLAIN, NO_OPTIONS)] if only else []

    def emit(self, region: Region, config: AnyConfig, target: Target) -> Kernel:
        op = region.output.op
        assert isinstance(op, BoxSuppression)
        scores, boxes = region.input_types
        classes, places = (int(extent) for extent in scores.shape[1:] if isinstance(extent, int))
        shared = classes if boxes.shape[1] == 1 else 1
        builder = FunctionBuilder(target=target)
        _Writer(builder, op, places, shared).write()
        return Kernel(
            text=builder.module(signature(2, 0), FUNCTION_ATTRIBUTES),
            inputs=config.inputs,
            output=config.output,
            tasks=scores.shape[0] * classes,
            packings=(None, None),
            workspace=_state_offset(places) + CACHE_LINE,
        )


TACTICS = (Suppression(),)


def _positions_offset(places: int) -> int:
    return -(-4 * places // CACHE_LINE) * CACHE_LINE


def _state_offset(places: int) -> int:
    return _positions_offset(places) + -(-8 * places // CACHE_LINE) * CACHE_LINE


class _Writer:
    """Writes the kernel.

    The workspace holds the scores of the candidates, their positions, and what changes from one candidate to the next:
    how many boxes are kept, and the threshold.
    """

    def __init__(self, builder: FunctionBuilder, op: BoxSuppression, places: int, shared: int) -> None:
        self._b, self._op, self._places, self._shared = builder, op, places, shared
        self._scores = Pointer("%workspace")
        self._positions = builder.offset(self._scores, _positions_offset(places), UINT8)
        self._count = builder.offset(self._scores, _state_offset(places), UINT8)
        self._threshold = builder.offset(self._scores, _state_offset(places) + 8, UINT8)

    def write(self) -> None:
        b = self._b
        with b.loop(Register("%begin", INT64), Register("%end", INT64)) as task:
            image = b.div(task.index, self._shared)
            scores = b.offset(Pointer("%in0"), b.scaled(task.index, self._places), FLOAT32)
            boxes = b.offset(Pointer("%in1"), b.scaled(image, 4 * self._places), FLOAT32)
            kept = b.offset(Pointer("%out"), b.scaled(task.index, self._op.limit), INT64)
            candidates = self._gather(scores)
            b.store(i64(0), self._count, INT64)
            b.store(literal(self._op.overlap, FLOAT32), self._threshold, FLOAT32)
            with b.loop(0, self._turns(candidates)), b.when(self._number(self._count).less(self._op.limit).register):
                self._consider(self._best(candidates), boxes, kept)
            with b.loop(b.load(self._count, INT64), self._op.limit) as rest:
                b.store(i64(-1), b.offset(kept, rest.index, INT64), INT64)

    def _turns(self, candidates: Register) -> Register:
        """How many candidates are looked at."""
        if self._op.candidates is None:
            return candidates
        found = self._term(candidates)
        return found.less(self._op.candidates).choose(found, self._op.candidates).register

    def _gather(self, scores: Pointer) -> Register:
        """Copy scores above the limit, and where they are, to the workspace. How many there are."""
        b = self._b
        with b.loop(0, self._places, carried=[0]) as loop:
            (count,) = loop.carried
            score = self._score(scores, loop.index)
            above = score.greater(self._op.score)
            with b.when(above.register):
                b.store(score.register, b.offset(self._scores, count, FLOAT32), FLOAT32)
                b.store(loop.index, b.offset(self._positions, count, INT64), INT64)
            loop.following = [(self._term(count) + above.converted("zext", INT64)).register]
        return loop.final[0]

    def _best(self, candidates: Register) -> Register:
        """The position of the box with the largest score left, the first of equal ones; it is left no longer."""
        b = self._b
        lowest = literal(float("-inf"), FLOAT32)
        with b.loop(0, candidates, carried=[lowest, 0]) as loop:
            largest, place = map(self._term, loop.carried)
            score = self._score(self._scores, loop.index)
            better = score.greater(largest)
            loop.following = [
                better.choose(score, largest).register,
                better.choose(self._term(loop.index), place).register,
            ]
        _, found = loop.final
        b.store(lowest, b.offset(self._scores, found, FLOAT32), FLOAT32)
        return b.load(b.offset(self._positions, found, INT64), INT64)

    def _consider(self, position: Register, boxes: Pointer, kept: Pointer) -> None:
        """Keep a box unless it overlaps one that is kept."""
        b = self._b
        own = self._box(boxes, position)
        count, threshold = self._number(self._count), self._term(b.load(self._threshold, FLOAT32))
        with b.loop(0, count.register, carried=[literal(False, BOOL)]) as loop:
            other = self._box(boxes, b.load(b.offset(kept, loop.index, INT64), INT64))
            too_much = own.overlap(other).greater(threshold)
            loop.following = [(self._term(loop.carried[0]) | too_much).register]
        is_hidden = self._term(loop.final[0])
        with b.when((~is_hidden).register):
            b.store(position, b.offset(kept, count.register, INT64), INT64)
            b.store((count + 1).register, self._count, INT64)
            if self._op.decay != 1:
                lower = threshold.greater(0.5).choose(threshold * self._op.decay, threshold)
                b.store(lower.register, self._threshold, FLOAT32)

    def _box(self, boxes: Pointer, position: Register) -> _Box:
        start = self._b.offset(boxes, self._b.scaled(position, 4), FLOAT32)
        corners = [self._b.load(self._b.offset(start, corner, FLOAT32), FLOAT32) for corner in range(4)]
        return _Box(*map(self._term, corners))

    def _score(self, scores: Pointer, index: Register) -> Term:
        return self._term(self._b.load(self._b.offset(scores, index, FLOAT32), FLOAT32))

    def _number(self, place: Pointer) -> Term:
        return self._term(self._b.load(place, INT64))

    def _term(self, register: Register) -> Term:
        return Term(self._b, register)


@dataclass(frozen=True)
class _Box:
    """Two corners of a box."""

    left: Term
    top: Term
    right: Term
    bottom: Term

    @property
    def area(self) -> Term:
        return (self.right - self.left) * (self.bottom - self.top)

    def overlap(self, other: _Box) -> Term:
        """Intersection over union, 0 where the boxes do not meet."""
        left, top = _larger(self.left, other.left), _larger(self.top, other.top)
        width = _smaller(self.right, other.right) - left
        height = _smaller(self.bottom, other.bottom) - top
        common = width * height
        union = self.area + other.area - common
        return (width.greater(0) & height.greater(0)).choose(common / union, 0)


def _larger(left: Term, right: Term) -> Term:
    return left.greater(right).choose(left, right)


def _smaller(left: Term, right: Term) -> Term:
    return left.less(right).choose(left, right)
