"""`tensorwright bench`: how long an inference takes, alone or beside a peer."""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from rich.table import Table
from typer import Argument, Option

from tensorwright.cli.arrays import Array, complete_inputs, read_inputs
from tensorwright.cli.command import UsageError
from tensorwright.cli.models import engine_of, is_plan
from tensorwright.cli.options import Given, with_options
from tensorwright.cli.peers import PEERS, Runner
from tensorwright.cli.run import Batch, Inputs, Seed
from tensorwright.cli.tables import console
from tensorwright.cli.throughput import throughput as throughput_of

TOLERANCE = 1e-4
"""How far outputs may differ from a peer's, relative to the largest element."""
PAUSE = 0.02
"""Seconds between the subjects of a round, in which threads of the one before fall asleep."""


@dataclass(frozen=True)
class Timing:
    """Latencies of single inferences in milliseconds, and how many items an inference has."""

    name: str
    milliseconds: np.ndarray[tuple[int], np.dtype[np.float64]]
    batch: int

    @property
    def summary(self) -> dict[str, float]:
        """Smallest, median, 90th and 99th percentile in milliseconds; items per second."""
        low, median, high, highest = np.percentile(self.milliseconds, [0, 50, 90, 99])
        throughput = 1e3 * self.batch * len(self.milliseconds) / float(self.milliseconds.sum())
        return {
            "min": float(low),
            "median": float(median),
            "p90": float(high),
            "p99": float(highest),
            "throughput": throughput,
        }


@with_options()
def bench(
    source: Annotated[Path, Argument(help="A plan or a model.")],
    options: Given,
    against: Annotated[str | None, Option(help=f"A peer to measure in the same run: {', '.join(PEERS)}.")] = None,
    model: Annotated[Path | None, Option(help="The model of a plan, for the peer.")] = None,
    input: Inputs = None,
    batch: Batch = None,
    seed: Seed = 0,
    duration: Annotated[float, Option(min=0.01, help="Seconds to measure each subject.")] = 3.0,
    rounds: Annotated[int, Option(min=1, help="Into how many rounds, in turns, the duration is divided.")] = 10,
    warm_up: Annotated[float, Option(min=0.0, help="Seconds to run each subject before.")] = 0.3,
    throughput: Annotated[
        bool, Option("--throughput", help="Measure many inferences at a time, on --devices.")
    ] = False,
    devices: Annotated[str, Option(help="With --throughput: all, or names such as cuda:0,cuda:1.")] = "all",
    contexts: Annotated[int | None, Option(min=1, help="With --throughput: contexts of each device.")] = None,
    processes: Annotated[bool, Option("--processes", help="With --throughput: a process for each device.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print the numbers as JSON.")] = False,
    quiet: Annotated[bool, Option("-q", "--quiet", help="No progress bar.")] = False,
) -> None:
    """Measure latency and throughput of a plan (or a model), alone or in turns with a peer on the same inputs."""
    if throughput:
        if against is not None:
            raise UsageError(f"--throughput is measured without peers; leave out --against {against}")
        times = (duration, rounds, warm_up)
        throughput_of(
            source, options, devices, contexts, input or (), batch, seed, times, processes=processes, as_json=as_json
        )
        return
    engine = engine_of(source, options, quiet=quiet or as_json)
    inputs = complete_inputs(engine, read_inputs(engine, input or ()), batch, seed)
    items = _batch(engine.max_batch_size, inputs)
    subjects: dict[str, Runner] = {"tensorwright": lambda: engine(inputs)}
    difference = None
    if against is not None:
        make = _peer(against, source, model, engine.threads, inputs)
        subjects[against] = make()
        difference = _compared(against, subjects["tensorwright"](), subjects[against](), make)
    timings = measure(subjects, items, duration, rounds, warm_up)
    _print(timings, difference, engine.threads, as_json)
    if difference is not None and difference > TOLERANCE:
        raise UsageError(f"the outputs differ from those of {against} by {difference:.2g}, more than {TOLERANCE}")


