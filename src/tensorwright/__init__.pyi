# The public names with their types; see __init__.py.

from tensorwright.api.builder import Builder as Builder
from tensorwright.api.builder import HostMemory as HostMemory
from tensorwright.api.caffe_parser import BinaryProtoBlob as BinaryProtoBlob
from tensorwright.api.caffe_parser import BlobNameToTensor as BlobNameToTensor
from tensorwright.api.caffe_parser import CaffeParser as CaffeParser
from tensorwright.api.calibration import Calibrator as Calibrator
from tensorwright.api.compare import compare as compare
from tensorwright.api.config import BuilderConfig as BuilderConfig
from tensorwright.api.config import OptimizationProfile as OptimizationProfile
from tensorwright.api.config import TimingCache as TimingCache
from tensorwright.api.enums import ActivationType as ActivationType
from tensorwright.api.enums import BuilderFlag as BuilderFlag
from tensorwright.api.enums import ElementWiseOperation as ElementWiseOperation
from tensorwright.api.enums import ErrorCode as ErrorCode
from tensorwright.api.enums import GatherMode as GatherMode
from tensorwright.api.enums import InterpolationMode as InterpolationMode
from tensorwright.api.enums import LayerType as LayerType
from tensorwright.api.enums import MatrixOperation as MatrixOperation
from tensorwright.api.enums import MemoryPoolType as MemoryPoolType
from tensorwright.api.enums import NetworkDefinitionCreationFlag as NetworkDefinitionCreationFlag
from tensorwright.api.enums import PaddingMode as PaddingMode
from tensorwright.api.enums import PoolingType as PoolingType
from tensorwright.api.enums import ReduceOperation as ReduceOperation
from tensorwright.api.enums import ResizeCoordinateTransformation as ResizeCoordinateTransformation
from tensorwright.api.enums import ResizeRoundMode as ResizeRoundMode
from tensorwright.api.enums import RNNDirection as RNNDirection
from tensorwright.api.enums import RNNGateType as RNNGateType
from tensorwright.api.enums import RNNInputMode as RNNInputMode
from tensorwright.api.enums import RNNOperation as RNNOperation
from tensorwright.api.enums import SampleMode as SampleMode
from tensorwright.api.enums import ScaleMode as ScaleMode
from tensorwright.api.enums import TacticSource as TacticSource
from tensorwright.api.enums import TopKOperation as TopKOperation
from tensorwright.api.enums import UnaryOperation as UnaryOperation
from tensorwright.api.layer import Layer as Layer
from tensorwright.api.logger import ILogger as ILogger
from tensorwright.api.logger import Logger as Logger
from tensorwright.api.logger import Severity as Severity
from tensorwright.api.monitor import IProgressMonitor as IProgressMonitor
from tensorwright.api.monitor import ProgressBar as ProgressBar
from tensorwright.api.network import NetworkDefinition as NetworkDefinition
from tensorwright.api.onnx_parser import OnnxParser as OnnxParser
from tensorwright.api.parser import ParserError as ParserError
from tensorwright.api.plugin import Plugin as Plugin
from tensorwright.api.plugin import PluginFactory as PluginFactory
from tensorwright.api.quantize import quantize as quantize
from tensorwright.api.runtime import Runtime as Runtime
from tensorwright.api.samples import FolderCalibrator as FolderCalibrator
from tensorwright.api.shortcuts import build as build
from tensorwright.api.tensor import Tensor as Tensor
from tensorwright.api.uff_parser import UffInputOrder as UffInputOrder
from tensorwright.api.uff_parser import UffParser as UffParser
from tensorwright.api.weights import Weights as Weights
from tensorwright.base.cancellation import Cancellation as Cancellation
from tensorwright.base.errors import BuildError as BuildError
from tensorwright.base.errors import DeviceError as DeviceError
from tensorwright.base.errors import ExecutionError as ExecutionError
from tensorwright.base.errors import FileError as FileError
from tensorwright.base.errors import ImportFailure as ImportFailure
from tensorwright.base.errors import NetworkError as NetworkError
from tensorwright.base.errors import PlanError as PlanError
from tensorwright.base.errors import ShapeError as ShapeError
from tensorwright.base.errors import TensorwrightError as TensorwrightError
from tensorwright.base.errors import WorkspaceError as WorkspaceError
from tensorwright.devices.cpu.stream import CpuEvent, CpuStream
from tensorwright.devices.device import Allocator as Allocator
from tensorwright.importers.custom import CustomNode as CustomNode
from tensorwright.plan.bundle import bundle as bundle
from tensorwright.runtime.context import ExecutionContext as ExecutionContext
from tensorwright.runtime.engine import Engine as Engine
from tensorwright.runtime.load import load as load
from tensorwright.runtime.outputs import OutputAllocator as OutputAllocator
from tensorwright.runtime.pool import DeviceState as DeviceState
from tensorwright.runtime.pool import EnginePool as EnginePool
from tensorwright.runtime.profiler import profile as profile
from tensorwright.staged.engine import StagedEngine as StagedEngine
from tensorwright.tensor.dim import Symbol as Symbol
from tensorwright.tensor.dim import symbol as symbol
from tensorwright.tensor.dtype import DType as DType

__version__: str

Event = CpuEvent
Stream = CpuStream

float64: DType
float32: DType
float16: DType
bfloat16: DType
int64: DType
int32: DType
int16: DType
int8: DType
uint64: DType
uint32: DType
uint16: DType
uint8: DType
bool_: DType
