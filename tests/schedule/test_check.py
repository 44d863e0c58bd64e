"""The checker of plans objects to every program that may compute something else, and to none that is right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from cases.case import Case
from cases.collection import CASES as ALL_CASES
from graphs import arrays_for, binary, drawn, given, network, unary
from regions.operators import region_for
from schedule.programs import TARGET, program_of
from schedule.rehearsal import Kernels, Rehearsal
from schedule.test_lower import overwritten_concatenation, scalar_read_by_all
from tensorwright.base.errors import BuildError
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.graph.graph import Graph, apply, is_constant
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.normalization import Softmax
from tensorwright.ops.shape import Concatenation
from tensorwright.schedule.check.check import check_program
from tensorwright.schedule.check.reads import Definition
from tensorwright.schedule.check.shares import Segments
from tensorwright.schedule.cpu import boxes
from tensorwright.schedule.cpu.boxes import Boxes
from tensorwright.schedule.program import Program
from tensorwright.schedule.storage import Buffer
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.layout import PLAIN

KERNELS = Kernels(TARGET)
THREADS = (1, 2, 3)


def check(program: Program, graph: Graph) -> None:
    check_program(program, graph.symbols(), THREADS, KERNELS.load)


def objection(program: Program, graph: Graph) -> str:
    try:
        check(program, graph)
    except BuildError as error:
        return str(error)
    return ""


def convolved(rng: np.random.Generator) -> Graph:
    """Convolutions of pixels and of channels, a residual sum, a concatenation."""
    x = given("x", 1, 16, 6, 5)
    pixels = [apply(Convolution((1, 1), (0, 0), (0, 0), (1, 1), 1), x, drawn(rng, 32, 16, 1, 1)) for _ in range(2)]
    deep = apply(Convolution((1, 1), (1, 1), (1, 1), (1, 1), 32), pixels[0], drawn(rng, 32, 1, 3, 3))
    total = unary("tanh", binary("add", deep, pixels[1]))
    joined = apply(Concatenation(1), total, unary("exp", pixels[0]))
    return network(apply(Softmax(1), joined), unary("neg", total))


def rows(rng: np.random.Generator) -> Graph:
    """Softmaxes in place, rows and columns, a matrix that is read twice, for any number of rows."""
    x = given("x", symbol("rows", 1, 5, 7), 40)
    first = apply(Softmax(1), unary("exp", x))
    second = apply(Softmax(1), binary("mul", first, 3.0))
    return network(apply(Softmax(0), second), binary("add", second, first))


def branches(rng: np.random.Generator) -> Graph:
    """Steps of static rows that need no waiting in between."""
    x = given("x", 21, 40)
    first = apply(Softmax(1), unary("exp", x))
    second = apply(Softmax(1), binary("mul", first, 3.0))
    return network(apply(Softmax(0), second), apply(Softmax(1), binary("add", second, first)))


def of_concatenations(rng: np.random.Generator) -> Graph:
    return overwritten_concatenation()


GRAPHS = [convolved, rows, branches, of_concatenations, scalar_read_by_all]
Made = Callable[[np.random.Generator], Graph]


def changed(program: Program, step: int, **changes: object) -> Program:
    """The program with other fields in the call of a step."""
    steps = list(program.steps)
    steps[step] = replace(steps[step], **changes)
    return replace(program, steps=tuple(steps))


def without_waits(program: Program) -> Iterator[tuple[str, Program]]:
    for threads in (2, 3):
        for step in program.waits(threads):
            free = program.steps[step].free | 1 << threads
            yield f"{threads} threads do not wait before step {step}", changed(program, step, free=free)


def with_shifted_offsets(program: Program) -> Iterator[tuple[str, Program]]:
    for number, step in enumerate(program.steps):
        for place, operand in enumerate(step.operands):
            for shift in (64, -64) if operand.base == "arena" else ():
                operands = list(step.operands)
                operands[place] = replace(operand, offset=operand.offset + shift)
                yield f"operand {place} of step {number} by {shift}", changed(program, number, operands=tuple(operands))


def with_swapped_steps(program: Program) -> Iterator[tuple[str, Program]]:
    for number in range(1, len(program.steps)):
        steps = list(program.steps)
        steps[number - 1 : number + 1] = steps[number], steps[number - 1]
        yield f"steps {number - 1} and {number} change places", replace(program, steps=tuple(steps))


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("made", GRAPHS)
def test_it_objects_to_every_change_that_can_change_a_result(made: Made, fuse: bool, rng: np.random.Generator) -> None:
    """Some order in which the threads may run shows a difference: then it objects."""
    graph = made(rng)
    symbols = {s.name: s.max for s in graph.symbols()}
    rehearsal = Rehearsal(KERNELS, arrays_for(graph, rng, symbols), symbols)
    program = program_of(graph, fuse=fuse)
    check(program, graph)
    right = rehearsal.run(program, 1, (0,))
    orders = [order for threads in THREADS for order in permutations(range(threads))]
    assert all(rehearsal.run(program, len(order), order) == right for order in orders)
    wrong = 0
    for mutants in (without_waits, with_shifted_offsets, with_swapped_steps):
        for what, mutant in mutants(program):
            if any(rehearsal.run(mutant, len(order), order) != right for order in orders):
                wrong += 1
                assert "the plan is wrong" in objection(mutant, graph), what
    assert wrong


def test_it_finds_a_wait_that_is_missing_because_a_scalar_looked_read_by_one_task(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    read = boxes._View.read

    def by_one(view: boxes._View, *arguments: object) -> Boxes:
        found = read(view, *arguments)  # type: ignore[arg-type]
        return found if found.ranges else replace(found, tasks=1)

    monkeypatch.setattr(boxes._View, "read", by_one)
    with pytest.raises(BuildError, match=r"with [23] threads, thread \d writes byte .*'other'.*while nobody waits"):
        build(scalar_read_by_all(rng), BuildConfig(level=0, threads=2, timing_cache="", check_plan=True))


def test_it_finds_a_concatenation_that_is_overwritten_while_an_operand_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def move_into(buffer: Buffer, parent: Buffer, offset: int) -> None:
        last = parent.last
        buffer.parent, buffer.offset = parent, offset
        parent.keep(buffer.first, last)

    monkeypatch.setattr(Buffer, "move_into", move_into)
    with pytest.raises(BuildError, match=r"step 3 'y' reads 'a' \(.*should be of 'a', and is of 'e'"):
        build(overwritten_concatenation(), BuildConfig(level=0, threads=1, timing_cache="", check_plan=True))


def test_a_build_checks_only_if_it_is_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    assert BuildConfig().checks_plan
    monkeypatch.delenv("TENSORWRIGHT_CHECK_PLAN")
    assert not BuildConfig().checks_plan
    assert BuildConfig(check_plan=True).checks_plan


def test_code_for_other_machines_is_checked_by_what_its_kernels_say(rng: np.random.Generator) -> None:
    graph = convolved(rng)
    program = program_of(graph)
    check_program(program, (), THREADS, None)
    for what, mutant in without_waits(program):
        if "2 threads" in what:
            with pytest.raises(BuildError, match="while nobody waits"):
                check_program(mutant, (), THREADS, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arena_bytes": 64}, "not all inside it"),
        ({"workspace_bytes": -1}, "bytes of workspace"),
        ({"weights": memoryview(bytes(8))}, "bytes of weights"),
        ({"outputs": "swapped"}, "output 'out0' at the end"),
        ({"constants": ()}, "is not where 'constant' starts"),
    ],
)
def test_sizes_and_outputs_are_checked(changes: dict[str, object], message: str, rng: np.random.Generator) -> None:
    graph = branches(rng) if "outputs" in changes else convolved(rng)
    program = program_of(graph)
    if "outputs" in changes:
        (first, a), (second, b) = program.outputs
        changes = {"outputs": ((first, b), (second, a))}
    with pytest.raises(BuildError, match=message):
        check(replace(program, **changes), graph)


@pytest.mark.parametrize("case", [case for case in ALL_CASES if not case.symbols], ids=repr)
def test_elements_depend_only_on_what_the_definition_reads(case: Case, rng: np.random.Generator) -> None:
    """Elements stay the same when everything else is another number."""
    region, arrays = region_for(case), case.arrays(rng)
    definition = Definition.of(region, {})
    shape = tuple(int(d) for d in region.output.type.shape if isinstance(d, int))
    written = rng.uniform(size=shape) < 0.2
    spoilt = []
    for number, (value, array) in enumerate(zip(region.inputs, arrays, strict=True)):
        copy = np.array(array)
        if value.type.dtype.is_float and not is_constant(value):
            (mask,) = definition.read(number, PLAIN, [written])
            apart = ~mask.reshape(copy.shape)
            copy[apart] = rng.uniform(50, 99, apart.sum()) * rng.choice([-1, 1], apart.sum())
        spoilt.append(copy)
    with np.errstate(all="ignore"):
        found, expected = (region.output.op.reference(*each) for each in (spoilt, arrays))
    np.testing.assert_array_equal(np.asarray(found)[written], np.asarray(expected)[written])


@pytest.mark.parametrize("tasks", [0, 1, 2, 5, 128])
def test_segments_are_the_shares_of_all_numbers_of_threads(tasks: int) -> None:
    segments = Segments.of(tasks, (1, 2, 3, 7))
    for threads in (1, 2, 3, 7):
        found = [
            share
            for (first, behind), share in zip(segments.ranges, segments.shares(threads), strict=True)
            for _ in range(first, behind)
        ]
        assert found == [
            share for share in range(threads) for _ in range(tasks * share // threads, tasks * (share + 1) // threads)
        ]
