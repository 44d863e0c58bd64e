"""ONNX Runtime's CUDA provider on the same networks: ``python -m benchmarks.gpu.onnxruntime_peer resnet50:1:f16 …``.

A network is written as ONNX in its own type. Convolutions are searched for exhaustively, with images channels first
and channels last; transformers also go through ONNX Runtime's own optimiser, which finds their attention. Inputs and
outputs are on the device, and kernels in a stream of PyTorch, so that PyTorch records them into a CUDA graph and times
it as its own (`benchmarks.gpu.peers`); where that fails, ONNX Runtime's own graph or plain runs are timed in the same
way. The fastest of all counts.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from benchmarks.gpu.networks import Task, task
from benchmarks.gpu.peers import Recorded, recorded, timed
from benchmarks.gpu.waiting import Measure, parser, take_part

PROVIDER = "CUDAExecutionProvider"
HOST_FUNCTION = 3
"""The driver's CU_GRAPH_NODE_TYPE_HOST."""
TRANSFORMERS = ("bert", "minilm", "vit_base")


@dataclass(frozen=True)
class Bound:
    """A session with its input and output on the device; a run enqueues kernels in a stream of PyTorch."""

    stream: Any
    run: Callable[[], None]
    output: Any


def prepared(item: str) -> Measure:
    """Work out what a network has to compute; sessions are made when it is measured, since they time algorithms."""
    return partial(measure, task(item))


def measure(task: Task) -> Mapping[str, Any]:
    """The fastest way's microseconds and error, and what all ways took, by name."""
    best, ways = {"us": float("inf"), "error": float("nan")}, {}
    for name, model, options in variants(task):
        try:
            way, microseconds, error = fastest(task, model, options)
        except Exception as problem:  # noqa: BLE001
            print(f"{task.item}: {name} fails: {_line(problem)}", flush=True)
            continue
        ways[f"{name}, {way}"] = microseconds
        if microseconds < best["us"]:
            best = {"us": microseconds, "error": error}
    if not ways:
        raise RuntimeError("no way to run it is left")
    return {**best, "ways": ways}


def variants(task: Task) -> Iterator[tuple[str, bytes, Mapping[str, str]]]:
    """Models and options of the provider to try, by name."""
    from benchmarks.written import onnx_model

    model = onnx_model(task.graph, reads_tokens=False)
    options = {
        "cudnn_conv_algo_search": "EXHAUSTIVE",
        "cudnn_conv_use_max_workspace": "1",
        "use_tf32": "1" if task.type == "tf32" else "0",
    }
    yield "channels first", model.SerializeToString(), options
    if any(node.op_type == "Conv" for node in model.graph.node):
        yield "channels last", model.SerializeToString(), {**options, "prefer_nhwc": "1"}
    if task.name in TRANSFORMERS:
        yield "optimised", optimised(model), options


def optimised(model: onnx.ModelProto) -> bytes:
    """A transformer after ONNX Runtime's own optimiser, which knows scores that are divided, not multiplied."""
    from onnxruntime.transformers.optimizer import optimize_model

    numbers = {tensor.name: tensor for tensor in model.graph.initializer if not tensor.dims}
    scaling = [node for node in model.graph.node if node.op_type == "Mul" and node.input[1] in numbers]
    for name in {node.input[1] for node in scaling}:
        numbers[name].CopyFrom(numpy_helper.from_array(1 / numpy_helper.to_array(numbers[name]), name))
    for node in scaling:
        node.op_type = "Div"
    return optimize_model(model, "bert", opt_level=0, use_gpu=True).model.SerializeToString()


def fastest(task: Task, model: bytes, options: Mapping[str, str]) -> tuple[str, float, float]:
    """How a model is run, in a graph if that can be, its microseconds and its error."""
    import torch

    bound = bind(task, model, options)
    try:
        name, enqueue = "in PyTorch's graph", _recorded(bound).replay
    except Exception as problem:  # noqa: BLE001
        print(f"{task.item}: PyTorch cannot record it: {_line(problem)}", flush=True)
        name, bound = _replaying(task, model, options)
        enqueue = bound.run
    with torch.cuda.stream(bound.stream):
        microseconds = timed(enqueue)
        bound.output.update_inplace(np.full_like(bound.output.numpy(), np.nan))
        enqueue()
        torch.cuda.synchronize()
    return name, microseconds, task.error(bound.output.numpy())


