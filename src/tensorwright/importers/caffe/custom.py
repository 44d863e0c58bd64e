"""Layers that the user says how to compute."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from google.protobuf.json_format import MessageToDict

from tensorwright.graph.graph import Value
from tensorwright.importers.caffe.blobs import Blob
from tensorwright.importers.caffe.definition import LayerDefinition
from tensorwright.importers.custom import CustomNode


def custom_node(definition: LayerDefinition, bottoms: Sequence[Value], blobs: Sequence[Blob]) -> CustomNode:
    """A layer as plugins see it: its parameters by message (``convolution_param``) and field, its blobs as arrays."""
    known = {
        name: MessageToDict(message, preserving_proto_field_name=True)
        for name, message in definition.parameters.items()
    }
    fields = {**known, **definition.unknown}
    weights = tuple(blob.elements.reshape(blob.extents) for blob in blobs)
    return CustomNode(
        definition.name or definition.type, definition.type, tuple(bottoms), MappingProxyType(fields), weights
    )
