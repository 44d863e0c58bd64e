"""Which configs of a tactic are tried where all of them take too long."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from regions.example import Example
from tensorwright.kernels.tactic import AnyConfig, AnyTactic

Choose = Callable[[str, Sequence[AnyConfig]], Sequence[AnyConfig]]
"""Of the configs of a tactic for an example on a target, which the text stands for, those to try."""


def key_of(example: Example, tactic: AnyTactic[Any], target: str) -> str:
    return f"{example.name} {tactic.name} {target}"


def every(key: str, configs: Sequence[AnyConfig]) -> Sequence[AnyConfig]:
    return configs


@dataclass(frozen=True)
class Part:
    """One of several parts of everything, counted from 1; what belongs to it follows from a text alone."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Part:
        """From `3/64`."""
        number, count = map(int, text.split("/"))
        assert 1 <= number <= count, f"{text}: expected N/M with 1 <= N <= M"
        return cls(number, count)

    def has(self, text: str) -> bool:
        return crc32(text.encode()) % self.count == self.number - 1


@dataclass(frozen=True)
class Rotation:
    """So many configs, evenly spaced; which is the first depends on what is tried, and on the seed."""

    most: int
    seed: int

    def __call__(self, key: str, configs: Sequence[AnyConfig]) -> Sequence[AnyConfig]:
        step = max(1, -(-len(configs) // self.most))
        return configs[crc32(f"{self.seed} {key}".encode()) % step :: step]


@dataclass(frozen=True)
class Seldom:
    """What somebody else chooses, for one of so many pairs of an example and a tactic only.

    names: of these tactics and examples, for which it is one of `rarely`.
    """

    choose: Choose
    one_of: int
    names: frozenset[str]
    rarely: int

    def __call__(self, key: str, configs: Sequence[AnyConfig]) -> Sequence[AnyConfig]:
        is_rare = any(f" {name} " in f" {key} " for name in self.names)
        return [] if crc32(key.encode()) % (self.rarely if is_rare else self.one_of) else self.choose(key, configs)


def kinds_of(tactic: AnyTactic[Any], config: AnyConfig) -> set[tuple[object, ...]]:
    """What a config brings that others may not: layouts, and the value of each option."""
    layouts = tuple(layout.is_plain for layout in (*config.inputs, config.output))
    return {(tactic.name, "layouts", layouts), *((tactic.name, *option) for option in config.options.items())}


def lacking(choose: Choose, offered: Sequence[tuple[str, AnyTactic[Any], Sequence[AnyConfig]]]) -> dict[str, list[int]]:
    """By key, the numbers of configs with all kinds that a choice lacks of what is offered, the first ones of each."""
    seen = set[tuple[object, ...]]()
    for key, tactic, configs in offered:
        seen.update(*(kinds_of(tactic, config) for config in choose(key, configs)))
    more: dict[str, list[int]] = {}
    for key, tactic, configs in offered:
        for number, config in enumerate(configs):
            kinds = kinds_of(tactic, config)
            if not kinds <= seen:
                more.setdefault(key, []).append(number)
                seen |= kinds
    return more