def _recorded(bound: Bound) -> Recorded:
    """A graph of a run.

    Raises:
        RuntimeError: it cannot be replayed, because it calls a function of the host, which ends what it was given.
    """
    made = recorded(bound.run, bound.stream)
    if HOST_FUNCTION in node_kinds(made.graph.raw_cuda_graph()):
        raise RuntimeError("expected kernels and copies alone, found a function of the host")
    return made


def node_kinds(graph: int) -> list[int]:
    """The driver's numbers for the kinds of a CUDA graph's nodes."""
    driver, count, kind = ctypes.CDLL("libcuda.so.1"), ctypes.c_size_t(), ctypes.c_int()
    driver.cuGraphGetNodes(ctypes.c_void_p(graph), None, ctypes.byref(count))
    nodes = (ctypes.c_void_p * count.value)()
    driver.cuGraphGetNodes(ctypes.c_void_p(graph), nodes, ctypes.byref(count))
    kinds = []
    for node in nodes:
        driver.cuGraphNodeGetType(ctypes.c_void_p(node), ctypes.byref(kind))
        kinds.append(kind.value)
    return kinds


def _replaying(task: Task, model: bytes, options: Mapping[str, str]) -> tuple[str, Bound]:
    """A session that records its own graph, or else one that does not."""
    try:
        bound = bind(task, model, {**options, "enable_cuda_graph": "1"})
        bound.run()
        return "in its own graph", bound
    except Exception as problem:  # noqa: BLE001
        print(f"{task.item}: it cannot record its own graph: {_line(problem)}", flush=True)
        return "without a graph", bind(task, model, options)


def bind(task: Task, model: bytes, options: Mapping[str, str]) -> Bound:
    """A session with arrays on the device.

    Raises:
        RuntimeError: the provider could not be loaded.
    """
    import onnxruntime
    import torch

    stream = torch.cuda.Stream()
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model, settings, providers=[(PROVIDER, {**options, "user_compute_stream": str(stream.cuda_stream)})]
    )
    if PROVIDER not in session.get_providers():
        raise RuntimeError(f"expected a session on {PROVIDER}, found {session.get_providers()}: is CUDA 13 there?")
    ((_, result),) = task.graph.outputs
    shape = [int(extent) for extent in result.type.shape]
    given = onnxruntime.OrtValue.ortvalue_from_numpy(task.given, "cuda", 0)
    output = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(shape, result.type.dtype.numpy), "cuda", 0)
    binding = session.io_binding()
    binding.bind_ortvalue_input(session.get_inputs()[0].name, given)
    binding.bind_ortvalue_output(session.get_outputs()[0].name, output)
    how = onnxruntime.RunOptions()
    how.add_run_config_entry("disable_synchronize_execution_providers", "1")
    return Bound(stream, lambda: session.run_with_iobinding(binding, how), output)


def _line(problem: Exception) -> str:
    return f"{type(problem).__name__}: {problem}".splitlines()[0][:300]


def problem() -> str:
    """Why ONNX Runtime cannot take part; empty if it can."""
    try:
        import onnxruntime
        import torch
    except ImportError as error:
        return str(error)
    found = onnxruntime.get_available_providers()
    if PROVIDER not in found:
        return f"expected {PROVIDER} in onnxruntime {onnxruntime.__version__}, found {', '.join(found)}"
    return "" if torch.cuda.is_available() else "PyTorch finds no GPU"


def main() -> None:
    options = parser().parse_args()
    if found := problem():
        print(f"ONNX Runtime is left out: {found}", flush=True)
    else:
        take_part(options, prepared)


if __name__ == "__main__":
    main()
