"""Looks at what a kernel that nobody timed computes, before it may go into a plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tensorwright.base.errors import BuildError
from tensorwright.graph.interpret import steps_of
from tensorwright.graph.region import Region
from tensorwright.kernels.compiler import Compiler
from tensorwright.kernels.work import work
from tensorwright.tensor.dim import evaluate
from tensorwright.tensor.layout import physical_bytes
from tensorwright.tune.bench import Bench, is_poison
from tensorwright.tune.choice import Choice, KernelKey, Trial, kernel_key
from tensorwright.tune.inputs import random_inputs
from tensorwright.tune.reference import FEWEST_PLACES, MOST_STEPS, conversions_fit, places_of, sampled_output
from tensorwright.tune.select import Searched
from tensorwright.tune.tolerance import disagreement, loosened, tolerance_of

PLACES = 24
"""So many elements of an output are looked at."""

MOST_SECONDS = 0.1
"""Of kernels that are expected to take longer only the first tasks are run."""

MOST_BYTES = 1 << 28
"""Regions whose inputs and result take more memory are not looked at."""

MANY_TIMES, MOST_TERMS = 8, 1 << 30
"""Where so many times more terms are added up than operations counted, so many of them are."""

LOOSER = 10.0
"""So many times the tolerance of a whole output is allowed, whose largest magnitude a few elements may miss."""


@dataclass(frozen=True)
class Verifier:
    """Runs every distinct kernel once on random inputs and compares a sample of what it computes.

    log: called with a severity and a message for every kernel that is dropped.
    """

    compiler: Compiler
    bench: Bench
    log: Callable[[str, str], None]
    _reasons: dict[KernelKey, str] = field(default_factory=dict)

    def check(self, choice: Choice) -> None:
        """Look at a kernel, unless it was timed and so verified, or looked at before, or cannot run here."""
        key = kernel_key(choice.region, choice.trial)
        if choice.trial.seconds is not None or key in self._reasons or not self.bench.is_here:
            return
        self._reasons[key] = reason = self._reason(choice)
        if reason:
            kernel = f"{choice.trial.tactic} {choice.trial.config}"
            self.log("warning", f"layer '{choice.name}': {kernel} gives wrong results and is not used: {reason}")

    @property
    def dropped(self) -> frozenset[KernelKey]:
        """The kernels that were found wrong."""
        return frozenset(key for key, reason in self._reasons.items() if reason)

    def without_dropped(self, searched: Sequence[Searched]) -> list[Searched]:
        """What a search found without the kernels that were found wrong.

        Raises:
            BuildError: all kernels of a layer were; names the layer, the kernels and what is wrong with them.
        """
        return [self._kept(item) for item in searched]

    def _kept(self, item: Searched) -> Searched:
        kept = [c for c in item.candidates if not self._reasons.get(kernel_key(item.region, c.trial))]
        if not kept:
            raise BuildError(all_wrong(item.region, [self._judged(item, c.trial) for c in item.candidates]))
        return Searched(item.region, tuple(kept), tuple(self._judged(item, trial) for trial in item.trials))

    def _judged(self, item: Searched, trial: Trial) -> Trial:
        reason = self._reasons.get(kernel_key(item.region, trial))
        return replace(trial, rejected=f"gives wrong results: {reason}") if reason else trial

    def _reason(self, choice: Choice) -> str:
        region, kernel, rng = choice.region, choice.kernel, np.random.default_rng()
        symbols = {symbol.name: symbol.opt for symbol in region.symbols}
        layouts = (*kernel.inputs, kernel.output)
        values = zip((*region.inputs, region.output), layouts, strict=True)
        sizes = [evaluate(physical_bytes(value.type, layout), symbols) for value, layout in values]
        if sizes[-1] <= 0 or min(sizes) < 0 or sum(sizes) > MOST_BYTES:
            return ""
        some = max(1, int(evaluate(kernel.tasks, symbols) * MOST_SECONDS / choice.trial.estimate))
        is_whole = some >= evaluate(kernel.tasks, symbols)
        if region.is_sequential and not is_whole:
            return ""
        if not region.is_sequential and not _is_affordable(
            region, symbols, some / max(1, evaluate(kernel.tasks, symbols))
        ):
            return ""
        places = places_of(region, symbols, PLACES if is_whole else PLACES**2, rng)
        arrays = random_inputs(region, symbols, rng)
        if not conversions_fit(region, arrays, symbols):
            return ""
        compiled = self.compiler.compile(kernel.name, kernel.code)
        kernel = kernel if is_whole else replace(kernel, tasks=some)
        found = self.bench.prepare(region, kernel, compiled, arrays, symbols, {}).run(
            None if region.is_sequential else places
        )
        if not is_whole:
            written = np.flatnonzero(~is_poison(found))[:PLACES]
            found, places = found[written], tuple(axis[written] for axis in places)
        expected = sampled_output(region, arrays, symbols, places)
        if expected is None:
            return ""
        found = found if expected.places is None else found[: len(expected.values)]
        tolerance = loosened(tolerance_of(region, symbols), choice.trial.rounding, region)
        looser = replace(tolerance, relative=LOOSER * tolerance.relative)
        return disagreement(found, expected.values, looser, expected.spread)


def _is_affordable(region: Region, symbols: Mapping[str, int], share: float) -> bool:
    """Whether a share of a region does not take much longer than estimates say, which know the least work only, and
    some of its elements can be computed from their definition.
    """
    steps = steps_of(region.computation, symbols)
    terms = steps * evaluate(region.output.type.elements, symbols)
    flops = evaluate(work(region).flops, symbols)
    return steps <= MOST_STEPS // FEWEST_PLACES and (terms <= MANY_TIMES * flops or share * terms <= MOST_TERMS)


def all_wrong(region: Region, trials: Sequence[Trial]) -> str:
    """The message that no kernel of a region can be used."""
    reasons = "; ".join(f"{trial.tactic} {trial.config}: {trial.rejected}" for trial in trials)
    return f"layer '{region.name}': every kernel for it was rejected ({reasons}); the region is {region.signature}"
