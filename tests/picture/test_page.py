"""The page of a plan: well formed, complete, self-contained, and safe whatever names a model has."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from graphs import binary, drawn, given, network, unary
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.graph.graph import Graph, apply
from tensorwright.ops.activation import Relu
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import Softmax
from tensorwright.ops.shape import Concatenation
from tensorwright.picture.colours import colours_of
from tensorwright.picture.facts import facts_of
from tensorwright.picture.lanes import lanes_of
from tensorwright.picture.markup import EMPTY, fitting, number, tag
from tensorwright.picture.page import plan_page
from tensorwright.picture.timeline import round_step
from tensorwright.picture.times import Timing, format_time, meaning
from tensorwright.plan.plan import Plan

HOSTILE = ("<script>alert(1)</script>", "\" onload='x' \u202e", "\x1b[31m&amp;</svg></style>\x00")


class Page(HTMLParser):
    """All elements, attributes and texts of a page; fails if elements do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert not self.stack

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names)
        if tag not in EMPTY:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.stack or self.stack[-1] not in ("script", "style"):
            self.texts.append(data)


def branching(rng: np.random.Generator) -> Graph:
    """A network with hostile names, a concatenation without a step of its own, and two outputs."""
    x = given(HOSTILE[0], 1, 16, 6, 6)
    ones = (1, 1)
    parts = [
        apply(Convolution(ones, (0, 0), (0, 0), ones), x, drawn(rng, 16, 16, 1, 1), name=name) for name in HOSTILE[1:]
    ]
    whole = apply(Concatenation(1), *parts, name="whole")
    last = apply(Convolution(ones, (0, 0), (0, 0), ones), whole, drawn(rng, 8, 32, 1, 1), name="last")
    return network(apply(Softmax(1), apply(Relu(), last)), unary("exp", parts[0]))


def chain(rng: np.random.Generator, length: int) -> Graph:
    value = given("x", 4, 8)
    for step in range(length):
        value = apply(MatMul(), value, drawn(rng, 8, 8), name=f"layer {step}")
    return network(binary("add", value, 1.0))


def planned(graph: Graph, threads: int = 2) -> Plan:
    return build(graph, BuildConfig(level=0, threads=threads, timing_cache=""))


def timings(plan: Plan, share: float | None = None) -> list[Timing]:
    return [Timing(0.5 + n, "profiled", "L2" if share else None, share) for n in range(len(facts_of(plan).steps))]


@pytest.mark.parametrize("threads", [1, 2, 40])
def test_every_step_tensor_and_constant_is_on_the_page(threads: int, rng: np.random.Generator) -> None:
    plan = planned(branching(rng), threads)
    facts = facts_of(plan)
    page = Page(plan_page(plan, timings(plan, 0.25)))
    ids = [value for name, value in page.attributes if name == "id"]
    assert [f"step-{n}" for n in range(len(facts.steps))] == [found for found in ids if found.startswith("step-")]
    text = "\n".join(page.texts)
    for step in facts.steps:
        assert step.tactic in text
        assert " + ".join(step.operators) in text
    assert all(constant.type in text for constant in facts.constants)
    assert Counter(page.attributes)["class", "step"] == Counter(page.attributes)["class", "share"] == len(facts.steps)
    drawn_tensors = [value for name, value in page.attributes if name == "class" and value.startswith("tensor")]
    assert len(drawn_tensors) == sum(tensor.place == "arena" for tensor in facts.tensors)
    assert any("whole" in value for value in drawn_tensors)
    assert text.count("25 ") >= len(facts.steps)


def test_names_are_text_whatever_they_say(rng: np.random.Generator) -> None:
    plan = replace(planned(branching(rng)), name=HOSTILE[0])
    text = plan_page(plan, timings(plan))
    page = Page(text)
    assert page.tags["script"] == 1
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert HOSTILE[0] in "".join(page.texts)
    assert r"\x1b[31m&amp;</svg></style>\x00" in "".join(page.texts)
    assert not set("\x1b\x00\u202e") & set(text)


def test_the_page_refers_to_nothing_outside(rng: np.random.Generator) -> None:
    plan = planned(branching(rng))
    text = plan_page(plan, timings(plan))
    page = Page(text)
    assert not {name for name, _ in page.attributes} & {"src", "href", "xlink:href", "srcset", "action", "background"}
    assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttpRequest|WebSocket", text)
    assert [value for name, value in page.attributes if name == "content" and value.startswith("default-src 'none';")]


def test_waits_are_shown_for_the_number_of_threads_that_they_are_known_for(rng: np.random.Generator) -> None:
    plan = planned(branching(rng), threads=2)
    own, alone, more = (Page(plan_page(plan, timings(plan), threads)) for threads in (None, 1, 4))
    waiting = [sum("waits" in value.split() for _, value in page.attributes) for page in (own, alone, more)]
    kept = plan.report["barriers"]["kept"]
    assert kept > 0
    assert waiting == [kept, 0, 0]
    assert ["thread 3" in page.texts for page in (own, alone, more)] == [False, False, True]
    texts = ["".join(page.texts) for page in (own, alone, more)]
    assert ["wait for each other" in text for text in texts] == [True, False, False]


