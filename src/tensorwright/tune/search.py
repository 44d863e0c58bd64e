"""Finds usable kernels for regions: all that the catalogue offers, within the workspace limit, timed if wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

from tensorwright.base.errors import BuildError, WorkspaceError
from tensorwright.graph.graph import Value
from tensorwright.graph.region import Region, region_of
from tensorwright.kernels.tactic import Config, Offer
from tensorwright.tensor.layout import Layout
from tensorwright.tune.choice import Choice, KernelKey, Trial, kernel_key
from tensorwright.tune.estimate import Roofline
from tensorwright.tune.select import Candidate, Searched

TRIALS_PER_LAYOUT = (0, 1, 2, 5, 12, 10_000)
"""By level: how many configurations of each tactic are timed for each assignment of layouts."""


@dataclass(frozen=True)
class Limits:
    """workspace: scratch bytes of a layer in all threads together, None for no limit; threads: how many share it;
    fast_algorithms: whether tactics that need fewer operations and round differently may be used; excluded: names of
    tactics that are not to be used; strict_nans: whether tactics that spread what is not finite are left out; tf32:
    whether factors of float32 may be read in fewer digits.
    """

    workspace: int | None
    threads: int
    fast_algorithms: bool = True
    excluded: frozenset[str] = frozenset()
    strict_nans: bool = False
    tf32: bool = False

    def admit(self, offer: Offer) -> bool:
        if (self.strict_nans and offer.spreads) or (offer.rounding and not self.tf32):
            return False
        return offer.name not in self.excluded and (self.fast_algorithms or offer.exact)


@dataclass(frozen=True)
class _Found:
    """least_workspace: the bytes that the most modest of the kernels over the limit needs; None if none is over it."""

    candidates: tuple[Candidate, ...]
    trials: tuple[Trial, ...]
    least_workspace: int | None


@dataclass(frozen=True)
class Search:
    """Looks through what is offered for a target.

    roofline: what estimates are made with. dropped: kernels that may not be used.

    Raises:
        BuildError: the limits exclude what is not offered, or a tactic that every network may need.
    """

    offers: Sequence[Offer]
    roofline: Roofline
    limits: Limits
    dropped: frozenset[KernelKey] = frozenset()

    def __post_init__(self) -> None:
        known = {offer.name for offer in self.offers if offer.general is None}
        unknown = sorted(self.limits.excluded - known)
        if unknown:
            expected = ", ".join(sorted(known))
            raise BuildError(f"exclude_tactics: expected names of {expected}; found {', '.join(unknown)}")

    def computes(self, value: Value) -> bool:
        """Whether there is a kernel for an operator alone."""
        region = region_of([value])
        return any(offer.configs(region) for offer in filter(self.limits.admit, self._offers_for(region)))

    def all(self, regions: Sequence[Region]) -> list[Searched]:
        """All kernels for every region, not timed yet; regions with equal signatures are looked up once."""
        known: dict[str, Searched] = {}
        for region in regions:
            if region.signature not in known:
                known[region.signature] = self.one(region.general)
        return [known[region.signature].found_for(region) for region in regions]

    def joined(self, regions: Sequence[Region]) -> list[Searched]:
        """All kernels, not timed yet, for those of the joined regions that have any."""
        known: dict[str, Searched] = {}
        for region in regions:
            if region.signature not in known:
                found = self._kernels(region)
                known[region.signature] = Searched(region, found.candidates, found.trials)
        return [known[region.signature].found_for(region) for region in regions if known[region.signature].candidates]

    def one(self, region: Region) -> Searched:
        """All kernels for a region at their estimated cost.

        Raises:
            WorkspaceError: every kernel needs more scratch memory than allowed; names layer, need and limit.
            BuildError: no tactic computes the region.
        """
        found = self._kernels(region)
        if not found.candidates and found.least_workspace is not None:
            least, limit = found.least_workspace, self.limits.workspace
            raise WorkspaceError(
                f"layer '{region.name}': no kernel fits the workspace limit; the smallest needs {least} "
                f"bytes, the limit is {limit}; raise max_workspace_size to at least {least}"
            )
        if not found.candidates:
            offers = [offer for offer in self._offers_for(region) if not self.limits.admit(offer)]
            names = [offer.name for offer in offers if offer.configs(region)]
            advice = f"; do not exclude {' and '.join(names)}" if names else ""
            raise BuildError(f"layer '{region.name}': no kernel computes {region.signature}{advice}")
        return Searched(region, found.candidates, found.trials)

    def reorder(self, region: Region, source: Layout, destination: Layout) -> Choice:
        """The cheapest kernel that copies a tensor from one layout into another."""
        best: tuple[Trial, Offer] | None = None
        for offer in self._offers_for(region):
            wanted = [c for c in offer.configs(region) if c.inputs == (source,) and c.output == destination]
            if not wanted and offer.general is not None:
                wanted = [Config((source,), destination, offer.general)]
            for rank, config in enumerate(wanted):
                trial = Trial(offer.name, config, self.roofline.estimate(region, offer, config, rank))
                usable = kernel_key(region, trial) not in self.dropped
                if usable and (best is None or trial.cost < best[0].cost):
                    best = trial, offer
        if best is None:
            raise BuildError(f"layer '{region.name}': no kernel from {source} to {destination} gives right results")
        trial, offer = best
        return Choice(region, offer.emit(region, trial.config), trial, (trial,), is_reorder=True)

    def _offers_for(self, region: Region) -> list[Offer]:
        return [offer for offer in self.offers if offer.joins == bool(region.stages)]

    def _kernels(self, region: Region) -> _Found:
        candidates: list[Candidate] = []
        trials: list[Trial] = []
        excessive: list[int] = []
        limits = self.limits
        for offer in filter(limits.admit, self._offers_for(region)):
            for rank, config in enumerate(offer.configs(region)):
                make = cache(partial(offer.emit, region, config))
                needed = make().workspace * limits.threads if limits.workspace is not None else 0
                estimate = self.roofline.estimate(region, offer, config, rank)
                trial = Trial(offer.name, config, estimate, rounding=offer.rounding)
                if limits.workspace is not None and needed > limits.workspace:
                    excessive.append(needed)
                    trials.append(replace(trial, rejected=f"needs {needed} bytes of workspace"))
                    continue
                candidates.append(Candidate(trial, make, offer.exact))
                trials.append(trial)
        return _Found(tuple(candidates), tuple(trials), min(excessive, default=None))
