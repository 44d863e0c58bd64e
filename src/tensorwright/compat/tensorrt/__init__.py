"""`tensorrt` on the CPU: the interface of versions 3 and 4, and beside it the names of versions 5 to 8."""

from __future__ import annotations

import sys

import numpy as np

from tensorwright.api.config import BuilderConfig, OptimizationProfile, TimingCache
from tensorwright.api.enums import ErrorCode
from tensorwright.api.monitor import IProgressMonitor
from tensorwright.api.parser import ParserError
from tensorwright.compat.tensorrt import infer, lite, parsers, utils
from tensorwright.compat.tensorrt.builder import Builder, GpuAllocator, Runtime
from tensorwright.compat.tensorrt.calibrators import (
    Calibrator,
    EntropyCalibrator,
    EntropyCalibrator2,
    LegacyCalibrator,
    MinMaxCalibrator,
)
from tensorwright.compat.tensorrt.dims import Dims, Dims2, Dims3, Dims4, DimsCHW, DimsHW, DimsNCHW, Permutation, volume
from tensorwright.compat.tensorrt.engine import CudaEngine, ExecutionContext, HostMemory
from tensorwright.compat.tensorrt.enums import (
    ActivationType,
    BuilderFlag,
    CalibrationAlgoType,
    DataType,
    DeviceType,
    ElementWiseOperation,
    ExecutionContextAllocationStrategy,
    GatherMode,
    InterpolationMode,
    LayerType,
    MatrixOperation,
    MemoryPoolType,
    NetworkDefinitionCreationFlag,
    PaddingMode,
    PoolingType,
    ReduceOperation,
    ResizeMode,
    RNNDirection,
    RNNGateType,
    RNNInputMode,
    RNNOperation,
    SampleMode,
    ScaleMode,
    TacticSource,
    TensorFormat,
    TensorIOMode,
    TensorLocation,
    TopKOperation,
    UffInputOrder,
    UnaryOperation,
    WeightsRole,
)
from tensorwright.compat.tensorrt.loggers import ILogger, Logger
from tensorwright.compat.tensorrt.network import Layer, NetworkDefinition, Tensor
from tensorwright.compat.tensorrt.outputs import OutputAllocator
from tensorwright.compat.tensorrt.parsers.caffeparser import BinaryProtoBlob, BlobNameToTensor, CaffeParser
from tensorwright.compat.tensorrt.parsers.onnxparser import OnnxParser
from tensorwright.compat.tensorrt.parsers.uffparser import UffParser
from tensorwright.compat.tensorrt.plugins import PluginFactory, init_libnvinfer_plugins
from tensorwright.compat.tensorrt.profilers import IProfiler, Profiler
from tensorwright.compat.tensorrt.weights import Weights
from tensorwright.tensor.dtype import DType

__version__ = "8.0.0"
"""The latest version whose interface, implicit batch included, this module has. It is no version of TensorRT."""

ICudaEngine = CudaEngine
IExecutionContext = ExecutionContext
IHostMemory = HostMemory
INetworkDefinition = NetworkDefinition
ITensor = Tensor
ILayer = Layer
IBuilder = Builder
IBuilderConfig = BuilderConfig
IOptimizationProfile = OptimizationProfile
ITimingCache = TimingCache
IGpuAllocator = GpuAllocator
IInt8Calibrator = Calibrator
IInt8EntropyCalibrator = EntropyCalibrator
IInt8EntropyCalibrator2 = EntropyCalibrator2
IInt8LegacyCalibrator = LegacyCalibrator
IInt8MinMaxCalibrator = MinMaxCalibrator
IOutputAllocator = OutputAllocator
IPluginFactory = PluginFactory

float32 = DataType.FLOAT
float16 = DataType.HALF
bfloat16 = DataType.BF16
int8 = DataType.INT8
int32 = DataType.INT32
int64 = DataType.INT64
bool = DataType.BOOL
uint8 = DataType.UINT8

__all__ = [
    "ActivationType",
    "BinaryProtoBlob",
    "BlobNameToTensor",
    "Builder",
    "BuilderConfig",
    "BuilderFlag",
    "CaffeParser",
    "CalibrationAlgoType",
    "DataType",
    "DeviceType",
    "Dims",
    "Dims2",
    "Dims3",
    "Dims4",
    "DimsCHW",
    "DimsHW",
    "DimsNCHW",
    "ElementWiseOperation",
    "ErrorCode",
    "ExecutionContextAllocationStrategy",
    "GatherMode",
    "IBuilder",
    "IBuilderConfig",
    "ICudaEngine",
    "IExecutionContext",
    "IGpuAllocator",
    "IHostMemory",
    "IInt8Calibrator",
    "IInt8EntropyCalibrator",
    "IInt8EntropyCalibrator2",
    "IInt8LegacyCalibrator",
    "IInt8MinMaxCalibrator",
    "ILayer",
    "ILogger",
    "INetworkDefinition",
    "IOptimizationProfile",
    "IOutputAllocator",
    "IPluginFactory",
    "IProfiler",
    "IProgressMonitor",
    "ITensor",
    "ITimingCache",
    "InterpolationMode",
    "LayerType",
    "Logger",
    "MatrixOperation",
    "MemoryPoolType",
    "NetworkDefinitionCreationFlag",
    "OnnxParser",
    "PaddingMode",
    "ParserError",
    "Permutation",
    "PoolingType",
    "Profiler",
    "RNNDirection",
    "RNNGateType",
    "RNNInputMode",
    "RNNOperation",
    "ReduceOperation",
    "ResizeMode",
    "Runtime",
    "SampleMode",
    "ScaleMode",
    "TacticSource",
    "TensorFormat",
    "TensorIOMode",
    "TensorLocation",
    "TopKOperation",
    "UffInputOrder",
    "UffParser",
    "UnaryOperation",
    "Weights",
    "WeightsRole",
    "bfloat16",
    "bool",
    "float16",
    "float32",
    "infer",
    "init_libnvinfer_plugins",
    "int8",
    "int32",
    "int64",
    "lite",
    "nptype",
    "parsers",
    "uint8",
    "utils",
    "volume",
]


def nptype(trt_type: DType) -> type[np.generic]:
    """What NumPy calls an element type."""
    return trt_type.numpy.type


def __getattr__(name: str) -> object:
    """`tensorrt.legacy` is this module: the fifth version kept the interface of the third and fourth under it."""
    if name == "legacy":
        return sys.modules[__name__]
    raise AttributeError(f"module 'tensorrt' has no attribute '{name}'")
