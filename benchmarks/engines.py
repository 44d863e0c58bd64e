"""Each engine at its best settings for one network, behind one small interface.

An engine's library is imported when the engine is made, so that each can live in an environment of its own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Engine(Protocol):
    """A loaded network: one input array in, the first output out."""

    def __call__(self, array: Array) -> Array: ...


class Tensorwright:
    """Built at the default level, of the float32 model; the plan is kept beside it."""

    def __init__(self, model: Path, threads: int, precision: str) -> None:
        from benchmarks.plans import load_or_build

        self._engine = load_or_build(model, threads, precision)
        self._name = self._engine.get_binding_name(0)

    def __call__(self, array: Array) -> Array:
        return next(iter(self._engine(array).values()))


class OnnxRuntime:
    """All graph optimisations, spinning threads, memory pattern on: its defaults for latency.

    In int8 it gets the model that its own `quantize_static` writes; it has no bfloat16 on CPUs.
    """

    def __init__(self, model: Path, threads: int, precision: str) -> None:
        import onnxruntime

        from benchmarks.quantised import quantised_file

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self._session = onnxruntime.InferenceSession(
            str(quantised_file(model) if precision == "int8" else model), options, providers=["CPUExecutionProvider"]
        )
        self._name = self._session.get_inputs()[0].name

    def __call__(self, array: Array) -> Array:
        return np.asarray(self._session.run(None, {self._name: array})[0])


class OpenVino:
    """Latency hint, one stream, computation in the type asked for; in int8 the model that ONNX Runtime gets."""

    def __init__(self, model: Path, threads: int, precision: str) -> None:
        import openvino

        from benchmarks.quantised import quantised_file

        core = openvino.Core()
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
        }
        self._request = core.compile_model(
            str(quantised_file(model) if precision == "int8" else model), "CPU", settings
        ).create_infer_request()

    def __call__(self, array: Array) -> Array:
        return np.asarray(self._request.infer([array], share_inputs=True)[0])


class Ncnn:
    """float32 throughout (no f16 or bf16 storage), Winograd and packed layouts on; converted by pnnx."""

    def __init__(self, model: Path, threads: int, precision: str) -> None:
        import ncnn

        del precision

        self._ncnn, parameters = ncnn, model.with_suffix(".ncnn.param")
        self._net = ncnn.Net()
        for name, value in {
            "num_threads": threads,
            "use_fp16_packed": False,
            "use_fp16_storage": False,
            "use_fp16_arithmetic": False,
            "use_bf16_storage": False,
            "use_winograd_convolution": True,
            "use_sgemm_convolution": True,
            "use_packing_layout": True,
            "lightmode": True,
        }.items():
            setattr(self._net.opt, name, value)
        self._net.load_param(str(parameters))
        self._net.load_model(str(model.with_suffix(".ncnn.bin")))

    def __call__(self, array: Array) -> Array:
        extractor = self._net.create_extractor()
        extractor.input("in0", self._ncnn.Mat(array[0]))
        _, output = extractor.extract("out0")
        return np.array(output)[None]


class Mnn:
    """float32 (precision high), converted by mnnconvert."""

    def __init__(self, model: Path, threads: int, precision: str) -> None:
        import MNN

        del precision

        self._mnn = MNN
        settings = {"backend": "CPU", "numThread": threads, "precision": "high"}
        runtime = MNN.nn.create_runtime_manager((settings,))
        self._net = MNN.nn.load_module_from_file(
            str(model.with_suffix(".mnn")), [], [], runtime_manager=runtime, shape_mutable=False
        )

    def __call__(self, array: Array) -> Array:
        mnn = self._mnn
        placed = mnn.expr.placeholder(list(array.shape), mnn.expr.NCHW, mnn.numpy.float32)
        placed.write(array)
        output = mnn.expr.convert(self._net.forward([placed])[0], mnn.expr.NCHW)
        return np.array(output.read())


ENGINES: Mapping[str, Callable[[Path, int, str], Engine]] = {
    "tensorwright": Tensorwright,
    "onnxruntime": OnnxRuntime,
    "openvino": OpenVino,
    "ncnn": Ncnn,
    "mnn": Mnn,
}

PRECISIONS: Mapping[str, tuple[str, ...]] = {
    "f32": tuple(ENGINES),
    "bf16": ("tensorwright", "openvino"),
    "int8": ("tensorwright", "onnxruntime", "openvino"),
}
"""The engines that compute in a type."""

DISTRIBUTIONS = {"onnxruntime": "onnxruntime", "openvino": "openvino", "ncnn": "ncnn", "mnn": "MNN"}


def convert(engine: str, model: Path, shape: tuple[int, ...], python: str) -> str:
    """Convert a model for an engine that does not read ONNX; returns why it cannot, empty if it can."""
    if engine == "ncnn" and not model.with_suffix(".ncnn.param").exists():
        sizes = "[" + ",".join(map(str, shape)) + "]f32"
        command = [_tool("pnnx", python), str(model), f"inputshape={sizes}", "fp16=0"]
        made = [model.with_suffix(".ncnn.param"), model.with_suffix(".ncnn.bin")]
    elif engine == "mnn" and not model.with_suffix(".mnn").exists():
        output = str(model.with_suffix(".mnn"))
        command = [_tool("mnnconvert", python), "-f", "ONNX", "--modelFile", str(model)]
        command += ["--MNNModel", output, "--bizCode", "benchmark"]
        made = [Path(output)]
    else:
        return ""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=model.parent, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"conversion failed: {error}"
    if result.returncode or not all(path.exists() for path in made):
        return f"conversion failed: {(result.stderr or result.stdout).strip()[-200:]}"
    return ""


def _tool(name: str, python: str) -> str:
    """A converter beside the engine's interpreter, or else on the search path."""
    beside = Path(python).parent / name
    return str(beside) if beside.exists() else shutil.which(name) or name


def main() -> None:
    """Serve one engine: reads commands from standard input, answers on standard output; see `benchmarks.compare`."""
    from benchmarks.serve import serve

    serve(sys.argv[1:], ENGINES)


if __name__ == "__main__":
    main()
