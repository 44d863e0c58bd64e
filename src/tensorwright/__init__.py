"""tensorwright: an inference optimizer and runtime. A model goes in, a plan comes out, the plan runs.

Public names are imported when they are first used: a program that only runs plans never loads the compiler. Their types
are in ``__init__.pyi``.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

__version__ = "0.1.0"

_ORIGINS = {
    "tensorwright.api.builder": ("Builder", "HostMemory"),
    "tensorwright.api.calibration": ("Calibrator",),
    "tensorwright.api.caffe_parser": ("BinaryProtoBlob", "BlobNameToTensor", "CaffeParser"),
    "tensorwright.api.compare": ("compare",),
    "tensorwright.api.config": ("BuilderConfig", "OptimizationProfile", "TimingCache"),
    "tensorwright.api.enums": (
        "ActivationType",
        "BuilderFlag",
        "ElementWiseOperation",
        "ErrorCode",
        "GatherMode",
        "InterpolationMode",
        "LayerType",
        "MatrixOperation",
        "MemoryPoolType",
        "NetworkDefinitionCreationFlag",
        "PaddingMode",
        "PoolingType",
        "RNNDirection",
        "RNNGateType",
        "RNNInputMode",
        "RNNOperation",
        "ReduceOperation",
        "ResizeCoordinateTransformation",
        "ResizeRoundMode",
        "SampleMode",
        "ScaleMode",
        "TacticSource",
        "TopKOperation",
        "UnaryOperation",
    ),
    "tensorwright.api.layer": ("Layer",),
    "tensorwright.api.logger": ("ILogger", "Logger", "Severity"),
    "tensorwright.api.monitor": ("IProgressMonitor", "ProgressBar"),
    "tensorwright.api.network": ("NetworkDefinition",),
    "tensorwright.api.onnx_parser": ("OnnxParser",),
    "tensorwright.api.parser": ("ParserError",),
    "tensorwright.api.plugin": ("Plugin", "PluginFactory"),
    "tensorwright.api.quantize": ("quantize",),
    "tensorwright.api.runtime": ("Runtime",),
    "tensorwright.api.samples": ("FolderCalibrator",),
    "tensorwright.api.shortcuts": ("build",),
    "tensorwright.api.tensor": ("Tensor",),
    "tensorwright.api.uff_parser": ("UffInputOrder", "UffParser"),
    "tensorwright.api.weights": ("Weights",),
    "tensorwright.base.cancellation": ("Cancellation",),
    "tensorwright.base.errors": (
        "BuildError",
        "DeviceError",
        "ExecutionError",
        "FileError",
        "ImportFailure",
        "NetworkError",
        "PlanError",
        "ShapeError",
        "TensorwrightError",
        "WorkspaceError",
    ),
    "tensorwright.devices.device": ("Allocator",),
    "tensorwright.runtime.outputs": ("OutputAllocator",),
    "tensorwright.importers.custom": ("CustomNode",),
    "tensorwright.plan.bundle": ("bundle",),
    "tensorwright.runtime.context": ("ExecutionContext",),
    "tensorwright.runtime.engine": ("Engine",),
    "tensorwright.runtime.load": ("load",),
    "tensorwright.runtime.pool": ("DeviceState", "EnginePool"),
    "tensorwright.runtime.profiler": ("profile",),
    "tensorwright.staged.engine": ("StagedEngine",),
    "tensorwright.tensor.dim": ("Symbol", "symbol"),
    "tensorwright.tensor.dtype": ("DType",),
}
_RENAMED = {
    "Event": ("tensorwright.devices.cpu.stream", "CpuEvent"),
    "Stream": ("tensorwright.devices.cpu.stream", "CpuStream"),
    **{
        name: ("tensorwright.tensor.dtype", name.upper())
        for name in (
            "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8",
            "uint64", "uint32", "uint16", "uint8",
        )
    },
    "bool_": ("tensorwright.tensor.dtype", "BOOL"),
}  # fmt: skip
_WHERE = {name: (module, name) for module, names in _ORIGINS.items() for name in names} | _RENAMED

__all__ = ["__version__", *_WHERE]  # noqa: PLE0604 - all of them are strings


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module 'tensorwright' has no attribute '{name}'")
    from tensorwright.base.fork import importing

    module, original = _WHERE[name]
    with importing:
        value: object = getattr(importlib.import_module(module), original)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})


class _Package(ModuleType):
    """Keeps public names when a part of the package with the same name is imported: `build` is the function."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _WHERE and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
