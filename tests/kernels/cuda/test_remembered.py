"""Kernels that passed a test are remembered for as long as the tools are the same."""

from __future__ import annotations

from typing import Any

from regions.remembered import Remembered


class Kept(dict[str, Any]):
    """What pytest keeps from run to run."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value


def test_names_are_remembered_where_they_were_added_for_the_same_tools() -> None:
    kept = Kept()
    assert not Remembered(kept, "one", "old").names()
    Remembered(kept, "one", "old").add(["a", "b"])
    Remembered(kept, "one", "old").add(["b", "c"])
    assert Remembered(kept, "one", "old").names() == {"a", "b", "c"}
    assert not Remembered(kept, "other", "old").names()
    assert not Remembered(kept, "one", "new").names()


def test_new_tools_forget_what_older_ones_passed() -> None:
    kept = Kept()
    Remembered(kept, "one", "old").add(["a"])
    Remembered(kept, "one", "new").add(["b"])
    assert Remembered(kept, "one", "new").names() == {"b"}
    assert not Remembered(kept, "one", "old").names()


def test_without_a_place_nothing_is_remembered() -> None:
    passed = Remembered(None, "one", "old")
    passed.add(["a"])
    assert not passed.names()
