"""What the bench can measure beside tensorwright. Each is imported only when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from tensorwright.cli.arrays import Array
from tensorwright.cli.command import UsageError

Runner = Callable[[], Mapping[str, Array]]


class Maker(Protocol):
    """Makes one inference of a model on given inputs.

    exact: where sums of products of bytes would saturate they are computed in a way that takes longer.
    """

    def __call__(self, model: Path, threads: int, inputs: Mapping[str, Array], *, exact: bool = False) -> Runner: ...


def onnxruntime_runner(model: Path, threads: int, inputs: Mapping[str, Array], *, exact: bool = False) -> Runner:
    """By ONNX Runtime on its CPU provider, with all its optimisations. Its sums saturate on x86 without VNNI."""
    try:
        import onnxruntime
    except ImportError:
        raise UsageError("--against onnxruntime: it is not installed; pip install onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    if exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    feed = dict(inputs)

    def run() -> Mapping[str, Array]:
        return dict(zip(names, session.run(names, feed), strict=True))

    return run


PEERS: Mapping[str, Maker] = {"onnxruntime": onnxruntime_runner}
