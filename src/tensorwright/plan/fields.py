"""Values out of JSON that nobody vouches for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from tensorwright.plan.limits import MAX_COUNT
from tensorwright.plan.plan import Json


class Refusal(Exception):
    """A value means nothing in a plan; the message says where, what was expected and what was found."""


def mapping(value: Json, where: str) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else refuse(where, "an object", value)


def items(fields: Mapping[str, Json], name: str) -> list[Json]:
    """The list in a field."""
    return sequence(fields.get(name), name)


def sequence(value: Json, where: str) -> list[Json]:
    if not isinstance(value, list) or len(value) > MAX_COUNT:
        refuse(where, f"a list of at most {MAX_COUNT} items", value)
    return value


def text(fields: Mapping[str, Json], name: str, where: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else refuse(f"{where}.{name}", "a text", value)


def integer(value: Json, where: str, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        refuse(where, f"an integer from {low} to {high}", value)
    return value


def refuse(where: str, expected: str, found: object) -> NoReturn:
    shown = repr(found)
    shown = shown if len(shown) <= 100 else shown[:100] + "…"
    raise Refusal(f"{where}: expected {expected}, found {shown}")
