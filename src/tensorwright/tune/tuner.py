"""Times the promising candidates of every region and lets only correct ones win."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite
from types import MappingProxyType

import numpy as np

from tensorwright.base.errors import BuildError, DeviceError
from tensorwright.base.progress import Progress
from tensorwright.graph.graph import Value, is_constant, storage_root, weights_in
from tensorwright.graph.region import Region
from tensorwright.kernels.compiler import Compiler
from tensorwright.plan.plan import MachineStamp
from tensorwright.tensor.arrange import Places
from tensorwright.tensor.dim import evaluate
from tensorwright.tensor.layout import Layout
from tensorwright.tune.bench import Bench, Prepared
from tensorwright.tune.cache import REJECTED, TimingCache, sequence_key, timing_key
from tensorwright.tune.choice import Trial
from tensorwright.tune.inputs import random_inputs
from tensorwright.tune.reference import Array, Expected, expected_output
from tensorwright.tune.search import TRIALS_PER_LAYOUT
from tensorwright.tune.select import Candidate, Searched
from tensorwright.tune.tolerance import (
    Tolerance,
    disagreement,
    fast_algorithm_bound,
    loosened,
    relative_error,
    tolerance_of,
)
from tensorwright.tune.verify import all_wrong

HOPELESS = 12.0
"""Candidates whose estimate is this many times the best one's are not timed."""

SLOWER, SLOWER_JOINED = 1.5, 1.2
"""Where the first candidate of a group takes so many times as long as the fastest one, or that of a joined region as
its stages, the others of the group are not timed.
"""

PLACES = 512
"""So many elements are looked at of outputs that are too much work as a whole."""

COLD_BYTES = 64 << 20
"""Memory that evicts the weights of one inference from the caches before the next one."""


Bounds = Mapping[str, float]
"""Seconds by signatures of regions."""
NO_BOUNDS: Bounds = MappingProxyType({})


