"""`tensorrt.infer`: everything but parsers, `utils` and `lite`. Enumerations have both spellings."""

from __future__ import annotations

from tensorwright.api.logger import ILogger as Logger
from tensorwright.compat.tensorrt import enums
from tensorwright.compat.tensorrt.builder import (
    Builder,
    GpuAllocator,
    Runtime,
    create_infer_builder,
    create_infer_refitter,
    create_infer_runtime,
)
from tensorwright.compat.tensorrt.calibrators import (
    Calibrator,
    EntropyCalibrator,
    EntropyCalibrator2,
    LegacyCalibrator,
    MinMaxCalibrator,
)
from tensorwright.compat.tensorrt.dims import Dims, Dims2, Dims3, Dims4, DimsCHW, DimsHW, DimsNCHW, Permutation
from tensorwright.compat.tensorrt.engine import CudaEngine, ExecutionContext, HostMemory
from tensorwright.compat.tensorrt.enums import (
    ActivationType,
    CalibrationAlgoType,
    DataType,
    DeviceType,
    ElementWiseOperation,
    LayerType,
    LogSeverity,
    MatrixOperation,
    PaddingMode,
    PluginFormat,
    PluginType,
    PoolingType,
    ReduceOperation,
    ResizeMode,
    ScaleMode,
    TensorFormat,
    TensorLocation,
    TopKOperation,
    UnaryOperation,
    WeightsRole,
)
from tensorwright.compat.tensorrt.loggers import ColorLogger, ConsoleLogger
from tensorwright.compat.tensorrt.network import (
    ActivationLayer,
    ConcatenationLayer,
    ConstantLayer,
    ConvolutionLayer,
    DeconvolutionLayer,
    ElementWiseLayer,
    FullyConnectedLayer,
    GatherLayer,
    Layer,
    LRNLayer,
    MatrixMultiplyLayer,
    NetworkDefinition,
    PaddingLayer,
    PoolingLayer,
    ReduceLayer,
    ScaleLayer,
    ShuffleLayer,
    SliceLayer,
    SoftMaxLayer,
    Tensor,
    TopKLayer,
    UnaryLayer,
)
from tensorwright.compat.tensorrt.plugins import Plugin, PluginFactory
from tensorwright.compat.tensorrt.profilers import Profiler
from tensorwright.compat.tensorrt.weights import Weights

__all__ = [
    "ActivationLayer",
    "ActivationType",
    "Builder",
    "CalibrationAlgoType",
    "Calibrator",
    "ColorLogger",
    "ConcatenationLayer",
    "ConsoleLogger",
    "ConstantLayer",
    "ConvolutionLayer",
    "CudaEngine",
    "DataType",
    "DeconvolutionLayer",
    "DeviceType",
    "Dims",
    "Dims2",
    "Dims3",
    "Dims4",
    "DimsCHW",
    "DimsHW",
    "DimsNCHW",
    "ElementWiseLayer",
    "ElementWiseOperation",
    "EntropyCalibrator",
    "EntropyCalibrator2",
    "ExecutionContext",
    "FullyConnectedLayer",
    "GatherLayer",
    "GpuAllocator",
    "HostMemory",
    "LRNLayer",
    "Layer",
    "LayerType",
    "LegacyCalibrator",
    "LogSeverity",
    "Logger",
    "MatrixMultiplyLayer",
    "MatrixOperation",
    "MinMaxCalibrator",
    "NetworkDefinition",
    "PaddingLayer",
    "PaddingMode",
    "Permutation",
    "Plugin",
    "PluginFactory",
    "PluginFormat",
    "PluginType",
    "PoolingLayer",
    "PoolingType",
    "Profiler",
    "ReduceLayer",
    "ReduceOperation",
    "ResizeMode",
    "Runtime",
    "ScaleLayer",
    "ScaleMode",
    "ShuffleLayer",
    "SliceLayer",
    "SoftMaxLayer",
    "Tensor",
    "TensorFormat",
    "TensorLocation",
    "TopKLayer",
    "TopKOperation",
    "UnaryLayer",
    "UnaryOperation",
    "Weights",
    "WeightsRole",
    "create_infer_builder",
    "create_infer_refitter",
    "create_infer_runtime",
]


def __getattr__(name: str) -> object:
    """The second spelling of members of enumerations: `DataType_kFLOAT` is `DataType.FLOAT`."""
    kind, separator, member = name.partition("_k")
    if separator and kind in enums.__all__ and hasattr(getattr(enums, kind), member):
        found: object = getattr(getattr(enums, kind), member)
        return found
    raise AttributeError(f"module 'tensorrt.infer' has no attribute '{name}'")
