"""Finds usable kernels for regions: all that the catalogue offers, within the workspace limit, timed if wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

from tensorwright.base.errors import BuildError, WorkspaceError
from tensorwright.codegen.target import Target
from tensorwright.graph.region import Region
from tensorwright.kernels.catalogue import tactics
from tensorwright.kernels.cpu.generic import Generic
from tensorwright.kernels.tactic import Config, Kernel, Tactic, is_exact, is_joining
from tensorwright.tensor.layout import Layout
from tensorwright.tune.choice import Choice, Trial
from tensorwright.tune.estimate import estimate
from tensorwright.tune.select import Candidate, Searched

TRIALS_PER_LAYOUT = (0, 1, 2, 5, 12, 10_000)
"""By level: how many configurations of each tactic are timed for each assignment of layouts."""


@dataclass(frozen=True)
class Limits:
    """workspace: scratch bytes of a layer in all threads together, None for no limit; threads: how many share it;
    fast_algorithms: whether tactics that need fewer operations and round differently may be used; excluded: names of
    tactics that are not to be used.
    """

    workspace: int | None
    threads: int
    fast_algorithms: bool = True
    excluded: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        known = {tactic.name for tactic in tactics()} - {Generic.name}
        unknown = sorted(self.excluded - known)
        if unknown:
            expected = ", ".join(sorted(known))
            raise BuildError(f"exclude_tactics: expected names of {expected}; found {', '.join(unknown)}")

    def admit(self, tactic: Tactic) -> bool:
        return tactic.name not in self.excluded and (self.fast_algorithms or is_exact(tactic))


def search(regions: Sequence[Region], target: Target, limits: Limits) -> list[Searched]:
    """All kernels for every region, not timed yet; regions with equal signatures are looked up once."""
    known: dict[str, Searched] = {}
    for region in regions:
        if region.signature not in known:
            known[region.signature] = untimed(region, target, limits)
    return [replace(known[region.signature], region=region) for region in regions]


def search_joined(regions: Sequence[Region], target: Target, limits: Limits) -> list[Searched]:
    """All kernels, not timed yet, for those of the joined regions that have any."""
    known: dict[str, Searched] = {}
    for region in regions:
        if region.signature not in known:
            found = _kernels(region, target, limits)
            known[region.signature] = Searched(region, found.candidates, found.trials)
    return [replace(known[region.signature], region=region) for region in regions if known[region.signature].candidates]


def tactics_for(region: Region) -> list[Tactic]:
    """The part of the catalogue that may apply to a region."""
    return [tactic for tactic in tactics() if is_joining(tactic) == bool(region.stages)]


def untimed(region: Region, target: Target, limits: Limits) -> Searched:
    """All kernels for a region at their estimated cost.

    Raises:
        WorkspaceError: every kernel needs more scratch memory than allowed; names layer, need and limit.
        BuildError: no tactic computes the region.
    """
    found = _kernels(region, target, limits)
    if not found.candidates and found.least_workspace is not None:
        raise WorkspaceError(
            f"layer '{region.name}': no kernel fits the workspace limit; the smallest needs {found.least_workspace} "
            f"bytes, the limit is {limits.workspace}; raise max_workspace_size to at least {found.least_workspace}"
        )
    if not found.candidates:
        raise BuildError(f"layer '{region.name}': no kernel computes {region.signature}")
    return Searched(region, found.candidates, found.trials)


@dataclass(frozen=True)
class _Found:
    """least_workspace: the bytes that the most modest of the kernels over the limit needs; None if none is over it."""

    candidates: tuple[Candidate, ...]
    trials: tuple[Trial, ...]
    least_workspace: int | None


def _kernels(region: Region, target: Target, limits: Limits) -> _Found:
    candidates: list[Candidate] = []
    trials: list[Trial] = []
    excessive: list[int] = []
    for tactic in tactics_for(region):
        if not limits.admit(tactic):
            continue
        for rank, config in enumerate(tactic.configs(region, target)):
            make = cache(_maker(tactic, region, config, target))
            needed = make().workspace * limits.threads if limits.workspace is not None else 0
            trial = Trial(tactic.name, config, estimate(region, tactic, config, target, rank))
            if limits.workspace is not None and needed > limits.workspace:
                excessive.append(needed)
                trials.append(replace(trial, rejected=f"needs {needed} bytes of workspace"))
                continue
            candidates.append(Candidate(trial, make))
            trials.append(trial)
    return _Found(tuple(candidates), tuple(trials), min(excessive, default=None))


def _maker(tactic: Tactic, region: Region, config: Config, target: Target) -> Callable[[], Kernel]:
    return lambda: tactic.emit(region, config, target)


def reorder_choice(region: Region, source: Layout, destination: Layout, target: Target) -> Choice:
    """The cheapest kernel that copies a tensor from one layout into another."""
    best: tuple[Trial, Tactic] | None = None
    for tactic in tactics_for(region):
        configs: Sequence[Config] = tactic.configs(region, target)
        wanted = [c for c in configs if c.inputs == (source,) and c.output == destination]
        if not wanted and tactic.name == "generic":
            wanted = [Config((source,), destination)]
        for rank, config in enumerate(wanted):
            trial = Trial(tactic.name, config, estimate(region, tactic, config, target, rank))
            if best is None or trial.cost < best[0].cost:
                best = trial, tactic
    assert best is not None
    trial, tactic = best
    return Choice(region, tactic.emit(region, trial.config, target), trial, (trial,), is_reorder=True)
