"""`tensorrt.lite`: a model in, arrays in, arrays out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tensorwright.api.logger import SHARED_LOGGER, ILogger, Severity
from tensorwright.base.errors import ExecutionError, ImportFailure
from tensorwright.compat.pycuda.copies import memcpy_dtoh, memcpy_htod
from tensorwright.compat.pycuda.memory import DeviceAllocation, mem_alloc
from tensorwright.compat.tensorrt import utils
from tensorwright.compat.tensorrt.builder import Runtime
from tensorwright.compat.tensorrt.calibrators import Calibrator
from tensorwright.compat.tensorrt.dims import Dims, DimsCHW
from tensorwright.compat.tensorrt.engine import CudaEngine
from tensorwright.compat.tensorrt.enums import DataType
from tensorwright.compat.tensorrt.loggers import ColorLogger
from tensorwright.compat.tensorrt.parsers.uffparser import create_uff_parser
from tensorwright.compat.tensorrt.plugins import PluginFactory
from tensorwright.compat.tensorrt.profilers import IProfiler
from tensorwright.tensor.dtype import DType

Array = npt.NDArray[np.generic]
Process = Callable[[Array], object]
File = str | os.PathLike[str]
CAFFE = ("caffe", "c1")
DEFAULT_WORKSPACE = 1 << 20


class Engine:
    """An engine with its context and memory.

    Args:
        framework: "tf", "uff", "caffe" (or "c1") or "onnx", with the arguments that say where the model is; none for a
            plan.
        path: the file of a model: a frozen graph, UFF or ONNX.
        stream: a frozen graph or a UFF model in memory.
        deployfile: a Caffe definition.
        modelfile: a Caffe model.
        PLAN: the file of a plan.
        engine_stream: a plan in memory.
        input_nodes: extents C, H and W of the inputs by name, for "tf" and "uff".
        output_nodes: names of the outputs; needed for all frameworks but "onnx".
        max_batch_size: the largest batch at once; larger ones are split.
        max_workspace_size: scratch bytes that any one layer may use.
        data_type: of the weights; see `utils.uff_to_trt_engine`.
        logger: hears of problems; None for the one in use, or else one that prints those of `logger_severity`.
        logger_severity: what is printed.
        device: 0, the only device.
        calibrator: for INT8: gives the batches on which the ranges of tensors are measured.
        profiler: hears how long each layer takes in each inference.
        plugins: see `UffParser.set_plugin_factory`.
        preprocessors: functions by name of input, applied to each case (C×H×W) before inference.
        postprocessors: functions by name of output, applied to each case (C×H×W) after inference.

    Raises:
        ExecutionError: the arguments do not say what to load.
        AssertionError: the model cannot be read or built; the logger was told why.
    """

    def __init__(
        self,
        *,
        framework: str | None = None,
        path: File | None = None,
        stream: object = None,
        deployfile: File | None = None,
        modelfile: File | None = None,
        PLAN: File | None = None,
        engine_stream: bytes | None = None,
        input_nodes: Mapping[str, Sequence[int]] | None = None,
        output_nodes: Sequence[str] = (),
        max_batch_size: int = 1,
        max_workspace_size: int = DEFAULT_WORKSPACE,
        data_type: DType = DataType.FLOAT,
        logger: ILogger | None = None,
        logger_severity: Severity = Severity.WARNING,
        device: int = 0,
        calibrator: Calibrator | None = None,
        profiler: IProfiler | None = None,
        plugins: PluginFactory | None = None,
        preprocessors: Mapping[str, Process] | None = None,
        postprocessors: Mapping[str, Process] | None = None,
    ) -> None:
        del device
        self.logger = logger or SHARED_LOGGER.in_use or ColorLogger(logger_severity)
        self.log_sev = logger_severity
        self.max_workspace_size = max_workspace_size
        self.data_type = data_type
        self.src_framework = framework
        self.preprocessors = dict(preprocessors or {})
        self.postprocessors = dict(postprocessors or {})
        self.runtime = Runtime(self.logger)
        if framework is None:
            self.engine = self._load(PLAN, engine_stream)
        else:
            limits = max_batch_size, max_workspace_size, data_type
            self.engine = self._build(
                framework.lower(), path or modelfile, stream, deployfile, input_nodes or {}, output_nodes, limits,
                plugins, calibrator,
            )  # fmt: skip
        self.max_batch_size = self.engine.inner.max_batch_size
        self.context = self.engine.create_execution_context()
        self.profiler = profiler
        self.context.set_profiler(profiler)
        self._allocate()

    def infer(self, *inputs: object) -> list[object]:
        """Run on one argument per input: an array C×H×W, an array N×C×H×W, or a list of arrays C×H×W.

        Returns:
            One item per output: an array N×C×H×W, or, with a postprocessor, the list of what it returns for each case.

        Raises:
            ExecutionError: number, batch or size of the inputs is wrong.
        """
        batches = [self._batch(name, given) for name, given in zip(self.input_names, self._all(inputs), strict=True)]
        count = len(batches[0])
        if any(len(batch) != count for batch in batches):
            raise ExecutionError(f"infer: expected inputs of the same batch, found {[len(batch) for batch in batches]}")
        parts = [self._run([batch[start:stop] for batch in batches]) for start, stop in self._parts(count)]
        outputs = [np.concatenate(pieces) for pieces in zip(*parts, strict=True)]
        return [
            self.apply_postprocessing(output, self.postprocessors[name]) if name in self.postprocessors else output
            for name, output in zip(self.output_names, outputs, strict=True)
        ]

    def apply_postprocessing(self, layer_data: Array, fn: Process) -> list[object]:
        """What a function returns for each case of an output."""
        return [fn(case) for case in layer_data]

    def save(self, path: File) -> bool:
        """Write the plan."""
        return utils.write_engine_to_file(path, self.engine.serialize())

    def destroy(self) -> None:
        """Close the engine."""
        self.engine.destroy()

    def _load(self, file: File | None, data: bytes | None) -> CudaEngine:
        if data is None and file is None:
            raise ExecutionError("lite.Engine: expected a framework, or a plan as PLAN (a file) or engine_stream")
        if data is None:
            return utils.load_engine(self.logger, file or "")
        engine = self.runtime.deserialize_cuda_engine(data)
        if engine is None:
            raise AssertionError("the engine cannot be loaded; the logger was told why")
        return engine

    def _build(
        self,
        framework: str,
        path: File | None,
        stream: object,
        deployfile: File | None,
        input_nodes: Mapping[str, Sequence[int]],
        output_nodes: Sequence[str],
        limits: tuple[int, int, DType],
        plugins: PluginFactory | None,
        calibrator: Calibrator | None,
    ) -> CudaEngine:
        batch, workspace, dtype = limits
        if framework in CAFFE:
            if deployfile is None:
                raise ExecutionError("lite.Engine: expected deployfile for a Caffe model")
            return utils.caffe_to_trt_engine(
                self.logger, deployfile, path, batch, workspace, output_nodes, dtype, plugins, calibrator
            )
        if framework == "onnx" and path is not None:
            return utils.onnx_to_trt_engine(self.logger, path, batch, workspace, dtype, calibrator)
        if framework not in ("tf", "uff") or (path is None and stream is None):
            raise ExecutionError(
                "lite.Engine: expected framework 'tf', 'uff', 'caffe', 'c1' or 'onnx' and the path (or stream) of the "
                f"model, found {framework!r}"
            )
        parser = create_uff_parser()
        for number, (name, extents) in enumerate(input_nodes.items()):
            if not parser.register_input(name, extents, 0):
                raise AssertionError(f"input {number}, '{name}', cannot be registered; the logger was told why")
        for name in output_nodes:
            parser.register_output(name)
        model = _uff(framework, path, stream, output_nodes)
        return utils.uff_to_trt_engine(self.logger, model, parser, batch, workspace, dtype, plugins, calibrator)

    def _allocate(self) -> None:
        engine = self.engine
        modes = [(binding.name, binding.mode) for binding in engine.inner.bindings]
        self.input_names = [name for name, mode in modes if mode == "input"]
        self.output_names = [name for name, mode in modes if mode == "output"]
        self.input_dim = [_chw(engine.get_binding_dimensions(name)) for name in self.input_names]
        self.output_dim = [_chw(engine.get_binding_dimensions(name)) for name in self.output_names]
        self.d_input = [self._memory(name) for name in self.input_names]
        self.d_output = [self._memory(name) for name in self.output_names]
        memories = dict(zip([*self.input_names, *self.output_names], [*self.d_input, *self.d_output], strict=True))
        self.bindings = [int(memories[name]) for name, _ in modes]

    def _memory(self, name: str) -> DeviceAllocation:
        elements = self.engine.get_binding_dimensions(name).volume()
        return mem_alloc(self.max_batch_size * elements * self.engine.inner.get_binding_dtype(name).size)

    def _all(self, inputs: tuple[object, ...]) -> tuple[object, ...]:
        if len(inputs) != len(self.input_names):
            raise ExecutionError(
                f"infer: expected {len(self.input_names)} inputs ({', '.join(self.input_names)}), found {len(inputs)}"
            )
        return inputs

    def _batch(self, name: str, given: object) -> Array:
        dims = self.input_dim[self.input_names.index(name)]
        dtype = self.engine.inner.get_binding_dtype(name).numpy
        array = np.asarray(given)
        single = array.size == dims.volume() and array.ndim <= 3
        cases = [array] if single else list(array)
        if name in self.preprocessors:
            cases = [np.asarray(self.preprocessors[name](case)) for case in cases]
        if not cases or any(case.size != dims.volume() for case in cases):
            raise ExecutionError(
                f"infer: expected cases of {dims!r} for input '{name}', found an array of shape {array.shape}"
            )
        return np.stack([np.asarray(case, dtype).reshape(dims) for case in cases])

    def _parts(self, count: int) -> Iterator[tuple[int, int]]:
        return ((start, start + self.max_batch_size) for start in range(0, count, self.max_batch_size))

    def _run(self, inputs: Sequence[Array]) -> list[Array]:
        for memory, array in zip(self.d_input, inputs, strict=True):
            memcpy_htod(memory, array)
        self.context.execute(len(inputs[0]), self.bindings)
        outputs = []
        for name, dims, memory in zip(self.output_names, self.output_dim, self.d_output, strict=True):
            output = np.empty((len(inputs[0]), *dims), self.engine.inner.get_binding_dtype(name).numpy)
            memcpy_dtoh(output, memory)
            outputs.append(output)
        return outputs


def _chw(dims: Dims) -> DimsCHW | Dims:
    return dims.to_DimsCHW() if len(dims) <= 3 else dims


def _uff(framework: str, path: File | None, stream: object, outputs: Sequence[str]) -> bytes:
    if framework == "tf":
        from tensorwright.compat import uff

        source = path if stream is None else stream
        data: object = uff.from_tensorflow(source, list(outputs), quiet=True)  # type: ignore[arg-type]
    else:
        data = Path(path or "").read_bytes() if stream is None else stream
    if not isinstance(data, bytes | bytearray | memoryview):
        raise ImportFailure(f"lite.Engine: expected a UFF model as bytes, found {type(data).__name__}")
    return bytes(data)
