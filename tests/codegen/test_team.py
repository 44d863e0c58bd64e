"""How the threads of a team share an inference: a model of it in all orders of events, and the code under stress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest

from graphs import drawn, given, network
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.codegen.cpu import team
from tensorwright.codegen.cpu.compile import compile_object
from tensorwright.codegen.cpu.entry import entry_module
from tensorwright.codegen.cpu.link import link
from tensorwright.codegen.cpu.steps import FEWEST_ROWS, EntryStep
from tensorwright.codegen.cpu.targets import target_named
from tensorwright.graph.graph import Graph, apply
from tensorwright.ops.activation import Relu
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import Softmax
from tensorwright.plan.plan import Address
from tensorwright.runtime.engine import Engine


@dataclass(frozen=True)
class Shared:
    """The team's counters, and which shares of which generations are done."""

    claims: tuple[int, ...]
    arrived: int = 0
    generation: int = 0
    wake: int = 0
    first: int = 0
    done: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True)
class Thread:
    """Where a thread is. share: whose it does or looks at; back: where it goes on after a share."""

    number: int
    place: str
    seen: int = 0
    first: int = 0
    group: int = 0
    share: int = 0
    back: str = ""
    inference: int = 0

    @property
    def generation(self) -> int:
        return self.first + self.group


@dataclass(frozen=True)
class Work:
    """How many groups an inference has, and how many inferences there are."""

    groups: int
    inferences: int


State = tuple[Shared, Thread]
Claim = Callable[[Shared, int, int], bool]


def is_open(shared: Shared, share: int, generation: int) -> bool:
    return shared.claims[share] == generation


def claimed(shared: Shared, thread: Thread, share: int, back: str) -> State:
    claims = list(shared.claims)
    claims[share] = thread.generation + 1
    return replace(shared, claims=tuple(claims)), replace(thread, place="work", share=share, back=back)


def next_group(thread: Thread, work: Work) -> Thread:
    if thread.group + 1 < work.groups:
        return replace(thread, place="claim", group=thread.group + 1)
    return replace(thread, place="end" if thread.number == 0 else "idle")


def moves(shared: Shared, thread: Thread, work: Work, may_claim: Claim) -> Iterator[State]:  # noqa: C901
    """What a thread may do next; nothing while it has to wait."""
    team_size, n = len(shared.claims), thread.generation
    match thread.place:
        case "start":
            yield (
                replace(shared, first=shared.generation),
                replace(thread, place="wake", first=shared.generation, group=0),
            )
        case "wake":
            yield replace(shared, wake=shared.wake + 1), replace(thread, place="claim")
        case "idle" if shared.wake != thread.seen:
            yield shared, replace(thread, place="read", seen=shared.wake)
        case "read":
            yield shared, replace(thread, place="claim", first=shared.first, group=0)
        case "claim" if may_claim(shared, thread.number, n):
            yield claimed(shared, thread, thread.number, "await")
        case "claim":
            yield shared, replace(thread, place="await")
        case "work":
            assert shared.generation == n, "a share of a group that is not running"
            assert (n, thread.share) not in shared.done, "a share done twice"
            yield replace(shared, done=shared.done | {(n, thread.share)}), replace(thread, place="finish")
        case "finish" if shared.arrived + 1 < team_size:
            yield (
                replace(shared, arrived=shared.arrived + 1),
                replace(thread, place=thread.back, share=thread.share + 1),
            )
        case "finish":
            yield replace(shared, arrived=0), replace(thread, place="open")
        case "open":
            assert {(n, share) for share in range(team_size)} <= shared.done, "a group ended before its shares"
            after = replace(thread, place=thread.back, share=thread.share + 1)
            yield replace(shared, generation=n + 1), after
        case "await":
            if shared.generation != n:
                yield shared, next_group(thread, work)
            yield shared, replace(thread, place="look", share=0)
        case "look" if thread.share == team_size:
            yield shared, replace(thread, place="block")
        case "look" if may_claim(shared, thread.share, n):
            yield claimed(shared, thread, thread.share, "look")
        case "look":
            yield shared, replace(thread, share=thread.share + 1)
        case "block" if shared.generation != n:
            yield shared, next_group(thread, work)
        case "end":
            assert len(shared.done) == (thread.inference + 1) * work.groups * team_size, "an inference ended too early"
            again = thread.inference + 1 < work.inferences
            yield shared, replace(thread, place="start" if again else "stop", inference=thread.inference + 1)


