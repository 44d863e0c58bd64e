"""Builds networks for the GPU of this machine and measures them: ``python -m benchmarks.gpu.measure resnet50:1:f16 …``.

Every network is NAME:BATCH:TYPE. Times are between events of the GPU: around one inference behind others, and around
twenty of them, inputs and outputs on the device; medians. Outputs are compared with the operators' references in
float64, which takes long for large batches: those are compared with the network of batch 1.
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path

import numpy as np

from benchmarks.gpu.beside import READY
from benchmarks.gpu.networks import drawn_inputs, network
from tensorwright.base.cancellation import Cancellation
from tensorwright.base.errors import TensorwrightError
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.devices.cuda.device import CudaDevice, create
from tensorwright.devices.cuda.stream import CudaEvent, CudaStream
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.graph import Graph
from tensorwright.plan.file import read_plan, write_plan
from tensorwright.plan.plan import Plan
from tensorwright.runtime.engine import Engine
from tensorwright.tune.tolerance import relative_error

IN_A_ROW = 20
ROUNDS, FEWEST = 40, 7
SECONDS = 0.5
"""What one figure may take."""
AHEAD = 3
AHEAD_SECONDS = 1e-3
"""At least so many inferences, and for so long, keep the GPU busy while the host enqueues what is timed."""


@dataclass(frozen=True)
class Row:
    """One measurement. error: the largest difference of any output, relative to its largest magnitude."""

    network: str
    level: int
    build_seconds: float
    load_seconds: float
    steps: int
    one_us: float
    in_a_row_us: float
    enqueue_us: float
    numpy_us: float
    error: float
    arena_bytes: int
    tactics: dict[str, int]


@dataclass(frozen=True)
class Prepared:
    """A plan that is to be measured, and the largest error of its outputs."""

    network: str
    level: int
    graph: Graph
    plan: Plan
    build_seconds: float
    error: float


def prepared(item: str, config: BuildConfig, folder: Path | None, device: CudaDevice) -> Prepared:
    """A plan, built here unless its file is in the folder, and its errors.

    Raises:
        BuildError: it was to stop.
    """
    name, batch, type = item.split(":")
    graph, began = network(name, int(batch), type), time.perf_counter()
    path = None if folder is None else folder / f"{item.replace(':', '-')}.plan"
    if path is not None and path.exists():
        plan = read_plan(path)
    else:
        plan = build(graph, replace(config, tf32=type == "tf32"))
        if path is not None:
            write_plan(plan, path)
    built = time.perf_counter()
    with Engine(plan, device=device) as engine:
        error = _error(name, type, graph, engine, drawn_inputs(graph), device, config)
    return Prepared(item, config.level, graph, plan, built - began, error)


def measured(found: Prepared, device: CudaDevice) -> Row:
    plan, inputs = found.plan, drawn_inputs(found.graph)
    began = time.perf_counter()
    engine = Engine(plan, device=device)
    loaded = time.perf_counter() - began
    one, in_a_row, enqueue = _times(engine, inputs, device)
    tactics = [str(step["tactic"]) for step in plan.report["steps"]]
    once = partial(engine, inputs)
    once()
    return Row(
        network=found.network, level=found.level, build_seconds=found.build_seconds, load_seconds=loaded,
        steps=len(plan.steps), one_us=one, in_a_row_us=in_a_row, enqueue_us=enqueue,
        numpy_us=_median_us(once, _rounds(_seconds(once))), error=found.error, arena_bytes=plan.arena_bytes,
        tactics={tactic: tactics.count(tactic) for tactic in sorted(set(tactics))},
    )  # fmt: skip


def _error(
    name: str,
    type: str,
    graph: Graph,
    engine: Engine,
    inputs: dict[str, np.ndarray],
    device: CudaDevice,
    config: BuildConfig,
) -> float:
    outputs, batch = engine(inputs), next(iter(inputs.values())).shape[0]
    if batch == 1:
        expected = evaluate_graph(graph, inputs)
        return max(relative_error(outputs[key], expected[key]) for key in outputs)
    untimed = replace(config, level=0, timing_cache="")
    one = Engine(build(network(name, 1, type), untimed), device=device)
    errors = []
    for number in (0, batch - 1):
        part = one({key: np.ascontiguousarray(array[number : number + 1]) for key, array in inputs.items()})
        errors += [relative_error(outputs[key][number : number + 1], part[key]) for key in outputs]
    return max(errors)


def _times(engine: Engine, inputs: dict[str, np.ndarray], device: CudaDevice) -> tuple[float, float, float]:
    """Microseconds of an inference alone, of one among others, and of the host for enqueueing one."""
    context, stream, addresses = engine.create_execution_context(), device.create_stream(), []
    for binding in engine.bindings:
        size = int(np.prod([int(d) for d in binding.type.shape])) * binding.type.dtype.size
        addresses.append(device.allocator.allocate(size, 256, 0) or 0)
        if binding.mode == "input":
            device.upload(addresses[-1], inputs[binding.name].ctypes.data, size)
    once = partial(context.enqueue, None, addresses, stream)
    one = _between_events(device, stream, once, 1)
    in_a_row = _between_events(device, stream, once, IN_A_ROW)
    enqueue = _median_us(once, ROUNDS)
    stream.synchronize()
    for address in addresses:
        device.allocator.free(address)
    return one, in_a_row, enqueue


def _seconds(once: Callable[[], object]) -> float:
    began = time.perf_counter()
    once()
    return time.perf_counter() - began


def _rounds(seconds: float) -> int:
    """How often something that takes so long is timed: for half a second, but a few times at least."""
    return min(ROUNDS, max(FEWEST, int(SECONDS / seconds)))


def _between_events(device: CudaDevice, stream: CudaStream, run: Callable[[], object], count: int) -> float:
    start, end, times = CudaEvent(device.context), CudaEvent(device.context), []

    def alone() -> None:
        run()
        stream.synchronize()

    alone()
    seconds = _seconds(alone)
    ahead = max(AHEAD, ceil(AHEAD_SECONDS / seconds))
    for _ in range(_rounds(seconds * (ahead + count))):
        for _ in range(ahead):
            run()
        start.record(stream)
        for _ in range(count):
            run()
        end.record(stream)
        end.synchronize()
        times.append(start.elapsed_time(end) * 1e3 / count)
    return statistics.median(times)


def _median_us(run: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


def _stopped_by(path: Path | None) -> Cancellation:
    """What stops builds when a file comes."""
    stop = Cancellation()

    def watch(path: Path) -> None:
        while not path.exists():
            time.sleep(0.1)
        stop.cancel()

    if path is not None:
        threading.Thread(target=watch, args=(path,), daemon=True).start()
    return stop


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("networks", nargs="+", help="NAME:BATCH:TYPE")
    parser.add_argument("--levels", default="3")
    parser.add_argument("--gpu", type=int, default=0, help="the GPU that is measured")
    parser.add_argument("--build-gpu", type=int, help="the GPU that builds, an equal of it")
    parser.add_argument("--folder", type=Path, help="where plans are taken from and put")
    parser.add_argument("--libraries", nargs="*", default=[], help="libraries that may be called, by name")
    parser.add_argument("--timing-cache", default="", help="a file of timings: a second build with it is a warm one")
    parser.add_argument("--until", type=Path, help="a file at whose coming building ends")
    parser.add_argument("--after", type=Path, help="a file whose coming the measurements wait for")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device, stop = create(options.gpu), _stopped_by(options.until)
    builder = device if options.build_gpu is None else create(options.build_gpu)
    config = BuildConfig(
        device=builder.label, timing_cache=options.timing_cache, libraries=options.libraries, cancellation=stop
    )
    print(device.context.properties, flush=True)
    found, rows = list[Prepared](), list[Row]()
    for item in options.networks:
        for level in map(int, options.levels.split(",")):
            try:
                found.append(prepared(item, replace(config, level=level), options.folder, builder))
                seconds = found[-1].build_seconds
                print(f"{item} level {level}: built in {seconds:.1f} s, error {found[-1].error:.1e}", flush=True)
            except TensorwrightError as error:
                print(f"{item} level {level}: {error}", flush=True)
    print(READY, flush=True)
    while options.after is not None and not options.after.exists():
        time.sleep(0.1)
    for one in found:
        row = measured(one, device)
        rows.append(row)
        print(
            f"{row.network} level {row.level}: {row.in_a_row_us:.1f} us in a row, {row.one_us:.1f} one, "
            f"{row.enqueue_us:.1f} to enqueue, {row.numpy_us:.0f} with arrays; {row.steps} steps {row.tactics}, "
            f"built in {row.build_seconds:.1f} s, error {row.error:.1e}",
            flush=True,
        )
        if options.json:
            options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


if __name__ == "__main__":
    main()
