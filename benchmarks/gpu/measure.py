"""Checks and times candidates and whole networks on a GPU: ``python -m benchmarks.gpu.measure NETWORK…``."""

from __future__ import annotations

import argparse
import json
import pickle
import statistics
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.gpu.candidates import kernels, network
from benchmarks.gpu.network import Network, lower
from tensorwright.codegen.cuda.targets import CudaTarget, cuda_target_for
from tensorwright.devices.buffer import Buffer
from tensorwright.devices.cuda.code import CudaCode, Launch
from tensorwright.devices.cuda.context import Context
from tensorwright.devices.cuda.library import driver
from tensorwright.devices.cuda.memory import ALIGNMENT, DeviceAllocator
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.kernel import CudaKernel
from tensorwright.tensor.arrange import from_layout
from tensorwright.tensor.dim import evaluate
from tensorwright.tune.cuda.runner import DeviceArrays, arranged, launch_of, time_launches
from tensorwright.tune.reference import random_inputs, reference_output, relative_error

REPEATS = 20
TOLERANCE = {"float16": 2e-3, "bfloat16": 2e-2, "float32": 1e-4}


class Candidates:
    """Times kernels of regions, checks each, and remembers the best of every signature."""

    def __init__(self, context: Context, target: CudaTarget, images: Mapping[str, bytes]) -> None:
        self._context, self._target, self._images = context, target, images
        self._known: dict[str, CudaKernel | None] = {}
        self.rows: list[dict[str, object]] = []

    def choose(self, region: Region) -> CudaKernel | None:
        if region.signature not in self._known:
            self._known[region.signature] = self._best(region)
        return self._known[region.signature]

    def _best(self, region: Region) -> CudaKernel | None:
        found = [kernel for kernel in kernels(region, self._target) if kernel.name in self._images]
        if not found:
            return None
        arrays = random_inputs(region, {}, np.random.default_rng(5))
        expected = reference_output(region, arrays, {})
        timed = []
        for kernel in found:
            micros, error = self._measured(region, kernel, arrays, expected)
            wrong = not error <= TOLERANCE[region.output.type.dtype.name]
            self.rows.append(
                {"region": str(region.output.type), "inputs": [str(t) for t in region.input_types],
                 "grid": [str(g) for g in kernel.grid], "block": kernel.block, "cluster": kernel.cluster,
                 "name": kernel.name, "us": micros, "error": error, "wrong": wrong}
            )  # fmt: skip
            if not wrong:
                timed.append((micros, kernel))
        return min(timed, key=lambda pair: pair[0])[1] if timed else None

    def _measured(
        self, region: Region, kernel: CudaKernel, arrays: list[np.ndarray], expected: np.ndarray
    ) -> tuple[float, float]:
        memory = DeviceArrays(self._context)
        function = CudaCode(self._context, self._images[kernel.name], kernel.name).function(kernel.name)
        inputs = [
            memory.place(array, value.type.dtype)
            for array, value in zip(arranged(region, kernel, arrays), region.inputs, strict=True)
        ]
        shape = tuple(evaluate(dim, {}) for dim in region.output.type.shape)
        output = memory.reserve(evaluate(kernel.output.elements(shape), {}), region.output.type.dtype)
        memory.poison(output)
        workspace = Buffer(DeviceAllocator(self._context), max(1, kernel.workspace), ALIGNMENT, "a workspace")
        launch = launch_of(kernel, [output.address, *(a.address for a in inputs), workspace.address], {})
        micros = statistics.median(time_launches(self._context, [(function, launch)], 10, REPEATS))
        actual = from_layout(memory.fetch(output), kernel.output, shape)
        if not np.isfinite(actual.astype(np.float64)).all():
            return micros, float("nan")
        return micros, relative_error(actual, expected)


def without_dependence(launch: Launch) -> Launch:
    return Launch(launch.grid, launch.block, launch.arguments, launch.cluster, launch.shared_bytes)


def measure(context: Context, target: CudaTarget, images: dict[str, bytes], item: str, folder: Path) -> None:
    name, batch, type = item.split(":")
    graph, start = network(name, int(batch), type), time.perf_counter()
    candidates = Candidates(context, target, images)
    optimised, steps = lower(graph, target, candidates.choose)
    chosen = time.perf_counter() - start
    missing = [step.kernel for step in steps if step.kernel.name not in images]
    if missing:
        from tensorwright.codegen.cuda.compile import compile_ptx

        images.update({k.name: compile_ptx(k.code, target).encode() for k in missing})
    used = {step.kernel.name: images[step.kernel.name] for step in steps}
    rng = np.random.default_rng(7)
    inputs = {
        n: rng.standard_normal([int(d) for d in v.type.shape]).astype(v.type.dtype.numpy) for n, v in graph.inputs
    }
    line = f"{item}: {len(steps)} kernels, candidates {chosen:.1f} s"
    for dependent in (False, True):
        built = Network(context, optimised, steps, used, dependent=dependent)
        outputs = built.run(inputs)
        times = time_launches(context, built.launches, 100)
        line += f"; {'dependent' if dependent else 'plain'} {statistics.median(times):.1f} us (min {min(times):.1f})"
        line += f", arena {built.arena_bytes / 1e6:.1f} MB"
    warm = Network(context, optimised, steps, used, same_weights=True)
    line += f"; with warm weights {statistics.median(time_launches(context, warm.launches, 100)):.1f}"
    each = []
    for step, (function, launch) in zip(steps, built.launches, strict=True):
        micros = statistics.median(time_launches(context, [(function, launch)], 5, REPEATS))
        each.append(
            {"step": step.region.name[:60], "ops": [v.op.name for v in step.region.values],
             "type": str(step.region.output.type), "us": micros, "grid": launch.grid, "block": launch.block,
             "cluster": launch.cluster, "kernel": step.kernel.name}
        )  # fmt: skip
    line += f"; sum of kernels alone {sum(float(e['us']) for e in each):.1f}"  # type: ignore[arg-type]
    expected_path = folder / f"expected-{name}-{batch}-{type}.npz"
    expected = np.load(expected_path) if expected_path.exists() else evaluate_graph(graph, inputs)
    errors = {n: relative_error(outputs[n], expected[n]) for n in outputs}
    print(f"{line}; errors {errors}", flush=True)
    slow = sorted(each, key=lambda e: -float(e["us"]))[:8]  # type: ignore[arg-type]
    for e in slow:
        print("   ", e["us"], e["type"], e["ops"], e["grid"], e["block"], e["cluster"], flush=True)
    wrong = [row for row in candidates.rows if row["wrong"]]
    print(f"    candidates: {len(candidates.rows)}, wrong: {len(wrong)}", wrong[:3], flush=True)
    (folder / f"{name}-{batch}-{type}.json").write_text(json.dumps({"steps": each, "candidates": candidates.rows}))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("networks", nargs="*", help="name:batch:type")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    context = Context(driver())
    print(context.properties, flush=True)
    target, images = cuda_target_for(context.properties.capability), {}
    for path in sorted(options.images.glob("*.pkl")):
        images.update(pickle.loads(path.read_bytes()))
    for item in options.networks:
        try:
            measure(context, target, images, item, options.folder)
        except Exception as error:  # noqa: BLE001 - the other networks are still worth the time
            import traceback

            traceback.print_exc()
            print(f"{item}: {error!r}", flush=True)


if __name__ == "__main__":
    main()
