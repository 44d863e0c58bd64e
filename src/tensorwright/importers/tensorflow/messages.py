"""The messages of a TensorFlow graph, and the types of their members.

Names and numbers are those of the files graph.proto, node_def.proto, attr_value.proto, tensor.proto, tensor_shape.proto
and types.proto of TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, MutableSequence, Sequence
from functools import cache
from typing import Protocol, cast

from google.protobuf.message import Message

from tensorwright.importers.protobuf import message_classes

DESCRIPTION = """
GraphDef
    1 node NodeDef repeated
    2 library FunctionDefLibrary
    3 version int32
    4 versions VersionDef
VersionDef
    1 producer int32
    2 min_consumer int32
    3 bad_consumers int32 repeated
FunctionDefLibrary
    1 function FunctionDef repeated
FunctionDef
    1 signature OpDef
    3 node_def NodeDef repeated
    4 ret map<string>
OpDef
    1 name string
    2 input_arg ArgDef repeated
    3 output_arg ArgDef repeated
ArgDef
    1 name string
NodeDef
    1 name string
    2 op string
    3 input string repeated
    4 device string
    5 attr map<AttrValue>
NameAttrList
    1 name string
    2 attr map<AttrValue>
AttrValue
    1 list ListValue in value
    2 s bytes in value
    3 i int64 in value
    4 f float in value
    5 b bool in value
    6 type DataType in value
    7 shape TensorShapeProto in value
    8 tensor TensorProto in value
    9 placeholder string in value
    10 func NameAttrList in value
ListValue
    2 s bytes repeated
    3 i int64 repeated
    4 f float repeated
    5 b bool repeated
    6 type DataType repeated
    7 shape TensorShapeProto repeated
    8 tensor TensorProto repeated
    9 func NameAttrList repeated
TensorShapeProto
    2 dim Dim repeated
    3 unknown_rank bool
Dim
    1 size int64
    2 name string
TensorProto
    1 dtype DataType
    2 tensor_shape TensorShapeProto
    3 version_number int32
    4 tensor_content bytes
    5 float_val float repeated
    6 double_val double repeated
    7 int_val int32 repeated
    8 string_val bytes repeated
    9 scomplex_val float repeated
    10 int64_val int64 repeated
    11 bool_val bool repeated
    12 dcomplex_val double repeated
    13 half_val int32 repeated
    16 uint32_val uint32 repeated
    17 uint64_val uint64 repeated
DataType enum
    0 DT_INVALID
    1 DT_FLOAT
    2 DT_DOUBLE
    3 DT_INT32
    4 DT_UINT8
    5 DT_INT16
    6 DT_INT8
    7 DT_STRING
    8 DT_COMPLEX64
    9 DT_INT64
    10 DT_BOOL
    11 DT_QINT8
    12 DT_QUINT8
    13 DT_QINT32
    14 DT_BFLOAT16
    15 DT_QINT16
    16 DT_QUINT16
    17 DT_UINT16
    18 DT_COMPLEX128
    19 DT_HALF
    20 DT_RESOURCE
    21 DT_VARIANT
    22 DT_UINT32
    23 DT_UINT64
"""


class Dim(Protocol):
    size: int
    name: str


class Dims(Protocol):
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Dim]: ...
    def add(self, *, size: int) -> Dim: ...


class TensorShapeProto(Protocol):
    unknown_rank: bool

    @property
    def dim(self) -> Dims: ...


class TensorProto(Protocol):
    dtype: int
    tensor_content: bytes

    @property
    def tensor_shape(self) -> TensorShapeProto: ...


class ListValue(Protocol):
    @property
    def s(self) -> MutableSequence[bytes]: ...
    @property
    def i(self) -> MutableSequence[int]: ...
    @property
    def f(self) -> MutableSequence[float]: ...
    @property
    def b(self) -> MutableSequence[bool]: ...
    @property
    def type(self) -> MutableSequence[int]: ...
    @property
    def shape(self) -> Sequence[TensorShapeProto]: ...


class NameAttrList(Protocol):
    name: str


class AttrValue(Protocol):
    s: bytes
    i: int
    f: float
    b: bool
    type: int
    placeholder: str

    def CopyFrom(self, other: AttrValue, /) -> None: ...  # The name that the protobuf library gives it.
    @property
    def func(self) -> NameAttrList: ...

    @property
    def list(self) -> ListValue: ...
    @property
    def shape(self) -> TensorShapeProto: ...
    @property
    def tensor(self) -> TensorProto: ...
    def WhichOneof(self, name: str) -> str | None: ...  # The name that the protobuf library gives it.


class NodeDef(Protocol):
    name: str
    op: str

    def CopyFrom(self, other: NodeDef, /) -> None: ...  # The name that the protobuf library gives it.
    def ByteSize(self) -> int: ...  # The name that the protobuf library gives it.

    @property
    def input(self) -> MutableSequence[str]: ...
    @property
    def attr(self) -> MutableMapping[str, AttrValue]: ...


class ArgDef(Protocol):
    name: str


class OpDef(Protocol):
    name: str

    @property
    def input_arg(self) -> Sequence[ArgDef]: ...
    @property
    def output_arg(self) -> Sequence[ArgDef]: ...


class FunctionDef(Protocol):
    @property
    def signature(self) -> OpDef: ...
    @property
    def node_def(self) -> Sequence[NodeDef]: ...
    @property
    def ret(self) -> Mapping[str, str]: ...


class FunctionDefLibrary(Protocol):
    @property
    def function(self) -> Sequence[FunctionDef]: ...


class VersionDef(Protocol):
    producer: int


class GraphDef(Protocol):
    @property
    def node(self) -> Sequence[NodeDef]: ...
    @property
    def library(self) -> FunctionDefLibrary: ...
    @property
    def versions(self) -> VersionDef: ...
    def SerializeToString(self) -> bytes: ...  # The name that the protobuf library gives it.


@cache
def _classes() -> Mapping[str, type[Message]]:
    return message_classes("tensorwright.tensorflow", DESCRIPTION, syntax="proto3")


def graph_class() -> type[Message]:
    """The class of the message GraphDef."""
    return _classes()["GraphDef"]


def new_node() -> NodeDef:
    """An empty message NodeDef."""
    return cast("NodeDef", _classes()["NodeDef"]())


def as_graph(message: Message) -> GraphDef:
    """A message of `graph_class` with its members known to the type checker."""
    return cast("GraphDef", message)
