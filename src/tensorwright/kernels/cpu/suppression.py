"""Choosing boxes among many that overlap: one class of one image is one task."""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.codegen.ir import FUNCTION_ATTRIBUTES, FunctionBuilder, Pointer, Register, literal
from tensorwright.codegen.target import Target
from tensorwright.graph.region import Region
from tensorwright.kernels.cpu.function import signature
from tensorwright.kernels.tactic import Config, Kernel, Tactic, plain_inputs
from tensorwright.ops.detection import BoxSuppression
from tensorwright.tensor.dtype import BOOL, FLOAT32, INT64
from tensorwright.tensor.layout import PLAIN

CACHE_LINE = 64


class Suppression(Tactic[Target]):
    """Candidates are gathered first; then the best one left is taken again and again and compared with those kept."""

    name = "suppression"

    def configs(self, region: Region, target: Target) -> Sequence[Config]:
        only = len(region.values) == 1 and isinstance(region.output.op, BoxSuppression)
        return [Config(plain_inputs(region), PLAIN)] if only else []

    def emit(self, region: Region, config: Config, target: Target) -> Kernel:
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
        self._positions = self._bytes(self._scores, _positions_offset(places))
        self._count = self._bytes(self._scores, _state_offset(places))
        self._threshold = self._bytes(self._scores, _state_offset(places) + 8)

    def write(self) -> None:
        b = self._b
        task = b.begin_loop(Register("%begin", INT64), Register("%end", INT64))
        image = b.div(task.index, literal(self._shared, INT64))
        scores = b.offset(Pointer("%in0"), self._times(task.index, self._places), FLOAT32)
        boxes = b.offset(Pointer("%in1"), self._times(image, 4 * self._places), FLOAT32)
        kept = b.offset(Pointer("%out"), self._times(task.index, self._op.limit), INT64)
        candidates = self._gather(scores)
        taken = candidates
        if self._op.candidates is not None:
            most = literal(self._op.candidates, INT64)
            taken = b.select(b.compare("slt", candidates, most), candidates, most)
        b.store(literal(0, INT64), self._count, INT64)
        b.store(literal(self._op.overlap, FLOAT32), self._threshold, FLOAT32)
        turn = b.begin_loop(literal(0, INT64), taken)
        room = b.begin_if(b.compare("slt", b.load(self._count, INT64), literal(self._op.limit, INT64)))
        self._consider(self._best(candidates), boxes, kept)
        b.end_if(room)
        b.end_loop(turn)
        rest = b.begin_loop(b.load(self._count, INT64), literal(self._op.limit, INT64))
        b.store(literal(-1, INT64), b.offset(kept, rest.index, INT64), INT64)
        b.end_loop(rest)
        b.end_loop(task)

    def _gather(self, scores: Pointer) -> Register:
        """Copy scores above the limit, and where they are, to the workspace. How many there are."""
        b = self._b
        loop = b.begin_loop(literal(0, INT64), literal(self._places, INT64), carried=[literal(0, INT64)])
        count = loop.carried[0]
        score = b.load(b.offset(scores, loop.index, FLOAT32), FLOAT32)
        above = b.compare("ogt", score, literal(self._op.score, FLOAT32))
        wanted = b.begin_if(above)
        b.store(score, b.offset(self._scores, count, FLOAT32), FLOAT32)
        b.store(loop.index, b.offset(self._positions, count, INT64), INT64)
        b.end_if(wanted)
        following = b.add(count, b.convert("zext", above, INT64))
        return b.end_loop(loop, [following])[0]

    def _best(self, candidates: Register) -> Register:
        """The position of the box with the largest score left, the first of equal ones; it is left no longer."""
        b = self._b
        lowest = literal(float("-inf"), FLOAT32)
        loop = b.begin_loop(literal(0, INT64), candidates, carried=[lowest, literal(0, INT64)])
        largest, place = loop.carried
        score = b.load(b.offset(self._scores, loop.index, FLOAT32), FLOAT32)
        better = b.compare("ogt", score, largest)
        _, found = b.end_loop(loop, [b.select(better, score, largest), b.select(better, loop.index, place)])
        b.store(lowest, b.offset(self._scores, found, FLOAT32), FLOAT32)
        return b.load(b.offset(self._positions, found, INT64), INT64)

    def _consider(self, position: Register, boxes: Pointer, kept: Pointer) -> None:
        """Keep a box unless it overlaps one that is kept."""
        b = self._b
        own = self._corners(boxes, position)
        count, threshold = b.load(self._count, INT64), b.load(self._threshold, FLOAT32)
        loop = b.begin_loop(literal(0, INT64), count, carried=[literal(False, BOOL)])
        other = self._corners(boxes, b.load(b.offset(kept, loop.index, INT64), INT64))
        too_much = b.compare("ogt", self._overlap(own, other), threshold)
        (hidden,) = b.end_loop(loop, [b.binary("or", loop.carried[0], too_much)])
        chosen = b.begin_if(b.binary("xor", hidden, literal(True, BOOL)))
        b.store(position, b.offset(kept, count, INT64), INT64)
        b.store(b.add(count, literal(1, INT64)), self._count, INT64)
        if self._op.decay != 1:
            lower = b.mul(threshold, literal(self._op.decay, FLOAT32))
            loose = b.compare("ogt", threshold, literal(0.5, FLOAT32))
            b.store(b.select(loose, lower, threshold), self._threshold, FLOAT32)
        b.end_if(chosen)

    def _corners(self, boxes: Pointer, position: Register) -> list[Register]:
        b = self._b
        start = b.offset(boxes, self._times(position, 4), FLOAT32)
        return [b.load(b.offset(start, corner, FLOAT32), FLOAT32) for corner in range(4)]

    def _overlap(self, own: list[Register], other: list[Register]) -> Register:
        """Intersection over union, 0 where the boxes do not meet."""
        b = self._b
        left, top = (self._extreme("ogt", x, y) for x, y in zip(own[:2], other[:2], strict=True))
        right, bottom = (self._extreme("olt", x, y) for x, y in zip(own[2:], other[2:], strict=True))
        width, height = b.sub(right, left), b.sub(bottom, top)
        zero = literal(0.0, FLOAT32)
        meet = b.binary("and", b.compare("ogt", width, zero), b.compare("ogt", height, zero))
        common = b.mul(width, height)
        union = b.sub(b.add(self._area(own), self._area(other)), common)
        return b.select(meet, b.div(common, union), zero)

    def _area(self, box: list[Register]) -> Register:
        b = self._b
        return b.mul(b.sub(box[2], box[0]), b.sub(box[3], box[1]))

    def _extreme(self, predicate: str, left: Register, right: Register) -> Register:
        return self._b.select(self._b.compare(predicate, left, right), left, right)

    def _times(self, index: Register, factor: int) -> Register:
        return self._b.mul(index, literal(factor, INT64))

    def _bytes(self, base: Pointer, count: int) -> Pointer:
        return self._b.offset(base, 2 * (count // 8), FLOAT32)
