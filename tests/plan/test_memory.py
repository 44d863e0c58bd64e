"""A manifest that says something else than the code needs is refused, also where all digests are right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import native_plans
import tensorwright as tw
from plan.manifests import manifest_of, places, replaced, with_manifest
from tensorwright.base.errors import PlanError
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.plan.file import parse_plan, serialize_plan
from tensorwright.plan.plan import Plan, PlanStep, Slice
from tensorwright.plan.seal import sealed
from tensorwright.tensor.dim import Symbol, expression, floor_divide, remainder, substitute
from tensorwright.tensor.dtype import FLOAT32, INT8, INT32, INT64
from tensorwright.tensor.type import TensorType

Change = Callable[[Plan], Plan]
N = expression(native_plans.BATCH)


@pytest.fixture(scope="module", params=["native", "compiled"])
def plan(request) -> Plan:
    """A network with a batch, an arena, weights and scratch memory."""
    return native_plans.plan() if request.param == "native" else compiled()


def compiled() -> Plan:
    network = tw.NetworkDefinition()
    x = network.add_input("x", tw.float32, (tw.symbol("N", 1, 4, 64), 3, 8, 8))
    kernel = np.random.default_rng().standard_normal((5, 3, 3, 3)).astype(np.float32)
    middle = network.add_convolution(x, 5, (3, 3), kernel).get_output(0)
    pooled = network.add_pooling(middle, tw.PoolingType.MAX, (2, 2)).get_output(0)
    pooled.name = "y"
    network.mark_output(pooled)
    plan = build(network.to_graph(), BuildConfig(threads=2, level=0, timing_cache=""))
    assert plan.arena_bytes
    return plan


def changed_binding(plan: Plan, number: int, type: TensorType) -> Plan:
    bindings = list(plan.bindings)
    bindings[number] = replace(bindings[number], type=type)
    return replace(plan, bindings=tuple(bindings))


def with_larger_batch(plan: Plan) -> Plan:
    """As if the whole manifest had been written for more: only the arena stays."""
    old, new = plan.symbols[0], replace(plan.symbols[0], max=plan.symbols[0].max + 64)
    return parse_symbols(plan, old, new)


def parse_symbols(plan: Plan, old: Symbol, new: Symbol) -> Plan:
    def moved(dim):
        return substitute(dim, {old: expression(new)})

    def parts(slices):
        return tuple(part._replace(bytes=moved(part.bytes)) for part in slices)

    return replace(
        plan,
        symbols=(new,),
        bindings=tuple(replace(b, type=replace(b.type, shape=tuple(map(moved, b.type.shape)))) for b in plan.bindings),
        steps=tuple(PlanStep(parts(s.writes), parts(s.reads), s.workspace) for s in plan.steps),
    )


def typed(number: int, change: Callable[[TensorType], TensorType]) -> Change:
    return lambda plan: changed_binding(plan, number, change(plan.bindings[number].type))


def entered(plan: Plan, **entries: int) -> Plan:
    return replace(plan, executable=replace(plan.executable, entries={**plan.executable.entries, **entries}))


def coded(plan: Plan, code: bytes) -> Plan:
    return replace(plan, executable=replace(plan.executable, code=code))


SEEN: dict[str, tuple[Change, str]] = {
    "arena too small": (lambda p: replace(p, arena_bytes=p.arena_bytes - 64), "bytes of the arena"),
    "no arena": (lambda p: replace(p, arena_bytes=0), "bytes of the arena"),
    "weights emptied": (lambda p: replace(p, weights=memoryview(b"")), "bytes of the weights"),
    "weights cut": (lambda p: replace(p, weights=p.weights[: p.weights.nbytes // 2]), "bytes of the weights"),
    "larger batch": (with_larger_batch, "bytes of the arena"),
    "output smaller": (typed(1, lambda t: replace(t, shape=t.shape[:-1])), "as the code uses them"),
    "output larger": (typed(1, lambda t: replace(t, shape=(*t.shape, 2))), "as the code uses them"),
    "input larger": (typed(0, lambda t: replace(t, shape=(*t.shape, 2))), "as the code uses them"),
    "output narrower": (typed(1, lambda t: replace(t, dtype=INT8)), "as the code uses them"),
    "input wider": (typed(0, lambda t: replace(t, dtype=INT64)), "as the code uses them"),
    "input and output swapped": (lambda p: replace(p, bindings=p.bindings[::-1]), "as the code uses them|only read"),
    "two outputs": (lambda p: replace(p, bindings=(*p.bindings, replace(p.bindings[1], name="z"))), "none does"),
    "no bindings": (lambda p: replace(p, bindings=()), "a binding from 0 to"),
}  # fmt: skip
UNSEEN: dict[str, Change] = {
    "entry moved": lambda p: entered(p, run=p.executable.entries["run"] + 1),
    "entries swapped": lambda p: entered(p, run=p.executable.entries["stop"], stop=p.executable.entries["run"]),
    "code cut": lambda p: coded(p, p.executable.code[: max(p.executable.entries.values()) + 1]),
    "code changed": lambda p: coded(p, bytes([p.executable.code[0] ^ 1]) + p.executable.code[1:]),
    "weights changed": lambda p: replace(p, weights=memoryview(bytes(p.weights.nbytes))),
    "another type of the same size": lambda p: changed_binding(p, 1, replace(p.bindings[1].type, dtype=INT32)),
    "axes swapped": lambda p: changed_binding(p, 1, replace(p.bindings[1].type, shape=p.bindings[1].type.shape[::-1])),
    "features left out": lambda p: replace(p, stamp=replace(p.stamp, features=(), target="avx2")),
    "steps forgotten": lambda p: replace(p, steps=p.steps[-1:]),
}


@pytest.mark.parametrize("name", SEEN)
def test_memory_that_the_steps_need_must_be_there_even_with_a_right_seal(plan, name):
    change, message = SEEN[name]
    with pytest.raises(PlanError, match=message):
        parse_plan(serialize_plan(sealed(change(plan))))


def test_scratch_memory_that_the_steps_need_must_be_there():
    with pytest.raises(PlanError, match=r"steps\[0\].workspace: expected at most the plan's 0 bytes, found 4"):
        parse_plan(serialize_plan(sealed(replace(native_plans.plan(), workspace_bytes=0))))


@pytest.mark.parametrize("name", [*SEEN, *UNSEEN])
def test_parts_that_were_not_made_for_each_other_are_refused(plan, name):
    change = UNSEEN[name] if name in UNSEEN else SEEN[name][0]
    assert parse_plan(serialize_plan(plan)) == plan
    with pytest.raises(PlanError):
        parse_plan(serialize_plan(change(plan)))


@pytest.mark.parametrize("name", ["name", "threads", "report", "batch_symbol"])
def test_what_the_code_does_not_know_may_change(plan, name):
    value = {"name": "other", "threads": 5, "report": {}, "batch_symbol": None}[name]
    changed = replace(plan, **{name: value})
    assert parse_plan(serialize_plan(changed)) == changed


def stepping(*slices: Slice, writes: bool, size=4 * N) -> Plan:
    """A plan that touches other memory besides its own."""
    plan = native_plans.plan()
    step = PlanStep(slices, (), 0) if writes else PlanStep((), slices, 0)
    return sealed(replace(plan, steps=(*plan.steps, step)))


@pytest.mark.parametrize(
    ("part", "writes", "message"),
    [
        (Slice("arena", 4, 16 * N), True, "a part of the 1024 bytes of the arena, found 'bytes 4 to 1028'"),
        (Slice("arena", 1025, 0), False, "of the arena"),
        (Slice("weights", 0, 17), False, "a part of the 16 bytes of the weights"),
        (Slice("weights", 0, 16), True, "that weights are only read"),
        (Slice("weights", 0, N), False, "of the weights"),
        (Slice("binding", 2, 4), False, "a binding from 0 to 1, found 2"),
        (Slice("binding", 0, 16 * N), True, "that inputs are only read, found \"input 'x'\""),
        (Slice("binding", 1, 16 * N - 1), True, "as the code uses them"),
        (Slice("binding", 1, 16 * floor_divide(N, 2) * 2), True, "as the code uses them"),
    ],
)
def test_slices_lie_where_something_is(part, writes, message):
    with pytest.raises(PlanError, match=message):
        parse_plan(serialize_plan(stepping(part, writes=writes)))


def test_sizes_may_be_written_in_several_ways():
    same = 16 * (floor_divide(N, 2) * 2 + remainder(N, 2))
    assert same != 16 * N
    parse_plan(serialize_plan(stepping(Slice("binding", 1, same), writes=True)))
    parse_plan(serialize_plan(stepping(Slice("arena", 1024, 0), writes=False)))
    assert native_plans.plan().bindings[1].type == TensorType(FLOAT32, (N, 4))


def test_of_keys_that_are_said_twice_the_last_counts_for_the_seal_too():
    content = serialize_plan(native_plans.plan())
    said = b'"arena_bytes":1024'
    assert content.count(said) == 1
    twice = with_manifest(content, lambda text: text.replace(said, said + b',"arena_bytes":2048'))
    with pytest.raises(PlanError, match="were not made for each other"):
        parse_plan(twice)
    parse_plan(with_manifest(content, lambda text: text.replace(said, said + b"," + said)))


def test_manifests_with_any_one_value_changed_run_right_or_are_refused(rng):
    """Hostile manifests with valid digests; what may change without harm is not sealed."""
    content = serialize_plan(native_plans.plan())
    x = rng.standard_normal((3, native_plans.WIDTH), np.float32)
    for path in places(manifest_of(content)):
        for value in (0, 1, -1, 1 << 40, None, "x", [], {}):
            hostile = with_manifest(content, lambda text, path=path, value=value: replaced(text, path, value))
            try:
                engine = tw.load(hostile, threads=1)
            except PlanError:
                continue
            np.testing.assert_array_equal(engine({"x": x})["y"], native_plans.expected(x))
            engine.close()
