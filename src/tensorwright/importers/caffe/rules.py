"""Which layers a network has: phases, levels and stages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Phase = Literal["TRAIN", "TEST"]


@dataclass(frozen=True)
class NetState:
    """What a network is used for."""

    phase: Phase = "TEST"
    level: int = 0
    stage: tuple[str, ...] = ()


@dataclass(frozen=True)
class NetStateRule:
    """A condition on the state; whatever is absent does not matter."""

    phase: Phase | None = None
    min_level: int | None = None
    max_level: int | None = None
    stage: tuple[str, ...] = ()
    not_stage: tuple[str, ...] = ()

    def holds(self, state: NetState) -> bool:
        """Whether the state has the phase, a level in the range, all of `stage` and none of `not_stage`."""
        return (
            self.phase in (None, state.phase)
            and (self.min_level is None or self.min_level <= state.level)
            and (self.max_level is None or state.level <= self.max_level)
            and set(self.stage) <= set(state.stage)
            and not set(self.not_stage) & set(state.stage)
        )


def is_included(include: tuple[NetStateRule, ...], exclude: tuple[NetStateRule, ...], state: NetState) -> bool:
    """Whether a layer belongs to a network: some rule of `include` holds, if there are any, and none of `exclude`."""
    if include:
        return any(rule.holds(state) for rule in include)
    return not any(rule.holds(state) for rule in exclude)