@dataclass(frozen=True)
class Tuner:
    """What timing needs: where to compile, what is known already, for how many threads, how hard to try.

    brief: of each tactic, for each assignment of layouts, only the most promising candidate is timed: that is enough to
    see in which type a region should be computed.
    """

    compiler: Compiler
    bench: Bench
    stamp: MachineStamp
    cache: TimingCache
    threads: int
    level: int
    progress: Progress
    network_weights: int
    log: Callable[[str, str], None]
    brief: bool = False

    def tune(self, searched: Sequence[Searched], bounds: Bounds = NO_BOUNDS) -> list[Searched]:
        """The same regions with measured candidates; regions with equal signatures are measured once.

        bounds: candidates whose estimate is above that of their region are not timed; a region without any other keeps
            them at their estimates.
        """
        unique: dict[str, Searched] = {}
        for item in searched:
            unique.setdefault(item.region.signature, item)
        groups = {key: self._groups(item, bounds.get(key, inf)) for key, item in unique.items()}
        self._time({key: [group[0] for group in some] for key, some in groups.items()}, unique)
        if self.brief:
            groups = {key: [group[:1] for group in some] for key, some in groups.items()}
        elif self.level < len(TRIALS_PER_LAYOUT) - 1:
            groups = {key: self._promising(unique[key], groups) for key in unique}
        shortlists = {key: [candidate for group in some for candidate in group] for key, some in groups.items()}
        self._time(shortlists, unique)
        for key, item in unique.items():
            shortlists[key] += self._others_for(item, shortlists[key]) if shortlists[key] else []
        return [
            self._judged(item, shortlists[item.region.signature], unique) if shortlists[item.region.signature] else item
            for item in searched
        ]

    def _groups(self, item: Searched, bound: float) -> list[list[Candidate]]:
        """The candidates to time: of each tactic for each assignment of layouts the most promising, the first first."""
        groups: dict[object, list[Candidate]] = {}
        for candidate in item.candidates:
            groups.setdefault((candidate.trial.tactic, candidate.layouts), []).append(candidate)
        best = min(candidate.trial.estimate for candidate in item.candidates)
        most = min(bound, HOPELESS * best if self.level < len(TRIALS_PER_LAYOUT) - 1 else inf)
        limit = TRIALS_PER_LAYOUT[self.level]
        sorted_groups = (sorted(group, key=lambda c: c.trial.estimate)[:limit] for group in groups.values())
        return [kept for group in sorted_groups if (kept := [c for c in group if c.trial.estimate <= most])]

    def _promising(self, item: Searched, groups: Mapping[str, Sequence[list[Candidate]]]) -> list[list[Candidate]]:
        """Groups whose first candidate is not much slower than the fastest first one or, of joined regions, than the
        stages one after another; of the others, the first candidates.
        """
        own, stages = groups[item.region.signature], item.region.stages
        most = SLOWER * self._fastest(item.region, own)
        if stages and all(stage.signature in groups for stage in stages):
            apart = sum(self._fastest(stage, groups[stage.signature]) for stage in stages)
            most = min(most, SLOWER_JOINED * apart)
        firsts = [self._known(item.region, group[0]) for group in own]
        hopeful = [first is None or first == REJECTED or first <= most for first in firsts]
        return [group if hope else group[:1] for group, hope in zip(own, hopeful, strict=True)]

    def _fastest(self, region: Region, groups: Sequence[list[Candidate]]) -> float:
        """Seconds of the fastest first candidate of some groups."""
        known = [self._known(region, group[0]) for group in groups]
        return min((seconds for seconds in known if seconds not in (None, REJECTED)), default=inf)

    def _time(self, candidates: Mapping[str, Sequence[Candidate]], unique: Mapping[str, Searched]) -> None:
        """Compile and measure those of the candidates, by their regions' signatures, that are not known."""
        unknown = {
            key: [candidate for candidate in some if self._known(unique[key].region, candidate) is None]
            for key, some in candidates.items()
        }
        self._compile([candidate for some in unknown.values() for candidate in some])
        self.progress.phase("timing kernels", len(unknown))
        for key, some in unknown.items():
            self._measure(unique[key].region, some)
            self.progress.step(unique[key].region.name)

    def _others_for(self, item: Searched, shortlist: Sequence[Candidate]) -> list[Candidate]:
        """The rest of the candidates, measured now, if all on the shortlist give wrong results."""
        if any(self._known(item.region, candidate) != REJECTED for candidate in shortlist):
            return []
        others = [candidate for candidate in item.candidates if candidate not in shortlist]
        self._measure(item.region, [candidate for candidate in others if self._known(item.region, candidate) is None])
        return others

    def _key(self, region: Region, candidate: Candidate) -> str:
        return timing_key(self.stamp, region, candidate.trial, self.threads)

    def _known(self, region: Region, candidate: Candidate) -> float | None:
        return self.cache.get(self._key(region, candidate))

    def _error_key(self, region: Region, candidate: Candidate) -> str:
        return self._key(region, candidate) + " error"

    def _error(self, region: Region, candidate: Candidate) -> float | None:
        error = self.cache.get(self._error_key(region, candidate))
        return None if error == REJECTED else error

    def _compile(self, candidates: Sequence[Candidate]) -> None:
        self.progress.phase("generating kernels", len(candidates))
        modules: dict[str, str] = {}
        for candidate in candidates:
            kernel = candidate.kernel()
            modules[kernel.name] = kernel.code
            self.compiler.submit(kernel.name, kernel.code)
            self.progress.step(candidate.trial.tactic)
        self.progress.phase("compiling kernels", len(modules))
        self.compiler.compile_all(modules, self.progress.step)

    def _measure(self, region: Region, candidates: Sequence[Candidate]) -> None:
        if not candidates:
            return
        symbols, rng = {symbol.name: symbol.opt for symbol in region.symbols}, np.random.default_rng()
        arrays = random_inputs(region, symbols, rng)
        expected, tolerance = expected_output(region, arrays, symbols, rng, PLACES), tolerance_of(region, symbols)
        racing: list[tuple[Candidate, Prepared]] = []
        for candidate in candidates:
            prepared = self._prepared(region, candidate, arrays, symbols, alike=[entry for _, entry in racing])
            output = self._output(region, candidate, prepared, None if expected is None else expected.places)
            if output is None or (
                expected is not None and self._is_wrong(region, candidate, output, expected, tolerance)
            ):
                self.cache.put(self._key(region, candidate), REJECTED)
                continue
            racing.append((candidate, prepared))
        times = self.bench.race([[entry] for _, entry in racing], [self._cold_bytes(region)] * len(racing))
        for (candidate, _), seconds in zip(racing, times, strict=True):
            self.cache.put(self._key(region, candidate), seconds)

    def _output(self, region: Region, candidate: Candidate, prepared: Prepared, places: Places | None) -> Array | None:
        """What a kernel computes at some places, or as a whole; None if the device refuses to run it, and goes on."""
        try:
            return prepared.run(places)
        except DeviceError as error:
            if error.lost:
                raise
            kernel = f"{candidate.trial.tactic} {candidate.trial.config}"
            self.log("warning", f"layer '{region.name}': {kernel} cannot be run and is not used: {error}")
            return None

    def _is_wrong(
        self, region: Region, candidate: Candidate, output: Array, expected: Expected, tolerance: Tolerance
    ) -> bool:
        """Whether a kernel's output may not be; its error is remembered."""
        error = relative_error(output, expected.values)
        self.cache.put(self._error_key(region, candidate), error if isfinite(error) else REJECTED)
        if not candidate.exact and error > fast_algorithm_bound(region):
            return True
        allowed = loosened(tolerance, candidate.trial.rounding, region)
        reason = disagreement(output, expected.values, allowed, expected.spread)
        if reason:
            kernel = f"{candidate.trial.tactic} {candidate.trial.config}"
            self.log("warning", f"layer '{region.name}': {kernel} gives wrong results and is not used: {reason}")
        return bool(reason)

    def _prepared(
        self,
        region: Region,
        candidate: Candidate,
        arrays: Sequence[Array],
        symbols: Mapping[str, int],
        sources: Mapping[int, Prepared] | None = None,
        alike: Sequence[Prepared] = (),
    ) -> Prepared:
        kernel = candidate.kernel()
        compiled = self.compiler.compile(kernel.name, kernel.code)
        return self.bench.prepare(region, kernel, compiled, arrays, symbols, sources or {}, alike)

    def compare(self, joined: Searched, stages: Sequence[Searched]) -> tuple[float, float]:
        """Seconds of a joined region and of its stages one after another, each with its fastest kernel, in one race."""
        best = [min(item.candidates, key=lambda c: c.trial.cost) for item in (joined, *stages)]
        regions = [joined.region, *(item.region for item in stages)]
        parts = [self._key(region, candidate) for region, candidate in zip(regions, best, strict=True)]
        keys = [f"{sequence_key(parts)} {what}" for what in ("joined", "apart")]
        if any(self.cache.get(key) is None for key in keys):
            steps = list(zip(regions, best, strict=True))
            symbols = {symbol.name: symbol.opt for symbol in joined.region.symbols}
            drawn = random_inputs(joined.region, symbols, np.random.default_rng())
            arrays = dict(zip(joined.region.inputs, drawn, strict=True))
            racing = [self._sequence(each, arrays, symbols) for each in (steps[:1], steps[1:])]
            cold = [max(self._cold_bytes(region) for region, _ in each) for each in (steps[:1], steps[1:])]
            for key, seconds in zip(keys, self.bench.race(racing, cold), strict=True):
                self.cache.put(key, seconds)
        together, apart = (self.cache.entries[key] for key in keys)
        return together, apart

    def _sequence(
        self, steps: Sequence[tuple[Region, Candidate]], arrays: Mapping[Value, Array], symbols: Mapping[str, int]
    ) -> list[Prepared]:
        """Kernels that read what those before them write, where their layouts agree."""
        known, prepared = dict(arrays), []
        stored: dict[tuple[Value, Layout], Prepared] = {}
        for region, candidate in steps:
            kernel = candidate.kernel()
            places = [
                stored.get((storage_root(value) if layout.is_plain else value, layout))
                for value, layout in zip(region.inputs, kernel.inputs, strict=True)
            ]
            sources = {number: place for number, place in enumerate(places) if place is not None}
            given = [
                _shaped(known[value if value in known else storage_root(value)], value, symbols)
                for value in region.inputs
            ]
            one = self._prepared(region, candidate, given, symbols, sources)
            known[region.output] = one.run()
            stored[region.output, kernel.output] = one
            prepared.append(one)
        return prepared

    def _cold_bytes(self, region: Region) -> int:
        own = sum(weights_in(v).type.max_bytes for v in region.inputs if is_constant(v))
        return min(COLD_BYTES, self.network_weights + own)

    def _judged(self, item: Searched, shortlist: Sequence[Candidate], unique: dict[str, Searched]) -> Searched:
        """The item's own candidates with the times of the shortlist; those without a time are left out."""
        times = {
            (c.trial.tactic, c.trial.config): self._known(unique[item.region.signature].region, c) for c in shortlist
        }
        timed: list[Candidate] = []
        trials: list[Trial] = [trial for trial in item.trials if trial.rejected]
        for candidate in item.candidates:
            seconds = times.get((candidate.trial.tactic, candidate.trial.config))
            if seconds is None:
                continue
            if seconds == REJECTED:
                error = self._error(unique[item.region.signature].region, candidate)
                found = "" if error is None else f", error {error:.1e}"
                trials.append(replace(candidate.trial, rejected=f"gives wrong results{found}", error=error))
                continue
            error = self._error(unique[item.region.signature].region, candidate)
            trial = replace(candidate.trial, seconds=seconds, error=error)
            timed.append(replace(candidate, trial=trial))
            trials.append(trial)
        if not timed and not item.region.stages:
            raise BuildError(all_wrong(item.region, [trial for trial in trials if trial.rejected]))
        return Searched(item.region, tuple(timed), tuple(trials))


def _shaped(array: Array, value: Value, symbols: Mapping[str, int]) -> Array:
    """A value, of whose elements a view it is may be the array."""
    return array.reshape([evaluate(dim, symbols) for dim in value.type.shape])
