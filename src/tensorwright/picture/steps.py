"""The table of steps: each beside its place in the network, with the candidates that lost."""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.picture.colours import Colours
from tensorwright.picture.facts import Facts, Step, Trial
from tensorwright.picture.lanes import Lanes, lanes_of
from tensorwright.picture.markup import Content, Markup, number, tag, together
from tensorwright.picture.times import Timing, format_time

SHOWN_TRIALS = 16
SHARE = "% of roofline"
COLUMNS = (
    ("", None),
    ("#", "number"),
    ("layers", "text"),
    ("result", "text"),
    ("tactic", "text"),
    ("config", "text"),
    ("tasks", "number"),
    ("time", "number"),
    (SHARE, "number"),
    ("lost", "number"),
)


def steps_table(facts: Facts, times: Sequence[Timing], colours: Colours) -> Markup:
    """One row for each step, and rows for the inputs and the outputs of the network."""
    lanes, longest = lanes_of(facts, colours), max((time.milliseconds for time in times), default=0.0) or 1.0
    shares = any(time.share is not None for time in times)
    head = [
        tag("th", name, scope="col", data_sort=kind, title=_sorting(kind))
        for name, kind in COLUMNS
        if shares or name != SHARE
    ]
    rows = [_end("input", facts, lanes, -1)]
    for step, time in zip(facts.steps, times, strict=True):
        rows.append(_row(step, time, longest, facts, lanes, colours, shares))
        rows.append(_detail(step, facts))
    rows.append(_end("output", facts, lanes, len(facts.steps)))
    kind = "steps team" if facts.waits else "steps"
    return tag("table", tag("thead", tag("tr", *head)), tag("tbody", *rows), class_=kind, id="steps")


def _sorting(kind: str | None) -> str | None:
    return None if kind is None else "click to sort"


def _end(mode: str, facts: Facts, lanes: Lanes, row: int) -> Markup:
    bindings = [binding for binding in facts.plan.bindings if binding.mode == mode]
    names = "; ".join(f"{binding.name}: {binding.type!r}" for binding in bindings)
    text = tag("td", f"{mode}s: {names}" if len(bindings) > 1 else f"{mode}: {names}", colspan=len(COLUMNS) - 2)
    return tag("tr", _lanes_cell(lanes, row), tag("td"), text, class_="end")


def _lanes_cell(lanes: Lanes, row: int) -> Markup:
    return tag("td", lanes.row(row), class_="lanes", style=f"--wide:{number(lanes.width)}px")


def _row(
    step: Step, time: Timing, longest: float, facts: Facts, lanes: Lanes, colours: Colours, shares: bool
) -> Markup:
    lost = [trial for trial in step.trials if not _is_chosen(trial, step)]
    bar = tag("i", class_=colours.tactics[step.tactic], style=f"--part:{100 * time.milliseconds / longest:.1f}%")
    share = "" if time.share is None else together((f"{100 * time.share:.0f} ", tag("small", time.bound or "")))
    more = tag("button", str(len(lost)), aria_expanded="false", title="show the candidates") if step.trials else ""
    cells = (
        _lanes_cell(lanes, step.number),
        _cell(str(step.number), step.number),
        tag("td", step.name, tag("small", " + ".join(step.operators)), class_="name"),
        tag("td", tag("code", step.output), " ", _layout(step, facts, colours)),
        tag("td", tag("b", class_=f"dot {colours.tactics[step.tactic]}"), step.tactic),
        tag("td", tag("code", _options(step.config)), class_="config", title=step.config),
        _cell(f"{step.tasks:,}", step.tasks),
        _cell(together((format_time(time.milliseconds), bar)), time.milliseconds, "time"),
        *([_cell(share, time.share or 0.0)] if shares else []),
        _cell(more, len(lost)),
    )
    waits = " waits" if step.waits and facts.waits else ""
    title = "all threads wait for each other before this step" if waits else None
    return tag("tr", *cells, id=f"step-{step.number}", class_=f"row{waits}", data_step=step.number, title=title)


def _options(config: str) -> str:
    """What a config says beside the layouts, which are shown apart."""
    first, _, rest = config.partition(" ")
    return rest if "→" in first else config


def _cell(content: Content, value: float, kind: str | None = None) -> Markup:
    return tag("td", content, class_=kind, data_value=repr(value))


def _layout(step: Step, facts: Facts, colours: Colours) -> Content:
    if step.writes is None:
        return ""
    layout = facts.tensors[step.writes].layout
    return tag("em", layout, class_=f"layout {colours.layouts.get(layout, 'l0')}")


def _is_chosen(trial: Trial, step: Step) -> bool:
    return (trial.tactic, trial.config) == (step.tactic, step.config)


def _detail(step: Step, facts: Facts) -> Markup:
    """What a step reads, and its candidates, the fastest first."""
    reads = [facts.tensors[n] for n in step.reads]
    constants = [facts.constants[n] for n in step.constants]
    inputs = [f"{tensor.name}: {tensor.type} {tensor.layout}" for tensor in reads]
    inputs += [f"{constant.name}: {constant.type}, constant" for constant in constants]
    head = tag("tr", *(tag("th", name) for name in ("", "tactic", "config", "time", "error", "rejected because")))
    shown = [trial for n, trial in enumerate(step.trials) if n < SHOWN_TRIALS or _is_chosen(trial, step)]
    rows = [_trial_row(trial, step) for trial in shown]
    left = len(step.trials) - len(shown)
    content = [tag("p", "reads ", tag("code", "; ".join(inputs)))] if inputs else []
    content.append(tag("table", head, *rows))
    content += [tag("p", f"and {left} more")] if left else []
    return tag(
        "tr",
        tag("td", class_="lanes"),
        tag("td", *content, colspan=len(COLUMNS) - 1),
        class_="detail",
        data_detail=step.number,
    )


def _trial_row(trial: Trial, step: Step) -> Markup:
    time = "not timed" if trial.milliseconds is None else format_time(trial.milliseconds)
    error = "" if trial.error is None else f"{trial.error:.1e}"
    chosen = _is_chosen(trial, step)
    cells = ("chosen" if chosen else "", trial.tactic, tag("code", trial.config), time, error, trial.rejected)
    return tag("tr", *(tag("td", cell) for cell in cells), class_="chosen" if chosen else None)
