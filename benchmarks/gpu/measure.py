"""Builds networks for the GPU of this machine and measures them: ``python -m benchmarks.gpu.measure resnet50:1:f16 …``.

Every network is NAME:BATCH:TYPE. Times are between events of the GPU: around one inference behind others, and around
twenty of them, inputs and outputs on the device; medians. Outputs are compared with the operators' references in
float64, which takes long for large batches: those are compared with the network of batch 1.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.gpu.models import MODELS, TYPES, in_integers
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.devices.cuda.device import CudaDevice, create
from tensorwright.devices.cuda.stream import CudaEvent, CudaStream
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.graph import Graph
from tensorwright.importers.onnx.translate import import_onnx
from tensorwright.runtime.engine import Engine
from tensorwright.tune.tolerance import relative_error

IN_A_ROW = 20
ROUNDS = 40
AHEAD = 3
"""Inferences that keep the GPU busy while the host enqueues what is timed."""


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


def network(name: str, batch: int, type: str) -> Graph:
    """A network by name; "lenet" is the demo's."""
    if name != "lenet":
        made = MODELS[name](batch, TYPES[type])
        return in_integers(made) if type == "int8" else made
    graph = import_onnx("demo/lenet.onnx")
    return import_onnx("demo/lenet.onnx", shapes={n: (batch, *v.type.shape[1:]) for n, v in graph.inputs})


def measured(item: str, level: int, device: CudaDevice) -> Row:
    name, batch, type = item.split(":")
    graph, began = network(name, int(batch), type), time.perf_counter()
    plan = build(graph, BuildConfig(device="cuda", level=level, timing_cache="", tf32=type == "tf32"))
    built = time.perf_counter()
    engine = Engine(plan, device=device)
    loaded = time.perf_counter()
    rng = np.random.default_rng(7)
    shapes = {n: ([int(d) for d in v.type.shape], v.type.dtype.numpy) for n, v in graph.inputs}
    inputs = {n: rng.standard_normal(shape).astype(dtype) for n, (shape, dtype) in shapes.items()}
    error = _error(name, type, graph, engine, inputs, device)
    one, in_a_row, enqueue = _times(engine, inputs, device)
    tactics = [str(step["tactic"]) for step in plan.report["steps"]]
    return Row(
        network=item, level=level, build_seconds=built - began, load_seconds=loaded - built, steps=len(plan.steps),
        one_us=one, in_a_row_us=in_a_row, enqueue_us=enqueue, numpy_us=_median_us(partial(engine, inputs), ROUNDS),
        error=error, arena_bytes=plan.arena_bytes,
        tactics={tactic: tactics.count(tactic) for tactic in sorted(set(tactics))},
    )  # fmt: skip


def _error(
    name: str, type: str, graph: Graph, engine: Engine, inputs: dict[str, np.ndarray], device: CudaDevice
) -> float:
    outputs, batch = engine(inputs), next(iter(inputs.values())).shape[0]
    if batch == 1:
        expected = evaluate_graph(graph, inputs)
        return max(relative_error(outputs[key], expected[key]) for key in outputs)
    one = Engine(build(network(name, 1, type), BuildConfig(device="cuda", level=0, timing_cache="")), device=device)
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


def _between_events(device: CudaDevice, stream: CudaStream, run: Callable[[], object], count: int) -> float:
    start, end, times = CudaEvent(device.context), CudaEvent(device.context), []
    for _ in range(ROUNDS):
        for _ in range(AHEAD):
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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("networks", nargs="+", help="NAME:BATCH:TYPE")
    parser.add_argument("--levels", default="3")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device, rows = create(), []
    print(device.context.properties, flush=True)
    for item in options.networks:
        for level in map(int, options.levels.split(",")):
            row = measured(item, level, device)
            rows.append(row)
            print(
                f"{item} level {level}: {row.in_a_row_us:.1f} us in a row, {row.one_us:.1f} one, "
                f"{row.enqueue_us:.1f} to enqueue, {row.numpy_us:.0f} with arrays; {row.steps} steps {row.tactics}, "
                f"built in {row.build_seconds:.1f} s, error {row.error:.1e}",
                flush=True,
            )
            if options.json:
                options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


if __name__ == "__main__":
    main()
