"""Kernels that passed a test before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Remembered:
    """Names of kernels, which stand for their text, that passed what took long, from one run of pytest to another.

    cache: pytest's, if it keeps one. place: where in it. tools: what the result hangs on beside the text; with others,
    nothing is remembered.
    """

    cache: pytest.Cache | None
    place: str
    tools: str

    def names(self) -> frozenset[str]:
        kept = {} if self.cache is None else self.cache.get(self.place, {})
        return frozenset(kept["names"]) if kept.get("tools") == self.tools else frozenset()

    def add(self, names: Iterable[str]) -> None:
        if self.cache is not None:
            self.cache.set(self.place, {"tools": self.tools, "names": sorted({*self.names(), *names})})
