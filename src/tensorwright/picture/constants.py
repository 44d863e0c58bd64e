"""The packed constants, the largest first."""

from __future__ import annotations

from tensorwright.base.text import format_bytes
from tensorwright.picture.facts import Constant, Facts
from tensorwright.picture.markup import Markup, tag, together

SHOWN = 24


def constants_list(facts: Facts) -> Markup:
    """A bar for each of the largest constants, by size; the others together."""
    readers: dict[int, list[int]] = {}
    for step in facts.steps:
        for constant in step.constants:
            readers.setdefault(constant, []).append(step.number)
    ranked = sorted(range(len(facts.constants)), key=lambda n: (-facts.constants[n].size, n))
    largest = max((constant.size for constant in facts.constants), default=0) or 1
    rows = [_row(facts.constants[n], readers.get(n, []), largest) for n in ranked[:SHOWN]]
    rest = [facts.constants[n].size for n in ranked[SHOWN:]]
    note = f"{len(rest)} smaller ones: {format_bytes(sum(rest))} together" if rest else ""
    return together((tag("div", *rows, class_="constants"), *([tag("p", note, class_="note")] if note else [])))


def _row(constant: Constant, readers: list[int], largest: int) -> Markup:
    steps = ", ".join(map(str, readers[:4])) + (" …" if len(readers) > 4 else "")
    return tag(
        "div",
        tag("span", constant.name, class_="name"),
        tag("code", constant.type),
        tag("span", tag("i", style=f"--part:{100 * constant.size / largest:.1f}%"), class_="bar"),
        tag("span", format_bytes(constant.size), class_="size"),
        tag("span", f"step {steps}" if readers else "", class_="reader"),
        data_step=readers[0] if readers else None,
    )