def measure(
    subjects: Mapping[str, Runner], batch: int, duration: float, rounds: int, warm_up: float
) -> dict[str, Timing]:
    """Latencies of all subjects, measured in turns so that they meet the same conditions."""
    latencies: dict[str, list[float]] = {name: [] for name in subjects}
    for run in subjects.values():
        _run_for(run, warm_up)
    with _without_garbage_collection():
        for _ in range(rounds):
            for name, run in subjects.items():
                time.sleep(PAUSE)
                _run_for(run, min(warm_up, duration / rounds / 10))
                latencies[name] += _run_for(run, duration / rounds)
    return {name: Timing(name, np.asarray(found), batch) for name, found in latencies.items()}


def _run_for(run: Runner, seconds: float) -> list[float]:
    """Run for some time, at least once; milliseconds of each run."""
    clock, found = time.perf_counter, list[float]()
    end = clock() + seconds
    while True:
        start = clock()
        run()
        stop = clock()
        found.append(1e3 * (stop - start))
        if stop >= end:
            return found


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _peer(
    name: str, source: Path, model: Path | None, threads: int, inputs: Mapping[str, Array]
) -> Callable[..., Runner]:
    """What makes the peer; takes `exact`, see `Maker`."""
    make = PEERS.get(name)
    if make is None:
        raise UsageError(f"--against {name}: expected one of {', '.join(PEERS)}")
    path = source if model is None else model
    if is_plan(path):
        raise UsageError(f"--against {name}: {path} is a plan; give the model it was built from with --model")
    return partial(make, path, threads, inputs)


def _batch(max_batch_size: int, inputs: Mapping[str, Array]) -> int:
    """How many items an inference has: the common first extent, for engines that have a batch."""
    extents = {array.shape[0] for array in inputs.values() if array.ndim}
    return extents.pop() if max_batch_size > 1 and len(extents) == 1 else 1


def _compared(name: str, ours: Mapping[str, Array], theirs: Mapping[str, Array], make: Callable[..., Runner]) -> float:
    """The difference from a peer; where its sums saturate, from what it computes without that."""
    difference = _difference(ours, theirs)
    if difference <= TOLERANCE:
        return difference
    try:
        exact = _difference(ours, make(exact=True)())
    except Exception:  # noqa: BLE001 - ONNX Runtime's errors have no common class; it refuses some models then
        return difference
    if exact > TOLERANCE:
        return difference
    message = f"sums of products of bytes saturate in {name} on this processor, off by {difference:.2g}"
    print(f"{message}; the outputs are compared with exact ones", file=sys.stderr)
    return exact


def _difference(ours: Mapping[str, Array], theirs: Mapping[str, Array]) -> float:
    """The largest difference of any output, relative to that output's largest element."""
    worst = 0.0
    for name, expected in theirs.items():
        wide, found = expected.astype(np.float64), ours[name].astype(np.float64)
        if wide.shape != found.shape:
            raise UsageError(f"output '{name}': found shape {found.shape}, the peer has {wide.shape}")
        scale = float(np.abs(wide).max(initial=0.0)) or 1.0
        difference = float(np.abs(wide - found).max(initial=0.0)) / scale
        worst = max(worst, difference if np.isfinite(difference) else np.inf)
    return worst


def _print(timings: Mapping[str, Timing], difference: float | None, threads: int, as_json: bool) -> None:
    summaries = {name: timing.summary for name, timing in timings.items()}
    ours, *others = summaries.values()
    ratio = {key: ours[key] / others[0][key] for key in ("median", "min")} if others else None
    if as_json:
        found: dict[str, object] = {"threads": threads, "results": summaries}
        found |= {"ratio": ratio, "difference": difference} if ratio else {}
        print(json.dumps(found, indent=2))
        return
    out = console()
    table = Table("milliseconds", "min", "median", "p90", "p99", "runs", "items/s", header_style="bold")
    for name, timing in timings.items():
        numbers = [f"{summaries[name][key]:.4f}" for key in ("min", "median", "p90", "p99")]
        table.add_row(name, *numbers, str(len(timing.milliseconds)), f"{summaries[name]['throughput']:.1f}")
    out.print(table)
    items = next(iter(timings.values())).batch
    out.print(f"{threads} thread{'s' if threads > 1 else ''}, {items} item{'s' if items > 1 else ''} an inference")
    if ratio:
        peer = list(timings)[1]
        out.print(
            f"tensorwright takes {ratio['median']:.3f} × the time of {peer} (median, {ratio['min']:.3f} × of min)"
        )
        out.print(f"largest difference of the outputs, relative to their largest element: {difference:.2g}")
