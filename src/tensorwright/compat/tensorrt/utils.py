"""`tensorrt.utils`: from a model to an engine, and engines and weights in files, in one call."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tensorwright.api.logger import ILogger, Severity
from tensorwright.base.errors import ImportFailure
from tensorwright.base.files import replacing
from tensorwright.compat.tensorrt.builder import Builder, Runtime
from tensorwright.compat.tensorrt.calibrators import Calibrator
from tensorwright.compat.tensorrt.engine import CudaEngine
from tensorwright.compat.tensorrt.enums import DataType
from tensorwright.compat.tensorrt.network import NetworkDefinition
from tensorwright.compat.tensorrt.parsers.caffeparser import create_caffe_parser
from tensorwright.compat.tensorrt.parsers.onnxparser import OnnxParser
from tensorwright.compat.tensorrt.parsers.uffparser import UffParser
from tensorwright.compat.tensorrt.plugins import PluginFactory, tell_not_asked
from tensorwright.compat.tensorrt.weights import Weights

File = str | os.PathLike[str]
WEIGHT_TYPES = {0: np.uint32, 1: np.uint16, 2: np.uint8, 3: np.uint32}
"""How a weight of each type is written; the bits are then read as the type itself."""
WEIGHT_VALUES = {0: np.float32, 1: np.float16, 2: np.int8, 3: np.int32}


def uff_to_trt_engine(
    logger: ILogger,
    stream: bytes,
    parser: UffParser,
    max_batch_size: int,
    max_workspace_size: int,
    datatype: object = DataType.FLOAT,
    plugin_factory: PluginFactory | None = None,
    calibrator: Calibrator | None = None,
) -> CudaEngine:
    """The engine of a UFF model in memory.

    Args:
        logger: hears of problems.
        stream: the model.
        parser: knows inputs and outputs already.
        max_batch_size: the largest batch.
        max_workspace_size: scratch bytes that any one layer may use.
        datatype: DataType.FLOAT, or HALF for weights of that type.
        plugin_factory: see `UffParser.set_plugin_factory`.
        calibrator: for INT8: gives the batches on which the ranges of tensors are measured.

    Raises:
        AttributeError: INT8 without a calibrator, or INT32.
        AssertionError: the model cannot be read or built; the logger was told why.
    """
    if plugin_factory is not None:
        parser.set_plugin_factory(plugin_factory)
    return _engine(
        logger,
        lambda network, dtype: parser.parse(stream, network, dtype),
        (max_batch_size, max_workspace_size, datatype, calibrator),
        "UFF",
    )


def uff_file_to_trt_engine(
    logger: ILogger,
    uff_file: File,
    parser: UffParser,
    max_batch_size: int,
    max_workspace_size: int,
    datatype: object = DataType.FLOAT,
    plugin_factory: PluginFactory | None = None,
    calibrator: Calibrator | None = None,
) -> CudaEngine:
    """As `uff_to_trt_engine`, from a file."""
    data = Path(uff_file).read_bytes()
    return uff_to_trt_engine(
        logger, data, parser, max_batch_size, max_workspace_size, datatype, plugin_factory, calibrator
    )


def caffe_to_trt_engine(
    logger: ILogger,
    deploy_file: File,
    model_file: File | None,
    max_batch_size: int,
    max_workspace_size: int,
    output_layers: Sequence[str],
    datatype: object = DataType.FLOAT,
    plugin_factory: PluginFactory | None = None,
    calibrator: Calibrator | None = None,
) -> CudaEngine:
    """The engine of a Caffe model; `output_layers` are the blobs to compute. Errors as in `uff_to_trt_engine`."""
    parser = create_caffe_parser()
    parser.set_plugin_factory(plugin_factory)

    def parse(network: NetworkDefinition, dtype: object) -> bool:
        blobs = parser.parse(deploy_file, model_file, network, dtype)
        if blobs is None:
            return False
        for name in output_layers:
            tensor = blobs.find(name)
            if tensor is None:
                raise ImportFailure(f"the network has no blob '{name}'; it has {', '.join(blobs.inner)}")
            network.mark_output(tensor)
        return True

    return _engine(logger, parse, (max_batch_size, max_workspace_size, datatype, calibrator), "Caffe")


def onnx_to_trt_engine(
    logger: ILogger,
    model_file: File,
    max_batch_size: int,
    max_workspace_size: int,
    datatype: object = DataType.FLOAT,
    calibrator: Calibrator | None = None,
) -> CudaEngine:
    """The engine of an ONNX model. Errors as in `uff_to_trt_engine`."""

    def parse(network: NetworkDefinition, dtype: object) -> bool:
        del dtype  # The network has the types that the model says.
        return OnnxParser(network, logger).inner.parse_from_file(model_file)

    return _engine(logger, parse, (max_batch_size, max_workspace_size, datatype, calibrator), "ONNX")


def trt_network_to_trt_engine(
    logger: ILogger,
    network: NetworkDefinition,
    max_batch_size: int,
    max_workspace_size: int,
    datatype: object = DataType.FLOAT,
    plugin_factory: PluginFactory | None = None,
    calibrator: Calibrator | None = None,
) -> CudaEngine:
    """The engine of a network definition, whose outputs are marked. Errors as in `uff_to_trt_engine`."""
    tell_not_asked(plugin_factory, logger)
    builder = _builder(logger, max_batch_size, max_workspace_size, datatype, calibrator)
    return _built(builder, network)


def load_engine(logger: ILogger, filepath: File, plugins: PluginFactory | None = None) -> CudaEngine:
    """The engine of a file that `write_engine_to_file` wrote.

    Raises:
        AssertionError: it is no plan for this machine; the logger was told why.
    """
    engine = Runtime(logger).deserialize_cuda_engine(Path(filepath).read_bytes(), None, plugins)
    if engine is None:
        raise AssertionError(f"the engine in {os.fspath(filepath)} cannot be loaded; the logger was told why")
    return engine


def write_engine_to_file(filepath: File, serialized_engine: bytes | bytearray | memoryview) -> bool:
    """Write the bytes that `engine.serialize()` returns. True, as scripts expect."""
    with replacing(filepath) as file:
        file.write(serialized_engine)
    return True


def load_weights(filepath: File) -> dict[str, Weights]:
    """Weights by name, from a text file.

    The first line is their number; each further one is a name, a type (0 float32, 1 float16, 2 int8, 3 int32), the
    number of values, and the bits of each value in hexadecimal.

    Raises:
        ImportFailure: the file is not like that; the message names the line.
    """
    lines = Path(filepath).read_text().splitlines()
    where = os.fspath(filepath)
    if not lines or not lines[0].strip().isdigit() or len(lines) - 1 < int(lines[0]):
        raise ImportFailure(f"{where}: expected the number of weights and as many lines, found {len(lines)} lines")
    return dict(_weights(f"{where}, line {number + 2}", lines[number + 1]) for number in range(int(lines[0])))


def _weights(where: str, line: str) -> tuple[str, Weights]:
    try:
        name, kind, count, *values = line.split()
        numbers = [int(value, 16) for value in values]
        bits = np.array(numbers, WEIGHT_TYPES[int(kind)])
    except (ValueError, KeyError, OverflowError) as error:
        raise ImportFailure(f"{where}: expected a name, a type, a count and values in hexadecimal ({error})") from None
    if len(values) != int(count):
        raise ImportFailure(f"{where}: '{name}' should have {count} values, found {len(values)}")
    return name, Weights(bits.view(WEIGHT_VALUES[int(kind)]))


def _engine(
    logger: ILogger,
    parse: Callable[[NetworkDefinition, object], bool],
    options: tuple[int, int, object, Calibrator | None],
    what: str,
) -> CudaEngine:
    builder = _builder(logger, *options)
    network = builder.create_network()
    weights = DataType.HALF if options[2] == DataType.HALF else DataType.FLOAT
    try:
        parsed = parse(network, weights)
    except ImportFailure as error:
        logger.log(Severity.ERROR, str(error))
        parsed = False
    if not parsed:
        raise AssertionError(f"the {what} model cannot be parsed; the logger was told why")
    return _built(builder, network)


def _builder(
    logger: ILogger, max_batch_size: int, max_workspace_size: int, datatype: object, calibrator: Calibrator | None
) -> Builder:
    builder = Builder(logger)
    state = builder.inner
    state.max_batch_size = max_batch_size
    state.max_workspace_size = max_workspace_size
    state.int8_calibrator = calibrator
    if datatype == DataType.HALF:
        state.half2_mode = True
    elif datatype == DataType.INT8:
        if calibrator is None:
            raise AttributeError("datatype INT8: a calibrator is needed")
        state.int8_mode = True
    elif datatype == DataType.INT32:
        raise AttributeError("datatype INT32: expected DataType.FLOAT, HALF or INT8")
    return builder


def _built(builder: Builder, network: NetworkDefinition) -> CudaEngine:
    engine = builder.build_cuda_engine(network)
    if engine is None:
        raise AssertionError("the engine cannot be built; the logger was told why")
    return engine
