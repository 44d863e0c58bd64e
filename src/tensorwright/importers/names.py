"""What was probably meant by a name that does not exist."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice

SEARCHED = 20_000
LONGEST = 256
SHOWN = 5


def nearest(name: str, known: Iterable[str], what: str = "nodes") -> str:
    """A clause that lists the known names nearest to a name: those that contain it, then those spelled alike."""
    names = [one for one in islice(known, SEARCHED) if len(one) <= LONGEST]
    wanted = name.split(":", maxsplit=1)[0][:LONGEST]
    last = wanted.rsplit("/", 1)[-1].lower()
    containing = [one for one in names if wanted.lower() in one.lower()]
    same_end = [one for one in names if last and one.lower().rsplit("/", 1)[-1] == last]
    similar = get_close_matches(wanted, names, SHOWN, 0.5)
    found = list(dict.fromkeys([*sorted(containing, key=len)[:SHOWN], *same_end[:SHOWN], *similar]))[:SHOWN]
    if not found:
        return f"none of the {len(names)} {what} has a similar name"
    return f"the {what} with the nearest names are {', '.join(map(repr, found))}"
