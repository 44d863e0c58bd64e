"""`tensorwright bench --throughput`: how many inferences several devices do together."""

from __future__ import annotations

import itertools
import json
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from rich.table import Table

from tensorwright.cli.arrays import Array, complete_inputs, read_inputs
from tensorwright.cli.models import is_plan, plan_of
from tensorwright.cli.options import Given
from tensorwright.cli.tables import console
from tensorwright.plan.file import open_plans
from tensorwright.runtime.pool import EnginePool
from tensorwright.runtime.remote import IN_A_PROCESS

DIFFERENT_INPUTS = 4
"""So many arrays take turns, so that none of them is still in the processor's caches when it is copied again."""


@dataclass(frozen=True)
class Load:
    """What keeps pools busy: inputs that take turns, items of one of them, and for how long in how many rounds."""

    inputs: Sequence[Mapping[str, Array]]
    items: int
    duration: float
    rounds: int
    warm_up: float

    def run(self, pools: Mapping[str, EnginePool]) -> dict[str, list[float]]:
        """Items a second of each pool in each round; the pools take turns."""
        for pool in pools.values():
            self._rate(pool, self.warm_up)
        found: dict[str, list[float]] = {name: [] for name in pools}
        for _ in range(self.rounds):
            for name, pool in pools.items():
                found[name].append(self._rate(pool, self.duration / self.rounds))
        return found

    def _rate(self, pool: EnginePool, seconds: float) -> float:
        start = time.perf_counter()
        count = sum(1 for _ in pool.map(self._until(start + seconds)))
        return count * self.items / (time.perf_counter() - start)

    def _until(self, end: float) -> Iterator[Mapping[str, Array]]:
        yield self.inputs[0]
        for inputs in itertools.cycle(self.inputs):
            if time.perf_counter() >= end:
                return
            yield inputs


def throughput(
    source: Path,
    options: Given,
    devices: str,
    contexts: int | None,
    given: Sequence[str],
    batch: int | None,
    seed: int,
    times: tuple[float, int, float],
    *,
    processes: bool,
    as_json: bool,
) -> None:
    """Measure pools of the first device and of all, in turns, and print what they do.

    times: duration, rounds, warm-up.
    """
    plans = [one.verify() for one in open_plans(source)] if is_plan(source) else [plan_of(source, options, quiet=True)]
    threads = cast("int | None", options.get("threads"))
    wanted = devices if devices == "all" else devices.split(",")
    with EnginePool(plans, wanted, threads=threads, contexts=contexts, processes=processes) as everything:
        names = [state.name.removesuffix(IN_A_PROCESS) for state in everything.devices]
        with EnginePool(plans, names[:1], threads=threads, contexts=contexts, processes=processes) as first:
            load = _load(first, given, batch, seed, times)
            pools = {names[0]: first, ", ".join(names): everything} if len(names) > 1 else {names[0]: first}
            rates = load.run(pools)
    _print(rates, len(names), load.items, as_json=as_json)


def _load(
    pool: EnginePool, given: Sequence[str], batch: int | None, seed: int, times: tuple[float, int, float]
) -> Load:
    engine = pool.engines[0]
    fixed = read_inputs(engine, given)
    inputs = [complete_inputs(engine, fixed, batch, seed + number) for number in range(DIFFERENT_INPUTS)]
    inputs = [{name: array.copy() for name, array in one.items()} for one in inputs]
    leading = {array.shape[0] for array in inputs[0].values() if array.ndim}
    return Load(inputs, leading.pop() if len(leading) == 1 else 1, *times)


def _print(rates: Mapping[str, Sequence[float]], count: int, items: int, *, as_json: bool) -> None:
    medians = {name: statistics.median(found) for name, found in rates.items()}
    one, everything = next(iter(medians.values())), list(medians.values())[-1]
    efficiency = everything / one / count
    if as_json:
        results = {name: {"median": medians[name], "rounds": list(found)} for name, found in rates.items()}
        print(json.dumps({"devices": count, "items": items, "results": results, "efficiency": efficiency}, indent=2))
        return
    out, table = console(), Table("devices", "items/s", "smallest", "largest", "rounds", header_style="bold")
    for name, found in rates.items():
        table.add_row(name, f"{medians[name]:.1f}", f"{min(found):.1f}", f"{max(found):.1f}", str(len(found)))
    out.print(table)
    out.print(f"{items} item{'s' if items > 1 else ''} an inference, inputs and outputs in memory of the host")
    if count > 1:
        out.print(f"{count} devices do {everything / one:.3f} × what one does: {efficiency:.3f} of {count}")