def test_a_plan_is_drawn_the_same_again(rng: np.random.Generator) -> None:
    plan = planned(branching(rng))
    assert plan_page(plan, timings(plan)) == plan_page(plan, timings(plan))


def test_reports_that_say_less_are_drawn_as_far_as_they_go(rng: np.random.Generator) -> None:
    plan = planned(branching(rng))
    steps = [{"name": step["name"], "tactic": step["tactic"]} for step in plan.report["steps"]]
    older = replace(plan, report={"steps": steps})
    page = Page(plan_page(older, timings(older)))
    assert "Where" not in page.texts
    assert ("id", f"step-{len(steps) - 1}") in page.attributes
    wrong = {"steps": [{"reads": [99, "x"], "writes": -1, "trials": [None]}], "tensors": [7], "arena": []}
    Page(plan_page(replace(plan, report=wrong), [Timing(0.0, "unknown")]))
    Page(plan_page(replace(plan, report={}), []))


@pytest.mark.parametrize("odd", [-1.0, 0.0, float("nan"), float("inf"), 1e300, 1e-300])
def test_odd_times_are_drawn(odd: float, rng: np.random.Generator) -> None:
    plan = planned(chain(rng, 2))
    steps = len(facts_of(plan).steps)
    for times in ([odd] * steps, [odd] + [1.0] * (steps - 1)):
        text = plan_page(plan, [Timing(time, "profiled", "L1", odd) for time in times])
        Page(text)
        assert not re.search(r' (x|y|width|height|d)="[^"]*(-|nan|inf)', text)
        assert not re.search(r"\bnan\b|\binf\b", text)


def test_lanes_join_every_reader_to_its_writer(rng: np.random.Generator) -> None:
    facts = facts_of(planned(branching(rng)))
    lanes = lanes_of(facts, colours_of(facts, timings(facts.plan)))
    rows = len(facts.steps)
    found = {(edge.start, end) for edge in lanes.edges for end in edge.ends}
    writers = {step.writes: step.number for step in facts.steps}
    assert all((writers[n], step.number) in found for step in facts.steps for n in step.reads if n in writers)
    assert -1 in {start for start, _ in found}
    assert rows in {end for _, end in found}
    for row in range(-1, rows + 1):
        passing = [n for edge, n in zip(lanes.edges, lanes.lanes, strict=True) if edge.start < row < edge.last]
        assert len(set(passing)) == len(passing)


def test_a_chain_is_one_straight_lane(rng: np.random.Generator) -> None:
    facts = facts_of(planned(chain(rng, 5)))
    lanes = lanes_of(facts, colours_of(facts, timings(facts.plan)))
    assert len(lanes.edges) == len(facts.steps) + 1
    assert set(lanes.lanes) == {0}


def test_three_hundred_steps_fit(rng: np.random.Generator) -> None:
    plan = planned(chain(rng, 3), threads=3)
    _, step, *_ = plan.report["steps"]
    _, tensor, *_ = plan.report["tensors"]
    steps = [{**step, "reads": [max(0, n - 1)], "writes": n} for n in range(300)]
    tensors = [{**tensor, "first": n, "last": n + 1} for n in range(300)]
    plan = replace(plan, report={**plan.report, "steps": steps, "tensors": tensors})
    text = plan_page(plan, timings(plan))
    assert text.count('id="step-') == 300
    assert len(text) < 4 << 20
    Page(text)


def test_markup_escapes_attributes_and_text() -> None:
    found = tag("p", "<&>", tag("b", "x\ny"), class_="a\"'<", data_step=3, hidden=True, title=None, width=1.50)
    assert found.text == '<p class="a&quot;&#x27;&lt;" data-step="3" hidden width="1.5">&lt;&amp;&gt;<b>x\ny</b></p>'
    assert tag("br").text == "<br>"
    assert [number(value) for value in (0.0, 1.0, 1.256, -0.5)] == ["0", "1", "1.26", "-0.5"]
    assert [fitting("convolution", width) for width in (100, 50, 20)] == ["convolution", "convol…"[:6] + "…", ""]


def test_times_have_units_ticks_and_an_origin() -> None:
    assert [format_time(t) for t in (0.0005, 0.0123, 1.5, 250.0)] == ["0.5 µs", "12.3 µs", "1.5 ms", "250 ms"]
    for total in (1e-12, 1e-4, 0.02, 0.7, 1.0, 9.9, 10.0, 4321.0):
        step = round_step(total / 8)
        assert total / 8 <= step <= total / 8 * 2.5 + 1e-12
    mixed = [Timing(1.0, "measured")] * 2 + [Timing(1.0, "estimated")]
    assert meaning(mixed).endswith("; of one step estimated by the cost model")
    assert meaning([]) == "not known"
