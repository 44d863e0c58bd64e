"""The steps along time, and what each thread does meanwhile."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise

from tensorwright.picture.colours import Colours
from tensorwright.picture.facts import Facts, Step
from tensorwright.picture.markup import Markup, drawing, fitting, number, tag, together
from tensorwright.picture.times import Timing, format_time

WIDTH, LEFT, RIGHT = 1120.0, 74.0, 8.0
BARS, GAP, AXIS = 70.0, 10.0, 18.0
MOST_THREADS = 64
"""Of more threads the first are shown."""
LANES = 120.0
"""Height of all threads together, at most; LANE that of one."""
LANE = 16.0


def timeline(facts: Facts, times: Sequence[Timing], colours: Colours) -> Markup:
    """Time to the right. Above, the steps; their height is the share of the roofline, if that is known. Below, the
    threads: how much of each step is theirs.
    """
    total = sum(time.milliseconds for time in times) or 1.0
    scale = (WIDTH - LEFT - RIGHT) / total
    starts = [LEFT + scale * start for start in accumulate((time.milliseconds for time in times), initial=0.0)]
    threads = min(facts.threads, MOST_THREADS)
    lane = min(LANE, LANES / threads)
    height = BARS + GAP + lane * threads + AXIS
    parts = [_names(threads, lane)]
    for step, time, (start, end) in zip(facts.steps, times, pairwise(starts), strict=True):
        parts.append(_step(step, time, start, end - start, colours))
        parts.append(_shares(step, start, end - start, lane, facts.threads, colours))
    if facts.waits:
        parts.append(_barriers(facts.steps, starts, lane * threads))
    parts.append(_axis(total, scale, height))
    return drawing("steps along time", WIDTH, height, *parts)


def _names(threads: int, lane: float) -> Markup:
    rows = [tag("text", "steps", x=0, y=BARS / 2 + 4)]
    shown = range(threads) if lane >= 10 else (0, threads - 1)
    middle = BARS + GAP + lane / 2 + 4
    return together([*rows, *(tag("text", f"thread {n}", x=0, y=middle + lane * n) for n in shown)])


def _step(step: Step, time: Timing, x: float, width: float, colours: Colours) -> Markup:
    high = BARS if time.share is None else BARS * min(time.share, 1.0)
    colour = colours.tactics[step.tactic]
    parts = [tag("title", _tip(step, time))]
    parts.append(tag("rect", x=x, y=0.0, width=max(width, 0.3), height=BARS, class_=f"{colour} pale"))
    parts.append(tag("rect", x=x, y=BARS - high, width=max(width - 0.6, 0.3), height=high, class_=colour))
    name = fitting(step.name, width - 8)
    if name:
        parts.append(tag("text", name, x=x + 4, y=BARS - 6, class_="inside"))
    return tag("g", *parts, data_step=step.number, class_="step")


def _tip(step: Step, time: Timing) -> str:
    lines = [
        f"step {step.number}: {step.name}",
        " + ".join(step.operators),
        f"{step.output}",
        f"{step.tactic}, {step.tasks} tasks",
        f"{format_time(time.milliseconds)} ({time.source})",
    ]
    if time.share is not None:
        lines.append(f"{100 * time.share:.0f} % of the roofline, bound by {time.bound}")
    return "\n".join(lines)


def _shares(step: Step, x: float, width: float, lane: float, threads: int, colours: Colours) -> Markup:
    """What each thread computes of a step: full width for the largest share."""
    tasks = [step.tasks * (t + 1) // threads - step.tasks * t // threads for t in range(threads)]
    most = max(tasks, default=0) or 1
    rows = []
    for thread, count in enumerate(tasks[:MOST_THREADS]):
        if count > 0:
            y = BARS + GAP + lane * thread + 1
            part = max(width * count / most - 0.6, 0.3)
            title = tag("title", f"thread {thread}: {count} of {step.tasks} tasks of step {step.number}, {step.name}")
            rows.append(tag("rect", title, x=x, y=y, width=part, height=lane - 2, class_=colours.tactics[step.tactic]))
    return tag("g", *rows, data_step=step.number, class_="share")


def _barriers(steps: Sequence[Step], starts: Sequence[float], height: float) -> Markup:
    top = BARS + GAP
    lines = [f"M{number(starts[step.number])} {number(top - 5)}v{number(height + 5)}" for step in steps if step.waits]
    return tag("path", tag("title", "all threads wait for each other here"), d="".join(lines), class_="barrier")


def _axis(total: float, scale: float, height: float) -> Markup:
    """Ticks at round times."""
    parts = []
    step = round_step(total / 8)
    count = int(total / step)
    for tick in range(count + 1):
        x = LEFT + tick * step * scale
        parts.append(tag("path", d=f"M{number(x)} {number(height - AXIS)}v4", class_="tick"))
        if x < WIDTH - 30:
            parts.append(tag("text", format_time(tick * step) if tick else "0", x=x, y=height - 3, class_="tick"))
    return together(parts)


def round_step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is not below a positive number."""
    size = 10.0 ** math.floor(math.log10(least))
    return next(size * factor for factor in (1, 2, 5, 10) if factor == 10 or size * factor >= least)
