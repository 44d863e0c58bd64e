"""Fields of calls in JSON that nobody vouches for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tensorwright.plan.fields import integer, refuse, sequence, text
from tensorwright.plan.limits import MAX_COUNT, MAX_RANK
from tensorwright.plan.plan import Json

MOST = (1 << 31) - 1
"""The largest extent of anything."""


@dataclass(frozen=True)
class Fields:
    """An object of JSON. where: its place, for messages.

    Raises:
        Refusal: a field is missing, or means nothing.
    """

    found: Mapping[str, Json]
    where: str

    def number(self, name: str, low: int, high: int = MOST) -> int:
        return integer(self.found.get(name), f"{self.where}.{name}", low, high)

    def numbers(self, name: str, low: int, high: int = MOST) -> tuple[int, ...]:
        """A list of few numbers."""
        items = sequence(self.found.get(name), f"{self.where}.{name}")
        if len(items) > MAX_RANK:
            refuse(f"{self.where}.{name}", f"at most {MAX_RANK} numbers", items)
        return tuple(integer(item, f"{self.where}.{name}", low, high) for item in items)

    def operand(self, name: str) -> int:
        """The number of an operand of a step that is no output."""
        return self.number(name, 1, MAX_COUNT)

    def optional_operand(self, name: str) -> int | None:
        return None if self.found.get(name) is None else self.operand(name)

    def truth(self, name: str) -> bool:
        value = self.found.get(name)
        return value if isinstance(value, bool) else refuse(f"{self.where}.{name}", "true or false", value)

    def text(self, name: str) -> str:
        return text(self.found, name, self.where)

    def one_of(self, name: str, known: Sequence[str]) -> str:
        value = self.text(name)
        return value if value in known else refuse(f"{self.where}.{name}", f"one of {', '.join(known)}", value)

    def require_different(self, *operands: int | None) -> None:
        """Refuse one operand in two places."""
        given = [one for one in operands if one is not None]
        if len(set(given)) < len(given):
            refuse(self.where, "an operand of its own for every term", given)
