"""Threads wait wherever one touches what another one writes, and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given as tried
from hypothesis import strategies as st

from graphs import arrays_for, binary, constant, drawn, given, network, unary
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.codegen.cpu.entry import owners
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.graph import Graph, apply
from tensorwright.kernels.slabs import DealtAxis, Slabs
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import Softmax
from tensorwright.ops.pooling import Pool
from tensorwright.ops.reduction import Reduction
from tensorwright.plan.plan import Address, Plan
from tensorwright.runtime.engine import Engine
from tensorwright.schedule.arena import Block, place
from tensorwright.schedule.cpu.arrange import TeamStage, arrange
from tensorwright.schedule.cpu.barriers import MOST_STEPS, Access, Accesses, Apart, barriers
from tensorwright.schedule.cpu.boxes import Boxes, boxes_of
from tensorwright.schedule.placement import Operand

ARENA = 256
THREADS = (1, 2, 3, 4, 7)


@st.composite
def boxes(draw: st.DrawFn, tasks: int, *, apart: bool) -> Boxes:
    """Boxes of so many tasks; boxes that are written lie apart, others may share elements."""
    shape = draw(st.sampled_from([(12,), (3, 4), (2, 3, 2), (6, 1, 2)]))
    axis = draw(st.integers(0, len(shape) - 1))
    edges = sorted(draw(st.lists(st.integers(0, shape[axis]), min_size=tasks - 1, max_size=tasks - 1)))
    starts, stops = [0, *edges], [*edges, shape[axis]]
    if not apart:
        more = draw(st.integers(0, 2))
        starts, stops = [max(0, s - more) for s in starts], [min(shape[axis], s + more) for s in stops]
    return boxes_of(Slabs(shape, (DealtAxis(axis, tuple(zip(starts, stops, strict=True))),)), tasks)


@st.composite
def accesses(draw: st.DrawFn) -> Accesses:
    tasks = draw(st.integers(1, 6))
    operands = []
    for writes in (True, *draw(st.lists(st.just(False), max_size=2))):
        place_ = draw(st.one_of(st.integers(0, 5), st.sampled_from([0, 0, 0])))
        known = draw(boxes(tasks, apart=writes)) if draw(st.integers(0, 9)) else None
        operands.append(Access(Address("arena", 16 * place_), 48, 4, writes, known))
    return Accesses(tasks, tuple(operands))


def touched_by(access: Access, tasks: range) -> npt.NDArray[np.bool_]:
    """The bytes of the arena that a thread with these tasks touches."""
    memory = np.zeros(ARENA, np.bool_)
    start = access.address.offset
    for task in tasks:
        inside = np.ones(access.size // access.width, np.bool_)
        if access.boxes is not None:
            box = np.zeros(access.boxes.shape, np.bool_)
            box[tuple(slice(r.low[task], r.high[task]) for r in access.boxes.ranges)] = True
            inside = box.reshape(-1)
        memory[start : start + access.size] |= np.repeat(inside, access.width)
    return memory


def shares(tasks: int, threads: int) -> list[range]:
    return [range(tasks * t // threads, tasks * (t + 1) // threads) for t in range(threads)]


def clash(a: Accesses, b: Accesses, threads: int) -> bool:
    """Whether one thread in one of two steps touches what another writes in the other, byte by byte."""
    assert a.tasks is not None
    assert b.tasks is not None
    return any(
        i != j and bool((touched_by(x, mine) & touched_by(y, others)).any())
        for x in a.operands
        for y in b.operands
        if x.writes or y.writes
        for i, mine in enumerate(shares(a.tasks, threads))
        for j, others in enumerate(shares(b.tasks, threads))
    )


@tried(st.lists(accesses(), min_size=2, max_size=4), st.sampled_from(THREADS))
def test_no_thread_touches_what_another_wrote_since_all_waited(steps: Sequence[Accesses], threads: int) -> None:
    free, first = barriers(steps), 0
    for number, step in enumerate(steps):
        clashes = [clash(earlier, step, threads) for earlier in steps[first:number]]
        waits = not free[number] >> threads & 1
        assert waits or not any(clashes)
        exact = all(operand.boxes is not None for each in steps for operand in each.operands)
        assert not waits or any(clashes) or not exact
        first = number if waits else first


def test_steps_that_are_alike_are_compared_once() -> None:
    """Rows in place, again and again: nobody waits, but now and then so that no step is compared with all before."""
    rows = boxes_of(Slabs((12, 4), (DealtAxis(0, tuple((i, i + 1) for i in range(12))),)), 12)
    step = Accesses(12, tuple(Access(Address("arena", 0), 192, 4, writes, rows) for writes in (True, False)))
    apart = Apart()
    free = barriers([step] * 1000, apart)
    assert len(apart.known) == 2
    assert [number for number, bits in enumerate(free) if not bits >> 2 & 1] == list(
        range(MOST_STEPS + 1, 1000, MOST_STEPS + 1)
    )


def test_all_tasks_touch_a_tensor_of_rank_0() -> None:
    read = Access(Address("arena", 0), 4, 4, False, Boxes((), (), 5))
    written = Access(Address("arena", 0), 48, 4, True, boxes_of(Slabs((12,), (DealtAxis(0, ((0, 4), (4, 12))),)), 2))
    assert barriers([Accesses(5, (read,)), Accesses(2, (written,))])[1] == 2


@tried(st.integers(1, 40), st.integers(1, 12))
def test_owners_are_the_threads_whose_share_a_task_is_in(tasks: int, threads: int) -> None:
    expected = [thread for thread, share in enumerate(shares(tasks, threads)) for _ in share]
    assert owners(np.arange(tasks), tasks, threads).tolist() == expected


@st.composite
def chains(draw: st.DrawFn) -> tuple[list[TeamStage], list[Block]]:
    """Steps that each read the result of the one before and perhaps an earlier one."""
    count = draw(st.integers(2, 6))
    reads = [{max(0, n - 1), *draw(st.lists(st.integers(0, max(0, n - 1)), max_size=1))} for n in range(count)]
    stages = []
    for number in range(count):
        tasks = draw(st.integers(1, 4))
        wanted = [(number, True), *((n, False) for n in sorted(reads[number]) if n < number)]
        operands = [
            (Operand(Address("arena", 0), 48, 4, writes, block), draw(boxes(tasks, apart=writes)))
            for block, writes in wanted
        ]
        stages.append(TeamStage(tasks, tuple(operands), number))
    last = [max([n, *(reader for reader in range(count) if n in reads[reader])]) for n in range(count)]
    return stages, [Block(48, number, last[number]) for number in range(count)]


@tried(chains(), st.sampled_from(THREADS))
def test_the_arena_never_grows_for_it(chain: tuple[list[TeamStage], list[Block]], threads: int) -> None:
    stages, blocks = chain
    found = arrange(stages, blocks, threads)
    assert found.placement.size <= place(blocks).size
    placed = [stage.placed(found.placement.offsets) for stage in stages]
    assert list(found.free) == barriers(placed)
    for i, a in enumerate(blocks):
        for j, b in enumerate(blocks[:i]):
            apart = abs(found.placement.offsets[i] - found.placement.offsets[j]) >= 48
            assert apart or not a.overlaps(b)


def of_rows(rng: np.random.Generator) -> Graph:
    """Softmaxes of rows, with steps of as many tasks and of fewer in between."""
    x = given("x", 4, 21, 40)
    first = apply(Softmax(2), unary("exp", x))
    second = apply(Softmax(2), binary("mul", first, 3.0))
    return network(apply(Softmax(1), second), apply(Softmax(2), binary("add", second, first)))


def of_channels(rng: np.random.Generator) -> Graph:
    """A depthwise convolution and a pooling behind a convolution of as many channels, and two that read one input."""
    weights = [constant(rng.uniform(-1, 1, shape)) for shape in ((96, 32, 1, 1), (96, 1, 3, 3), (32, 32, 1, 1))]
    x = given("x", 1, 32, 13, 11)
    wide = apply(Convolution((1, 1), (0, 0), (0, 0), (1, 1), 1), x, weights[0])
    deep = apply(Convolution((1, 1), (1, 1), (1, 1), (1, 1), 96), wide, weights[1])
    other = apply(Convolution((1, 1), (0, 0), (0, 0), (1, 1), 1), x, weights[2])
    pooled = apply(Pool("max", (2, 2), (2, 2), (0, 0), (0, 0), (1, 1)), deep)
    return network(pooled, unary("tanh", other))


def of_a_scalar(rng: np.random.Generator) -> Graph:
    """A scalar that all tasks read, and then rows that take its memory."""
    x = given("x", 128, 128)
    scale = apply(Reduction("max", (0, 1), False), x)
    scaled = binary("div", apply(MatMul(), x, drawn(rng, 128, 128)), scale)
    return network(apply(MatMul(), scaled, apply(Softmax(1), x)))


@pytest.mark.parametrize("made", [of_rows, of_channels, of_a_scalar])
def test_results_are_right_with_any_number_of_threads(made: object, rng: np.random.Generator) -> None:
    assert callable(made)
    graph = made(rng)
    plan = build(graph, BuildConfig(level=0, threads=2, timing_cache=""))
    kept = plan.report["barriers"]
    assert isinstance(kept, dict)
    assert made is of_a_scalar or int(str(kept["kept"])) < int(str(kept["of"]))
    for threads in THREADS:
        with Engine(plan, threads=threads) as engine:
            for _ in range(40):
                check(graph, engine, plan, rng)


def check(graph: Graph, engine: Engine, plan: Plan, rng: np.random.Generator) -> None:
    arrays = arrays_for(graph, rng, {})
    expected = evaluate_graph(graph, arrays)
    found = engine(arrays)
    for name, _ in graph.outputs:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-5)
