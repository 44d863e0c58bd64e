"""The names that calls of the network, the builder and the parser choose from."""

from __future__ import annotations

from enum import Enum, IntEnum, auto


class LayerType(Enum):
    """What kind of layer a layer is."""

    CONVOLUTION = auto()
    DECONVOLUTION = auto()
    FULLY_CONNECTED = auto()
    ACTIVATION = auto()
    PARAMETRIC_RELU = auto()
    POOLING = auto()
    LRN = auto()
    SCALE = auto()
    SOFTMAX = auto()
    NORMALIZATION = auto()
    CONCATENATION = auto()
    ELEMENTWISE = auto()
    UNARY = auto()
    SELECT = auto()
    CAST = auto()
    IDENTITY = auto()
    PADDING = auto()
    SHUFFLE = auto()
    SLICE = auto()
    RESIZE = auto()
    REDUCE = auto()
    TOPK = auto()
    GATHER = auto()
    MATRIX_MULTIPLY = auto()
    CONSTANT = auto()
    INPUT = auto()
    OPERATOR = auto()
    PLUGIN = auto()
    RAGGED_SOFTMAX = auto()
    RNN = auto()
    RNN_V2 = auto()


class ActivationType(Enum):
    """``y = f(x)`` with the parameters alpha and beta of the layer."""

    RELU = auto()
    SIGMOID = auto()
    TANH = auto()
    LEAKY_RELU = auto()
    ELU = auto()
    SELU = auto()
    SOFTSIGN = auto()
    SOFTPLUS = auto()
    CLIP = auto()
    HARD_SIGMOID = auto()
    SCALED_TANH = auto()
    THRESHOLDED_RELU = auto()
    GELU_ERF = auto()
    GELU_TANH = auto()


class PoolingType(Enum):
    """What is kept of a window; the blend is ``(1 - blend_factor) max + blend_factor average``."""

    MAX = auto()
    AVERAGE = auto()
    MAX_AVERAGE_BLEND = auto()


class PaddingMode(Enum):
    """How many outputs windows give and where their padding lies.

    The explicit modes use pre_padding and post_padding and round the number of windows down or up; the Caffe modes do
    too, but rounding up never makes a window that starts in the padding after the input. The same modes choose the
    padding so that ``output = ceil(input / stride)``, an odd element after (UPPER) or before (LOWER).
    """

    EXPLICIT_ROUND_DOWN = auto()
    EXPLICIT_ROUND_UP = auto()
    SAME_UPPER = auto()
    SAME_LOWER = auto()
    CAFFE_ROUND_DOWN = auto()
    CAFFE_ROUND_UP = auto()


class ScaleMode(Enum):
    """Whether a scale layer has one coefficient, one per channel or one per element."""

    UNIFORM = auto()
    CHANNEL = auto()
    ELEMENTWISE = auto()


class ElementWiseOperation(Enum):
    """A function of two elements."""

    SUM = auto()
    PROD = auto()
    MAX = auto()
    MIN = auto()
    SUB = auto()
    DIV = auto()
    POW = auto()
    FLOOR_DIV = auto()
    AND = auto()
    OR = auto()
    XOR = auto()
    EQUAL = auto()
    GREATER = auto()
    LESS = auto()


class UnaryOperation(Enum):
    """A function of one element."""

    EXP = auto()
    LOG = auto()
    SQRT = auto()
    RECIP = auto()
    ABS = auto()
    NEG = auto()
    SIN = auto()
    COS = auto()
    TAN = auto()
    SINH = auto()
    COSH = auto()
    ASIN = auto()
    ACOS = auto()
    ATAN = auto()
    ASINH = auto()
    ACOSH = auto()
    ATANH = auto()
    CEIL = auto()
    FLOOR = auto()
    ERF = auto()
    NOT = auto()
    SIGN = auto()
    ROUND = auto()
    ISINF = auto()
    ISNAN = auto()


