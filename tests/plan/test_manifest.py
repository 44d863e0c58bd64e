"""Manifests say everything back, and nothing that they hold makes the reader fail in another way than PlanError."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import native_plans
from tensorwright.base.errors import PlanError
from tensorwright.plan.manifest import read_manifest, write_manifest
from tensorwright.plan.plan import Binding, PlanStep, Slice
from tensorwright.tensor.dim import Symbol, bounds, expression, floor_divide, maximum, minimum, remainder
from tensorwright.tensor.dtype import DTYPES, INT8
from tensorwright.tensor.type import TensorType

SYMBOLS = (Symbol("N", 1, 2, 8), Symbol("height", 0, 100, 640))

DIMS = st.recursive(
    st.integers(0, 50) | st.sampled_from(SYMBOLS).map(expression),
    lambda inner: (
        st.tuples(inner, inner).map(lambda pair: pair[0] + pair[1])
        | st.tuples(inner, inner).map(lambda pair: pair[0] * pair[1])
        | st.tuples(inner, st.integers(1, 9)).map(lambda pair: floor_divide(*pair))
        | st.tuples(inner, st.integers(1, 9)).map(lambda pair: remainder(*pair))
        | st.tuples(inner, inner).map(lambda pair: floor_divide(pair[0], pair[1] + 1))
        | st.tuples(inner, inner).map(lambda pair: minimum(*pair))
        | st.tuples(inner, inner).map(lambda pair: maximum(*pair))
    ),
    max_leaves=6,
)


def with_shape(*dims):
    type = TensorType(INT8, tuple(dims))
    steps = (PlanStep((), (Slice("binding", 0, type.elements),), 0),)
    return replace(native_plans.plan(), symbols=SYMBOLS, bindings=(Binding("x", "input", type),), steps=steps)


@given(DIMS)
def test_every_dimension_comes_back_equal(dim):
    if bounds(dim)[1] > 1 << 40:
        return
    plan = with_shape(dim)
    assert (
        read_manifest(write_manifest(plan), len(plan.executable.code), plan.weights.nbytes).facts.bindings
        == plan.bindings
    )


def test_everything_else_comes_back_equal():
    plan = native_plans.plan(threads=3)
    plan = replace(plan, tables=((0, 3), (4, plan.weights.nbytes - 4)))
    plan = replace(plan, report={"steps": [{"name": "é∗"}], "time": 1.5, "none": None, "deep": {"a": [True, []]}})
    found = read_manifest(write_manifest(plan), len(plan.executable.code), plan.weights.nbytes)
    for field in (
        "name",
        "stamp",
        "bindings",
        "symbols",
        "batch_symbol",
        "threads",
        "tables",
        "report",
        "steps",
        "seal",
    ):
        said = found if hasattr(found, field) else found.facts
        assert getattr(said, field) == getattr(plan, field), field
    assert found.facts.entries == plan.executable.entries
    assert (found.facts.arena_bytes, found.facts.workspace_bytes) == (plan.arena_bytes, plan.workspace_bytes)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_every_dtype_comes_back(dtype):
    plan = native_plans.copy_plan(dtype, (2, 3))
    assert (
        read_manifest(write_manifest(plan), len(plan.executable.code), plan.weights.nbytes).facts.bindings
        == plan.bindings
    )


def test_a_report_that_json_cannot_say_is_refused_when_written():
    with pytest.raises(PlanError, match="object is no JSON type"):
        write_manifest(replace(native_plans.plan(), report={"bad": object()}))


def deep(levels: int):
    dim = 1
    for _ in range(levels):
        dim = ["sum", [1, ["min", dim, ["sum", [1, "N"]]]]]
    return dim


REFUSED = [
    (["name"], 7, "name: expected a text, found 7"),
    (["stamp", "features"], "avx", "stamp.features: expected a list of names"),
    (["stamp", "model"], None, "stamp.model: expected a text"),
    (["symbols"], [["N", 1, 2]], r"symbols\[0\]: expected \[name, min, opt, max\]"),
    (["symbols"], [["N", 3, 2, 4]], "expected min <= opt <= max"),
    (["symbols"], [["N", 1, 2, 4], ["N", 1, 2, 4]], r"symbols\[1\]: expected a name of its own"),
    (["symbols"], [["N", 1, 2, True]], "expected an integer"),
    (["batch_symbol"], "M", "batch_symbol: expected null or the name of a symbol"),
    (["entries", "run"], 1 << 40, "entries.run: expected an integer from 0 to"),
    (["entries", "stop"], -1, "entries.stop: expected an integer from 0 to"),
    (["arena_bytes"], -1, "arena_bytes: expected an integer from 0"),
    (["workspace_bytes"], 1 << 60, "workspace_bytes: expected an integer from 0"),
    (["threads"], 0, "threads: expected an integer from 1"),
    (["threads"], 1.0, "threads: expected an integer from 1"),
    (["tables"], [[0, 0]], r"tables\[0\]: expected an integer from 1 to"),
    (["tables"], [[0, 1 << 40]], r"tables\[0\]: expected an integer from 1 to"),
    (["tables"], [[2, 2], [3, 1]], r"tables\[1\]: expected an integer from 4 to"),
    (["tables"], [[0]], r"tables\[0\]: expected \[offset, size\]"),
    (["tables"], {}, "tables: expected a list"),
    (["sizes", 0], ["sum", [1, "M"]], r"sizes\[0\]: expected a symbol or"),
    (["steps"], 5, "steps: expected a list"),
    (["steps", 0], [0, []], r"steps\[0\]: expected \[workspace, writes, reads\]"),
    (["steps", 0, 0], -1, r"steps\[0\]: expected an integer from 0 to"),
    (["steps", 0, 1], {}, r"steps\[0\]: expected a list"),
    (["steps", 0, 1, 0], ["stack", 0, 0], r"steps\[0\]: expected \[base, place, size\], the base one of arena"),
    (["steps", 0, 1, 0, 0], ["arena"], r"steps\[0\]: expected \[base, place, size\]"),
    (["steps", 0, 1, 0, 2], 9, r"steps\[0\]: expected an integer from 0 to 1"),
    (["seal"], 3, "seal: expected a text"),
    (["report"], [], "report: expected an object"),
    (["bindings", 1, "name"], "x", "bindings: expected every name once"),
    (["bindings", 0, "mode"], "inout", r"bindings\[0\].mode: expected input or output"),
    (["bindings", 0, "dtype"], "float31", r"bindings\[0\].dtype: expected one of"),
    (["bindings", 0, "dtype"], [], r"bindings\[0\].dtype: expected one of"),
    (["bindings", 0, "shape"], [1] * 65, "a list of at most 64 dimensions"),
    (["bindings", 0, "shape"], [-1], "no negative dimension"),
    (["bindings", 0, "shape"], [1 << 20, 1 << 20, 1 << 20], "no negative dimension and at most"),
    (["bindings", 0, "shape"], [["sum", [1, "M"]]], "a symbol or"),
    (["bindings", 0, "shape"], [["sum", [1, ["//", 4, 0]]]], "a positive divisor"),
    (["bindings", 0, "shape"], [["sum", [1, ["%", 4, ["sum", [-1, "N"]]]]]], "a positive divisor"),
    (["bindings", 0, "shape"], [["sum", [1, ["^", 4, 2]]]], "an operator"),
    (["bindings", 0, "shape"], [["sum", [1 << 50, "N"]]], "expected an integer from"),
    (["bindings", 0, "shape"], [["sum", [1 << 45, "N", "N", "N"]]], "values of at most"),
    (["bindings", 0, "shape"], [deep(40)], "deep"),
    (["bindings", 0, "shape"], [["sum", *[[1, "N"]] * 2000]], "terms"),
]


@pytest.mark.parametrize(("path", "value", "message"), REFUSED, ids=lambda item: str(item)[:40])
def test_a_wrong_value_is_refused_with_its_place(path, value, message):
    plan = native_plans.plan()
    document = json.loads(write_manifest(plan))
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(PlanError, match=message):
        read_manifest(json.dumps(document).encode(), len(plan.executable.code), plan.weights.nbytes)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"9" * 10_000,
        b'"\\ud800"',
        b"{}",
    ],
    ids=lambda text: repr(text[:10]),
)
def test_hostile_text_is_refused(text):
    with pytest.raises(PlanError):
        read_manifest(text, 100, 0)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["N", "sum", "min"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def places(document, path=()):
    yield path
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in items:
        yield from places(value, (*path, key))


@given(st.data())
def test_any_value_in_any_place_is_read_or_refused(data):
    plan = with_shape(expression(SYMBOLS[0]) * 3 + floor_divide(expression(SYMBOLS[1]), 2))
    document = json.loads(write_manifest(plan))
    path = data.draw(st.sampled_from(list(places(document))[1:]))
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = data.draw(JSON)
    try:
        found = read_manifest(json.dumps(document).encode(), len(plan.executable.code), plan.weights.nbytes)
    except PlanError:
        return
    assert all(0 <= offset < len(plan.executable.code) for offset in found.facts.entries.values())
    assert all(binding.type.max_bytes >= 0 for binding in found.facts.bindings)
