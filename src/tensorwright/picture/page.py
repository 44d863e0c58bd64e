"""The page: one self-contained file, without network, for light and dark screens."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from tensorwright.base.text import format_bytes, printable
from tensorwright.picture.arena import arena
from tensorwright.picture.colours import Colours, colours_of
from tensorwright.picture.constants import constants_list
from tensorwright.picture.facts import Facts, facts_of
from tensorwright.picture.markup import Markup, tag
from tensorwright.picture.steps import steps_table
from tensorwright.picture.timeline import timeline
from tensorwright.picture.times import Timing, format_time, meaning
from tensorwright.plan.plan import Plan
from tensorwright.plan.stamp import libraries_text, target_text

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def plan_page(plan: Plan, times: Sequence[Timing], threads: int | None = None) -> str:
    """HTML that shows a plan; `times` has one entry for each step of its report, measured with so many threads.

    Names of layers and tensors are escaped; the page loads nothing.
    """
    facts = facts_of(plan, threads)
    times = [time.drawn for time in times]
    colours = colours_of(facts, times)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{plan.name}: plan"),
        tag("style", Markup(_file("style.css"))),
        tag("noscript", tag("style", Markup(".detail{display:table-row}"))),
    )
    body = tag("body", *_sections(facts, times, colours), tag("script", Markup(_file("script.js"))))
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en').text}\n"


def _file(name: str) -> str:
    return files("tensorwright.picture").joinpath(name).read_text(encoding="utf-8")


def _sections(facts: Facts, times: Sequence[Timing], colours: Colours) -> list[Markup]:
    shares = any(time.share is not None for time in times)
    high = " A bar is as high as the share of the roofline that its step reaches." if shares else ""
    found = [
        _summary(facts, times),
        _section(
            "When",
            f"Times are {meaning(times)}.{high}{_threads_text(facts)}",
            timeline(facts, times, colours),
            _legend(colours),
        ),
    ]
    if any(tensor.place == "arena" for tensor in facts.tensors):
        found.append(_section("Where", _arena_text(facts), arena(facts)))
    found.append(_section("Steps", _steps_text(facts), _layouts(colours), _filter(), _table(facts, times, colours)))
    if facts.constants:
        text = f"{len(facts.constants)} packed constants, {format_bytes(facts.plan.weights.nbytes)}."
        found.append(_section("Constants", text, constants_list(facts)))
    return found


def _threads_text(facts: Facts) -> str:
    if facts.threads == 1:
        return ""
    waits = f"; dashed lines: all threads wait for each other, {facts.waits} times" if facts.waits is not None else ""
    return f" Below, what each thread computes of a step{waits}."


def _arena_text(facts: Facts) -> str:
    size, bound = facts.plan.arena_bytes, facts.lower_bound
    least = "" if bound is None else f"; no arena can be smaller than {format_bytes(bound)}, the dashed line"
    least = "; no arena can be smaller" if bound == size else least
    return (
        f"The arena, {format_bytes(size)}, step by step{least}. Each tensor lies there from the step that writes it to "
        "the last one that reads it. Where two overlap, a step writes its result over its input."
    )


def _section(title: str, text: str, *content: Markup) -> Markup:
    return tag("section", tag("h2", title), tag("p", text, class_="note"), *content)


def _summary(facts: Facts, times: Sequence[Timing]) -> Markup:
    plan, stamp = facts.plan, facts.plan.stamp
    total = sum(time.milliseconds for time in times)
    flops = sum(step.flops for step in facts.steps)
    rate = f", {flops / total / 1e6:.0f} GFLOP/s" if total and flops else ""
    figures = (
        ("steps", str(len(facts.steps))),
        ("all steps take", format_time(total) + rate),
        ("threads", f"{facts.threads}, waiting {facts.waits} times" if facts.waits else str(facts.threads)),
        ("arena", format_bytes(plan.arena_bytes)),
        ("weights", format_bytes(plan.weights.nbytes)),
        ("workspace", f"{format_bytes(plan.workspace_bytes)} per thread"),
        ("code", format_bytes(len(plan.executable.code))),
        ("machine", f"{stamp.model}, {target_text(stamp)}"),
        *((("memory", ", ".join(facts.memory)),) if facts.memory else ()),
        *((binding.mode, f"{binding.name}: {binding.type!r}") for binding in plan.bindings),
        *((("libraries", libraries_text(plan)),) if plan.executable.libraries else ()),
        ("built by", f"tensorwright {stamp.package_version}"),
    )
    cells = [tag("div", tag("dt", name), tag("dd", value)) for name, value in figures]
    return tag("header", tag("h1", printable(plan.name)), tag("dl", *cells))


def _legend(colours: Colours) -> Markup:
    total = sum(colours.totals.values()) or 1.0
    items = [
        tag("span", tag("b", class_=f"dot {colours.tactics[name]}"), f"{name} {100 * time / total:.0f} %")
        for name, time in colours.totals.items()
    ]
    return tag("p", *items, class_="legend")


def _steps_text(facts: Facts) -> str:
    drawn = "On the left the tensors on their way from step to step, coloured by layout. " if facts.tensors else ""
    waits = "A line between two steps: all threads wait there. " if facts.waits else ""
    return f"{drawn}{waits}The last column opens what each step reads, and the candidates that lost."


def _layouts(colours: Colours) -> Markup:
    items = [tag("span", tag("em", name, class_=f"layout {style}")) for name, style in colours.layouts.items()]
    return tag("p", *items, class_="legend")


def _filter() -> Markup:
    box = tag(
        "input", type="search", id="filter", placeholder="filter by layer, operator, tactic …", autocomplete="off"
    )
    return tag("p", box, tag("span", id="found"), class_="filter")


def _table(facts: Facts, times: Sequence[Timing], colours: Colours) -> Markup:
    return tag("div", steps_table(facts, times, colours), class_="scroll")