class ReduceOperation(Enum):
    """How elements along axes become one."""

    SUM = auto()
    PROD = auto()
    MAX = auto()
    MIN = auto()
    AVG = auto()


class TopKOperation(Enum):
    """Whether the largest or the smallest elements are kept."""

    MAX = auto()
    MIN = auto()


class MatrixOperation(Enum):
    """How an operand of a matrix product is read: as it is, transposed, or its last axis as a vector."""

    NONE = auto()
    TRANSPOSE = auto()
    VECTOR = auto()


class GatherMode(Enum):
    """Whole slices along an axis, single elements along an axis, or elements at index tuples."""

    DEFAULT = auto()
    ELEMENT = auto()
    ND = auto()


class SampleMode(Enum):
    """What a slice reads outside its input; only STRICT_BOUNDS, where it must not, is available."""

    STRICT_BOUNDS = auto()
    WRAP = auto()
    CLAMP = auto()
    FILL = auto()
    REFLECT = auto()


class InterpolationMode(Enum):
    """How a resize layer computes elements between those of its input."""

    NEAREST = auto()
    LINEAR = auto()
    CUBIC = auto()


class ResizeCoordinateTransformation(Enum):
    """Which input coordinate belongs to an output coordinate."""

    ALIGN_CORNERS = auto()
    ASYMMETRIC = auto()
    HALF_PIXEL = auto()


class ResizeRoundMode(Enum):
    """Which element is nearest to a coordinate between two."""

    HALF_UP = auto()
    HALF_DOWN = auto()
    FLOOR = auto()
    CEIL = auto()


class RNNOperation(Enum):
    """The cells of a recurrent layer."""

    RELU = auto()
    TANH = auto()
    LSTM = auto()
    GRU = auto()


class RNNDirection(Enum):
    """Whether a recurrent layer goes through time forwards only, or backwards too."""

    UNIDIRECTION = auto()
    BIDIRECTION = auto()


class RNNInputMode(Enum):
    """Whether the first recurrent layer multiplies its input by weights (LINEAR) or takes it as it is (SKIP)."""

    LINEAR = auto()
    SKIP = auto()


class RNNGateType(Enum):
    """The gates of recurrent cells: those of LSTM, of GRU, and INPUT, the only one of RELU and TANH."""

    INPUT = auto()
    OUTPUT = auto()
    FORGET = auto()
    UPDATE = auto()
    RESET = auto()
    CELL = auto()
    HIDDEN = auto()


class NetworkDefinitionCreationFlag(IntEnum):
    """Numbers of bits for `Builder.create_network`."""

    EXPLICIT_BATCH = 0
    STRONGLY_TYPED = 1


class BuilderFlag(Enum):
    """Options of a build. FP16 and BF16 permit these types; INT8 has the calibrator measure ranges, and products of
    tensors with known ranges computed in integers.

    OBEY_PRECISION_CONSTRAINTS and PREFER_PRECISION_CONSTRAINTS: layers are computed in the type that their property
    `precision` says, which has no effect without.
    """

    FP16 = auto()
    BF16 = auto()
    INT8 = auto()
    TF32 = auto()
    DISABLE_TIMING_CACHE = auto()
    STRICT_NANS = auto()
    OBEY_PRECISION_CONSTRAINTS = auto()
    PREFER_PRECISION_CONSTRAINTS = auto()


class MemoryPoolType(Enum):
    """Memories that a build can be given limits for."""

    WORKSPACE = auto()


class TacticSource(IntEnum):
    """Where kernels come from, as bits of a mask, ``1 << int(source)``. The last two are the package's own kernels,
    which are always there.
    """

    CUBLAS = 0
    CUBLAS_LT = 1
    CUDNN = 2
    EDGE_MASK_CONVOLUTIONS = 3
    JIT_CONVOLUTIONS = 4


class ErrorCode(Enum):
    """Why a model could not be parsed."""

    SUCCESS = auto()
    MODEL_DESERIALIZE_FAILED = auto()
    UNSUPPORTED_NODE = auto()
    INVALID_NODE = auto()
