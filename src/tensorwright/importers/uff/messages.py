"""The messages of a UFF file, and the types of their members."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, MutableSequence, Sequence
from functools import cache
from typing import Protocol, cast

from google.protobuf.message import Message

from tensorwright.importers.protobuf import message_classes

DESCRIPTION = """
MetaGraph
    1 version int64
    2 descriptor_core_version int64
    3 descriptors Descriptor repeated
    4 graphs Graph repeated
    5 referenced_data map<Data>
    100 extra_fields map<Data>
Descriptor
    1 id string
    2 version int64
    3 optional bool
Graph
    1 id string
    2 nodes Node repeated
    100 extra_fields map<Data>
Node
    1 id string
    2 inputs string repeated
    3 operation string
    4 fields map<Data>
    100 extra_fields map<Data>
Data
    1 s string in content
    2 s_list ListString in content
    3 d double in content
    4 d_list ListDouble in content
    5 b bool in content
    6 b_list ListBool in content
    7 i int64 in content
    8 i_list ListInt64 in content
    9 blob bytes in content
    100 ref string in content
    101 dtype DataType in content
    102 dtype_list ListDataType in content
    103 dim_orders DimensionOrders in content
    104 dim_orders_list ListDimensionOrders in content
ListString
    1 val string repeated
ListDouble
    1 val double repeated
ListBool
    1 val bool repeated
ListInt64
    1 val int64 repeated
ListDataType
    1 val DataType repeated
ListDimensionOrders
    1 val DimensionOrders repeated
DimensionOrders
    1 orders DimensionOrder repeated
DimensionOrder
    1 key int32
    2 value ListInt64
DataType enum
    0 DT_INVALID
    65544 DT_INT8
    65552 DT_INT16
    65568 DT_INT32
    65600 DT_INT64
    131088 DT_FLOAT16
    131104 DT_FLOAT32
"""

ANY_RANK = -1
"""The key of an order of axes that holds for every rank."""
INCREMENT = 2147483647
"""In an order of axes: the axes that follow the one before, as many as there are."""


class ListInt64(Protocol):
    @property
    def val(self) -> MutableSequence[int]: ...


class ListDouble(Protocol):
    @property
    def val(self) -> MutableSequence[float]: ...


class ListString(Protocol):
    @property
    def val(self) -> MutableSequence[str]: ...


class ListBool(Protocol):
    @property
    def val(self) -> MutableSequence[bool]: ...


class DimensionOrder(Protocol):
    key: int

    @property
    def value(self) -> ListInt64: ...


class DimensionOrders(Protocol):
    @property
    def orders(self) -> Sequence[DimensionOrder]: ...


class ListDimensionOrders(Protocol):
    @property
    def val(self) -> Sequence[DimensionOrders]: ...


class Data(Protocol):
    s: str
    d: float
    b: bool
    i: int
    blob: bytes
    ref: str
    dtype: int

    @property
    def s_list(self) -> ListString: ...
    @property
    def d_list(self) -> ListDouble: ...
    @property
    def b_list(self) -> ListBool: ...
    @property
    def i_list(self) -> ListInt64: ...
    @property
    def dtype_list(self) -> ListInt64: ...
    @property
    def dim_orders_list(self) -> ListDimensionOrders: ...
    def WhichOneof(self, name: str) -> str | None: ...  # The name that the protobuf library gives it.


class Node(Protocol):
    id: str
    operation: str

    @property
    def inputs(self) -> MutableSequence[str]: ...
    @property
    def fields(self) -> MutableMapping[str, Data]: ...


class Graph(Protocol):
    id: str

    @property
    def nodes(self) -> Sequence[Node]: ...


class MetaGraph(Protocol):
    @property
    def graphs(self) -> Sequence[Graph]: ...
    @property
    def referenced_data(self) -> Mapping[str, Data]: ...


@cache
def _classes() -> Mapping[str, type[Message]]:
    return message_classes("tensorwright.uff", DESCRIPTION, syntax="proto3")


def meta_graph_class() -> type[Message]:
    """The class of the message MetaGraph."""
    return _classes()["MetaGraph"]


def as_meta_graph(message: Message) -> MetaGraph:
    """A message of `meta_graph_class` with its members known to the type checker."""
    return cast("MetaGraph", message)
