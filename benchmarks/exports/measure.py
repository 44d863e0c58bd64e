"""One export: built, called, compared and timed."""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import tensorwright as tw
from benchmarks.exports.detections import agreement
from benchmarks.exports.export import Arrays, export
from benchmarks.exports.networks import NETWORKS, Network

TURNS = 30
MOST_SECONDS = 12.0
"""After so many seconds no more turns begin, but for the first two."""
MOVED = 1e-7
"""So far, relative to the largest number, inputs are moved to see how steady ONNX Runtime's own boxes are."""


@dataclass(frozen=True)
class Row:
    """One network, one way to export it.

    batch: 1, or for how many images it was exported. build_seconds: until the engine is ready; processor_seconds: what
    all processes of the build took. first_call_seconds: with what is compiled only then. difference: the largest of
    any output, relative to the output's largest number; of boxes, see `Agreement`. moved: the least of all outputs
    between ONNX Runtime's and those that it gives for another input: where it is small, the difference says little.
    sensitivity: the largest between ONNX Runtime's and those that it gives for inputs moved by 1e-7: where it is large,
    the network makes much of any rounding.
    boxes, unmatched: how many ONNX Runtime found, and how many only one of both; steady: the same of ONNX Runtime and
    itself with inputs moved by 1e-7. milliseconds, onnxruntime_milliseconds: the least of all turns, by threads.
    """

    network: str
    exporter: str
    open: bool
    batch: int
    level: int
    build_seconds: float | None = None
    processor_seconds: float | None = None
    engine: str = ""
    on_host: int = 0
    first_call_seconds: float | None = None
    difference: float | None = None
    moved: float | None = None
    sensitivity: float | None = None
    boxes: int | None = None
    unmatched: int | None = None
    steady: int | None = None
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    onnxruntime_milliseconds: Mapping[str, float] = field(default_factory=dict)
    failure: str = ""


def measured(row: Row, threads: list[int]) -> Iterator[Row]:
    """The row with more and more of what was found."""
    network = NETWORKS[row.network]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        try:
            feeds = export(network, row.exporter, row.open, row.batch, path)
        except Exception as error:  # noqa: BLE001 - Exporters fail in every way there is.
            yield replace(row, failure=f"torch does not export it: {type(error).__name__}: {str(error)[:200]}")
            return
        try:
            sessions = {number: session_for(path, number) for number in threads}
        except Exception as error:  # noqa: BLE001 - Whatever ONNX Runtime raises.
            yield replace(row, failure=f"ONNX Runtime does not load it: {str(error)[:200]}")
            return
        try:
            yield from _built(row, network, path, feeds, sessions)
        except Exception as error:  # noqa: BLE001 - The row says it.
            yield replace(row, failure=f"{type(error).__name__}: {str(error)[:300]}")


def _built(row: Row, network: Network, path: Path, feeds: list[Arrays], sessions: Mapping[int, Any]) -> Iterator[Row]:
    session = next(iter(sessions.values()))
    wanted = {one.name for one in session.get_inputs()}
    feeds = [{name: array for name, array in feed.items() if name in wanted} for feed in feeds]
    shapes = ranges(session, feeds[0]) if row.open else None
    start, before = time.perf_counter(), _processor_seconds()
    engine = tw.build(path, level=row.level, threads=max(sessions), timing_cache="", shapes=shapes)
    row = replace(row, build_seconds=time.perf_counter() - start, engine=type(engine).__name__)
    row = replace(row, processor_seconds=_processor_seconds() - before)
    yield row
    start = time.perf_counter()
    engine(feeds[0])
    row = replace(row, first_call_seconds=time.perf_counter() - start, on_host=len(getattr(engine, "hosted", ())))
    yield row
    row = _compared(row, network, engine, session, feeds)
    yield row
    for number, theirs in sessions.items():
        with tempfile.TemporaryDirectory() as folder:
            ours = _with_threads(engine, number, max(sessions), Path(folder))
            if ours is None:
                continue
            own, other = in_turns(lambda call=ours: call(feeds[0]), lambda run=theirs: run.run(None, feeds[0]))
        row = replace(
            row,
            milliseconds={**row.milliseconds, str(number): own},
            onnxruntime_milliseconds={**row.onnxruntime_milliseconds, str(number): other},
        )
        yield row


