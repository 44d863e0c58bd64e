"""The demo's LeNet on a GPU by generic kernels in one graph: ``python -m benchmarks.gpu.lenet``."""

from __future__ import annotations

import statistics
import sys

import numpy as np

from benchmarks.gpu.network import Network, lower
from tensorwright.codegen.cuda.compile import assemble, compile_ptx, find_assembler
from tensorwright.codegen.cuda.targets import cuda_target_for
from tensorwright.devices.cuda.context import Context
from tensorwright.devices.cuda.library import driver
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.importers.onnx.translate import import_onnx
from tensorwright.tune.cuda.runner import time_launches
from tensorwright.tune.reference import relative_error


def main(path: str) -> None:
    context = Context(driver())
    target = cuda_target_for(context.properties.capability)
    graph = import_onnx(path)
    if graph.symbols():
        graph = import_onnx(path, shapes={name: (1, *value.type.shape[1:]) for name, value in graph.inputs})
    optimised, steps = lower(graph, target, lambda _: None)
    images = {}
    for step in steps:
        ptx = compile_ptx(step.kernel.code, target)
        images[step.kernel.name] = assemble(ptx, target)[0] if find_assembler() else ptx.encode()
    built = Network(context, optimised, steps, images)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        inputs = {n: rng.standard_normal([int(d) for d in v.type.shape]).astype(np.float32) for n, v in graph.inputs}
        outputs, expected = built.run(inputs), evaluate_graph(graph, inputs)
        print("errors", {name: relative_error(outputs[name], expected[name]) for name in outputs})
    times = time_launches(context, built.launches, 200)
    print(f"LeNet: {len(steps)} kernels, {statistics.median(times):.1f} us (min {min(times):.1f})")
    for step, (function, launch) in zip(steps, built.launches, strict=True):
        micros = statistics.median(time_launches(context, [(function, launch)], 5, 20))
        print(f"    {micros:.2f} {step.region.output.type} {[v.op.name for v in step.region.values]} {launch.grid}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "demo/lenet.onnx")