def explore(team_size: int, work: Work, may_claim: Claim = is_open) -> int:
    """Go through all orders of events; returns how many states there are."""
    threads = (Thread(0, "start"), *(Thread(number, "idle") for number in range(1, team_size)))
    start = (Shared((0,) * team_size), threads)
    known, waiting = {start}, [start]
    while waiting:
        shared, threads = waiting.pop()
        following = [
            (after, (*threads[:number], moved, *threads[number + 1 :]))
            for number, thread in enumerate(threads)
            for after, moved in moves(shared, thread, work, may_claim)
        ]
        assert following or threads[0].place == "stop", f"nobody can move: {shared} {threads}"
        for state in following:
            if state not in known:
                known.add(state)
                waiting.append(state)
    return len(known)


@pytest.mark.parametrize(
    ("team_size", "work"), [(2, Work(2, 3)), (2, Work(3, 2)), (3, Work(1, 2)), (3, Work(2, 1))], ids=str
)
def test_every_share_is_done_once_and_in_time_in_every_order_of_events(team_size, work):
    assert explore(team_size, work) > 1000


@pytest.mark.parametrize(
    "may_claim",
    [
        lambda shared, share, generation: (generation, share) not in shared.done,
        lambda shared, share, generation: shared.claims[share] <= generation + 1,
        lambda shared, share, generation: is_open(shared, share, generation) and share > 0,
    ],
    ids=["while it is not done", "twice", "never the first"],
)
def test_other_rules_of_claiming_fail(may_claim):
    with pytest.raises(AssertionError):
        explore(2, Work(2, 2), may_claim)


def several_steps() -> Graph:
    """Products that need all of the step before, so that every order of events that is wrong gives wrong results."""
    rng = np.random.default_rng(3)
    x = given("x", 24, 24)
    for _ in range(5):
        x = apply(Softmax(1), apply(Relu(), apply(MatMul(), x, drawn(rng, 24, 24))))
    return network(x)


@pytest.mark.parametrize("rounds", [(1, 1), (1, 50), (64, 96)], ids=["sleeping", "helping", "usual"])
def test_results_are_equal_whoever_does_which_share(rng, monkeypatch, rounds):
    monkeypatch.setattr(team, "SPIN_ROUNDS", rounds[0])
    monkeypatch.setattr(team, "YIELDS", rounds[1])
    plan = build(several_steps(), BuildConfig(threads=2, level=0))
    x = rng.standard_normal((24, 24)).astype(np.float32)
    with Engine(plan, threads=1) as alone:
        (expected,) = alone(x).values()
    for threads in (2, 3, 7):
        with Engine(plan, threads=threads) as engine:
            for _ in range(1000):
                (found,) = engine(x).values()
                np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["avx512", "avx2", "baseline", "aarch64"])
def test_the_entry_compiles_for_every_target_without_relocation(name):
    target = target_named(name)
    steps = [
        EntryStep("kernel", (Address("binding", 1), Address("binding", 0)), (), tasks, free, waves)
        for tasks, free, waves in ((4, 0, 1), (8, 6, 1), (8, 0, 5), *[(3, 0, 1)] * FEWEST_ROWS)
    ]
    kernel = "define void @kernel(ptr %out, ptr %in, ptr %workspace, i64 %begin, i64 %end) { ret void }"
    objects = [compile_object(text, target) for text in (entry_module(steps, (), 64, target), kernel)]
    assert {"run", "worker", "stop"} <= set(link(objects).functions)