def _with_threads(engine: Any, threads: int, most: int, folder: Path) -> Any:
    """The engine on so many threads; None where that would be another build."""
    if threads == most:
        return engine
    if not isinstance(engine, tw.Engine):
        return None
    engine.save(folder / "network.plan")
    return tw.load(folder / "network.plan", threads=threads)


def _compared(row: Row, network: Network, engine: Any, session: Any, feeds: list[Arrays]) -> Row:
    if not network.finds:
        wanted = [results(session, feed) for feed in feeds]
        others = [differences(results(session, other(feed)), right) for feed, right in zip(feeds, wanted, strict=True)]
        off = [difference(engine(feed), right) for feed, right in zip(feeds, wanted, strict=True)]
        again = [difference(results(session, moved(feed)), right) for feed, right in zip(feeds, wanted, strict=True)]
        least = min(min(each.values()) for each in others)
        return replace(row, difference=max(off), moved=least, sensitivity=max(again))
    names, found = [output.name for output in session.get_outputs()], []
    for feed in feeds:
        expected = session.run(None, feed)
        found.append(agreement([engine(feed)[name] for name in names], expected))
        found.append(agreement(session.run(None, moved(feed)), expected))
    return replace(
        row,
        difference=max(one.difference for one in found[::2]),
        boxes=sum(one.expected for one in found[::2]),
        unmatched=sum(one.unmatched for one in found[::2]),
        steady=sum(one.unmatched for one in found[1::2]),
    )


def session_for(path: Path, threads: int) -> Any:
    """A session whose threads spin while it runs, and not on the cores that the other engine's next call needs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 4
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def ranges(session: Any, example: Arrays) -> dict[str, tuple[int, int, int]]:
    """For every open dimension: from 1, tuned for the example's, to twice as much and a little more."""
    found: dict[str, tuple[int, int, int]] = {}
    for one in session.get_inputs():
        for dim, extent in zip(one.shape, example[one.name].shape, strict=True):
            if isinstance(dim, str):
                found.setdefault(dim, (1, extent, 2 * extent + 16))
    return found


def results(session: Any, feed: Arrays) -> Arrays:
    """What ONNX Runtime gives, by name."""
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, feed), strict=True))


def other(feed: Arrays) -> Arrays:
    """Another input of the same extents: fresh floats, integers from the last to the first."""
    rng = np.random.default_rng(1)
    return {
        name: rng.standard_normal(array.shape).astype(array.dtype) if array.dtype.kind == "f" else np.flip(array).copy()
        for name, array in feed.items()
    }


def moved(feed: Arrays) -> Arrays:
    """The same with every float up or down by 1e-7 of the largest."""
    rng = np.random.default_rng(0)
    return {
        name: (array + MOVED * np.abs(array).max() * rng.choice([-1, 1], array.shape)).astype(array.dtype)
        if array.dtype.kind == "f"
        else array
        for name, array in feed.items()
    }


def differences(got: Arrays, wanted: Arrays) -> dict[str, float]:
    """The largest difference of every output with elements, relative to the largest number that is wanted."""
    return {n: float(np.abs(got[n] - w).max() / max(np.abs(w).max(), 1e-30)) for n, w in wanted.items() if w.size}


def difference(got: Arrays, wanted: Arrays) -> float:
    """The largest of all outputs."""
    return max(differences(got, wanted).values())


def in_turns(*calls: Callable[[], object]) -> list[float]:
    """The least milliseconds of each of several calls, made one after the other, many times, each time once before."""
    least, end = [float("inf")] * len(calls), time.perf_counter() + MOST_SECONDS
    for turn in range(TURNS):
        if turn > 1 and time.perf_counter() > end:
            break
        for number, call in enumerate(calls):
            call()
            start = time.perf_counter()
            call()
            least[number] = min(least[number], (time.perf_counter() - start) * 1e3)
    return least


def _processor_seconds() -> float:
    """Of this process and of those that it has waited for."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in spent)
