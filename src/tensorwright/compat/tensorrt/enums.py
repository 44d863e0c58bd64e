"""Enumerations. Both spellings mean the same: `DataType.FLOAT` and `DataType_kFLOAT`."""

from __future__ import annotations

from enum import Enum, IntEnum, IntFlag
from typing import ClassVar

from tensorwright.api.enums import (
    ActivationType,
    BuilderFlag,
    ElementWiseOperation,
    GatherMode,
    InterpolationMode,
    LayerType,
    MatrixOperation,
    MemoryPoolType,
    NetworkDefinitionCreationFlag,
    PaddingMode,
    PoolingType,
    ReduceOperation,
    RNNDirection,
    RNNGateType,
    RNNInputMode,
    RNNOperation,
    SampleMode,
    ScaleMode,
    TacticSource,
    TopKOperation,
    UnaryOperation,
)
from tensorwright.api.logger import Severity
from tensorwright.api.uff_parser import UffInputOrder
from tensorwright.tensor.dtype import BFLOAT16, BOOL, FLOAT16, FLOAT32, INT8, INT32, INT64, UINT8, DType

__all__ = [
    "ActivationType",
    "BuilderFlag",
    "CalibrationAlgoType",
    "DataType",
    "DeviceType",
    "ElementWiseOperation",
    "EngineCapability",
    "ExecutionContextAllocationStrategy",
    "GatherMode",
    "InterpolationMode",
    "LayerType",
    "LogSeverity",
    "MatrixOperation",
    "MemoryPoolType",
    "NetworkDefinitionCreationFlag",
    "PaddingMode",
    "PluginFormat",
    "PluginType",
    "PoolingType",
    "RNNDirection",
    "RNNGateType",
    "RNNInputMode",
    "RNNOperation",
    "ReduceOperation",
    "ResizeMode",
    "SampleMode",
    "ScaleMode",
    "TacticSource",
    "TensorFormat",
    "TensorIOMode",
    "TensorLocation",
    "TopKOperation",
    "UffInputOrder",
    "UnaryOperation",
    "WeightsRole",
]

LogSeverity = Severity
ResizeMode = InterpolationMode


class DataType:
    """Element types; the members are tensorwright's own types."""

    FLOAT: ClassVar[DType] = FLOAT32
    HALF: ClassVar[DType] = FLOAT16
    BF16: ClassVar[DType] = BFLOAT16
    INT8: ClassVar[DType] = INT8
    INT32: ClassVar[DType] = INT32
    INT64: ClassVar[DType] = INT64
    BOOL: ClassVar[DType] = BOOL
    UINT8: ClassVar[DType] = UINT8


class CalibrationAlgoType(IntEnum):
    """How a calibrator finds ranges."""

    LEGACY_CALIBRATION = 0
    ENTROPY_CALIBRATION = 1
    ENTROPY_CALIBRATION_2 = 2
    MINMAX_CALIBRATION = 3


class TensorLocation(IntEnum):
    """Where the memory of a binding lies. On the CPU both are the same."""

    DEVICE = 0
    HOST = 1


class TensorIOMode(Enum):
    """Whether a tensor of an engine is an input or an output."""

    NONE = 0
    INPUT = 1
    OUTPUT = 2


class TensorFormat(IntFlag):
    """Memory layouts of bindings; only LINEAR, row-major, is available."""

    LINEAR = 0


class DeviceType(IntEnum):
    """Which part of the machine runs a layer. Accepted without effect."""

    GPU = 0
    DLA = 1


class EngineCapability(IntEnum):
    """What an engine is restricted to. Accepted without effect."""

    DEFAULT = 0
    SAFE_GPU = 1
    SAFE_DLA = 2


class WeightsRole(IntEnum):
    """What weights are to their layer."""

    KERNEL = 0
    BIAS = 1
    SHIFT = 2
    SCALE = 3
    CONSTANT = 4


class PluginFormat(IntEnum):
    """Memory layouts of plugins."""

    NCHW = 0
    NC2HW2 = 1
    NHWC8 = 2


class PluginType(IntEnum):
    """Generations of plugins."""

    PLUGIN = 0
    PLUGIN_EXT = 1


class ExecutionContextAllocationStrategy(IntEnum):
    """Where the memory of a context comes from."""

    STATIC = 0
    USER_MANAGED = 2
