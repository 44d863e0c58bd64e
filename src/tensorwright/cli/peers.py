"""What the bench can measure beside tensorwright. Each is imported only when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tensorwright.cli.arrays import Array
from tensorwright.cli.command import UsageError

Runner = Callable[[], Mapping[str, Array]]


def onnxruntime_runner(model: Path, threads: int, inputs: Mapping[str, Array]) -> Runner:
    """One inference of a model by ONNX Runtime on its CPU provider, with all its optimisations."""
    try:
        import onnxruntime
    except ImportError:
        raise UsageError("--against onnxruntime: it is not installed; pip install onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    feed = dict(inputs)

    def run() -> Mapping[str, Array]:
        return dict(zip(names, session.run(names, feed), strict=True))

    return run


PEERS: Mapping[str, Callable[[Path, int, Mapping[str, Array]], Runner]] = {"onnxruntime": onnxruntime_runner}
