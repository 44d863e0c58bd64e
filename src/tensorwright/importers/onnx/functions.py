"""Bodies of operators that ONNX defines by other operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

import onnx
from onnx import AttributeProto, FunctionProto, NodeProto, TypeProto, helper

from tensorwright.importers.onnx.narrow import Narrow
from tensorwright.importers.onnx.node import Term


class _Schema(Protocol):
    """What the stubs of onnx.defs.OpSchema leave out."""

    has_function: bool
    has_context_dependent_function: bool
    function_opset_versions: Sequence[int]
    context_dependent_function_opset_versions: Sequence[int]

    def get_function_with_opset_version(self, version: int, /) -> bytes: ...
    def get_context_dependent_function_with_opset_version(
        self, version: int, node: bytes, types: Sequence[bytes], /
    ) -> bytes: ...


def body_of(proto: NodeProto, domain: str, version: int, inputs: Sequence[Term]) -> FunctionProto | None:
    """The body that the ONNX standard gives an operator, for inputs of these types; None if it has none.

    Its `attribute_proto` holds the defaults of the operator's attributes.
    """
    try:
        schema = onnx.defs.get_schema(proto.op_type, version, domain)
    except onnx.defs.SchemaError:
        return None
    body = _body(cast("_Schema", schema), proto, version, inputs)
    if body is not None:
        stated = {attribute.name for attribute in body.attribute_proto}
        defaults = [a.default_value for a in schema.attributes.values() if a.name not in stated]
        body.attribute_proto.extend(d for d in defaults if d.type != AttributeProto.UNDEFINED)
    return body


def has_body(operator: str, domain: str, version: int) -> bool:
    """Whether the ONNX standard gives an operator a body, for some inputs at least."""
    try:
        schema = cast("_Schema", onnx.defs.get_schema(operator, version, domain))
    except onnx.defs.SchemaError:
        return False
    return schema.has_function or schema.has_context_dependent_function


def _body(schema: _Schema, proto: NodeProto, version: int, inputs: Sequence[Term]) -> FunctionProto | None:
    if schema.has_function:
        chosen = _newest(schema.function_opset_versions, version)
        return FunctionProto.FromString(schema.get_function_with_opset_version(chosen))
    if schema.has_context_dependent_function:
        types = [_type_of(value).SerializeToString() for value in inputs]
        chosen = _newest(schema.context_dependent_function_opset_versions, version)
        body = schema.get_context_dependent_function_with_opset_version(chosen, proto.SerializeToString(), types)
        return FunctionProto.FromString(body) if body else None
    return None


def _newest(versions: Sequence[int], limit: int) -> int:
    fitting = [version for version in versions if version <= limit]
    return max(fitting) if fitting else min(versions)


def _type_of(term: Term) -> TypeProto:
    if isinstance(term, tuple):
        return helper.make_sequence_type_proto(_type_of(term[0]) if term else helper.make_tensor_type_proto(1, None))
    if term is None:
        return TypeProto()
    value, dtype = (term.value, term.dtype) if isinstance(term, Narrow) else (term, term.type.dtype.numpy)
    element_type = helper.np_dtype_to_tensor_dtype(dtype)
    dims = [dim if isinstance(dim, int) else str(dim) for dim in value.type.shape]
    return helper.make_tensor_type_proto(element_type, dims)
