"""HTML and SVG as nested calls; all text is escaped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from tensorwright.base.text import printable_lines

LETTER, READABLE = 6.4, 6
"""The width of a letter in drawings, and how many letters of a name are worth showing."""

EMPTY = frozenset(("meta", "input", "br"))


@dataclass(frozen=True)
class Markup:
    """Text that is HTML already."""

    text: str


Content = Markup | str
Attribute = str | int | float | bool | None


def tag(name: str, /, *content: Content, **attributes: Attribute) -> Markup:
    """An element. ``class_`` is class and ``data_step`` is data-step; None and False leave an attribute out."""
    shown = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in EMPTY:
        return Markup(f"<{name}{shown}>")
    return Markup(f"<{name}{shown}>{together(content).text}</{name}>")


def drawing(title: str, width: float, height: float, *content: Content) -> Markup:
    """An SVG picture of a size in units of its own, as wide as the page."""
    return tag("svg", *content, viewBox=f"0 0 {number(width)} {number(height)}", role="img", aria_label=title)


def together(content: Iterable[Content]) -> Markup:
    """One after another."""
    return Markup("".join(part.text if isinstance(part, Markup) else _escaped(part) for part in content))


def fitting(text: str, width: float) -> str:
    """The text, shortened to a width in a drawing; nothing where little would be left of it."""
    letters = int(width / LETTER)
    if len(text) <= letters:
        return text
    return f"{text[: letters - 1]}…" if letters >= READABLE else ""


def number(value: float) -> str:
    """A coordinate, short."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _attribute(key: str, value: Attribute) -> str:
    name = key.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    if value is True:
        return f" {name}"
    return f' {name}="{_escaped(number(value) if isinstance(value, float) else str(value))}"'


def _escaped(text: str) -> str:
    return escape(printable_lines(text))
