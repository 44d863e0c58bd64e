"""Walks the nodes of a UFF model in order and builds the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NoReturn, cast

import numpy as np

from tensorwright.base.errors import ImportFailure, NetworkError
from tensorwright.graph.graph import Graph, Value, apply, constant_value, input_value, weights_in
from tensorwright.importers.composer import Composer
from tensorwright.importers.constants import Constants, as_array
from tensorwright.importers.failures import Finding, LocatedFailure, Unsupported, failure
from tensorwright.importers.images import channels_first
from tensorwright.importers.inputs import BATCH_RANGE
from tensorwright.importers.names import nearest
from tensorwright.importers.registry import handlers_in
from tensorwright.importers.uff import messages
from tensorwright.importers.uff.fields import Field, dtype_from, field_value
from tensorwright.importers.uff.inputs import Registered, advice, as_computed, channels_are_last, declared_extents
from tensorwright.importers.uff.node import Custom, CustomNode, Node
from tensorwright.importers.uff.read import Source, UffModel, order_of, read_model
from tensorwright.ops.elementwise import Cast, Elementwise
from tensorwright.ops.reduction import Reduction
from tensorwright.ops.resize import Resize
from tensorwright.ops.shape import Concatenation, Pad, Slice, Transpose
from tensorwright.tensor.dim import Dim, symbol
from tensorwright.tensor.dtype import FLOAT16, FLOAT32, DType
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of

OPERATORS = "tensorwright.importers.uff.operators"
ADVICE = (
    "Give a plugin for a custom operator (its name is that in the table without the underscore), register an output "
    "before these nodes, or convert the model without them."
)


@dataclass(frozen=True)
class Import:
    """A graph, and the value of every node by its name."""

    graph: Graph
    names: Mapping[str, Value]


def import_uff(
    source: Source,
    inputs: Registered,
    outputs: Sequence[str] = (),
    *,
    batch: Dim | None = None,
    custom: Custom | None = None,
    weights: DType = FLOAT32,
    constants: Constants | None = None,
) -> Graph:
    """The network of a UFF model.

    An input has the batch in front of its registered dimensions. Where these are CHW but the model computes with
    channels last, the input is transposed, and so are outputs that are images: a user sees CHW everywhere.

    Args:
        source: a path, or the bytes of a file.
        inputs: dimensions and order by input name.
        outputs: nodes to compute; none for those that the file marks.
        batch: the batch, an int or a symbol; None for a symbol ``batch`` from 1 to 16.
        custom: makes the values of custom nodes; it returns None for those that it does not know.
        weights: float32, or float16 for weights of that type (computation stays float32).
        constants: values in place of nodes, by name.

    Raises:
        ImportFailure: the model cannot be read, is wrong, or uses what is not supported (all of it is listed).
    """
    return read_network(source, inputs, outputs, batch=batch, custom=custom, weights=weights, constants=constants).graph


def read_network(
    source: Source | UffModel,
    inputs: Registered,
    outputs: Sequence[str] = (),
    *,
    batch: Dim | None = None,
    custom: Custom | None = None,
    weights: DType = FLOAT32,
    constants: Constants | None = None,
) -> Import:
    """As `import_uff`, with the values of all nodes by name."""
    if weights not in (FLOAT32, FLOAT16):
        raise ImportFailure(f"weights: expected float32 or float16, found {weights}")
    size = symbol("batch", *BATCH_RANGE) if batch is None else batch
    model = source if isinstance(source, UffModel) else read_model(source)
    return _Translator(model, inputs, size, custom, weights, constants or {}).network(outputs)


class _Translator:
    def __init__(
        self,
        model: UffModel,
        inputs: Registered,
        batch: Dim,
        custom: Custom | None,
        weights: DType,
        constants: Constants,
    ) -> None:
        self._model = model
        self._registered = inputs
        self._batch = batch
        self._custom = custom
        self._weights = weights
        self._values: dict[str, Value | None] = {name: self._constant(name, value) for name, value in constants.items()}
        self._findings: list[Finding] = []
        self._shared: dict[str, Field] = {}

    def network(self, outputs: Sequence[str]) -> Import:
        """The whole model."""
        wanted = tuple(outputs) or self._marked()
        order = order_of(self._model, wanted)
        bindings = self._inputs(order)
        for node in order:
            if node.id not in self._values:
                self._values[node.id] = self._translated(node)
        if self._findings:
            raise failure(self._findings, self._model.label, ADVICE)
        names = {name: value for name, value in self._values.items() if value is not None}
        graph = Graph(tuple(bindings.items()), tuple((name, self._as_seen(names[name])) for name in wanted))
        return Import(graph, MappingProxyType(names))

    def _marked(self) -> tuple[str, ...]:
        marked = [
            node.inputs[0] for node in self._model.nodes.values() if node.operation == "MarkOutput" and node.inputs
        ]
        if not marked:
            raise ImportFailure(f"{self._model.label}: no output is registered, and the file marks none")
        return tuple(dict.fromkeys(marked))

    def _inputs(self, order: Sequence[messages.Node]) -> dict[str, Value]:
        model = self._model
        for name in self._registered:
            model.require(name, "a registered input")
        bindings: dict[str, Value] = {}
        for node in order:
            if node.id in self._values or (node.operation != "Input" and node.id not in self._registered):
                continue
            if node.id not in self._registered:
                declared = declared_extents(model, node)
                said = f"; the file says {list(declared)} behind the batch" if declared else ""
                close = f"; {nearest(node.id, self._registered, 'registered inputs')}" if self._registered else ""
                raise ImportFailure(
                    f"{model.label}: the model needs the input '{node.id}', which is not registered: "
                    f"register_input('{node.id}', dims, order){said}{close}"
                )
            given = self._registered[node.id]
            dtype = dtype_from(node.fields["dtype"].dtype, f"input '{node.id}'") if "dtype" in node.fields else FLOAT32
            value = input_value(node.id, TensorType(dtype, (self._batch, *given.dims)))
            bindings[node.id] = value
            try:
                self._values[node.id] = as_computed(Composer(node.id), value, given, model, node)
            except (ImportFailure, Unsupported, NetworkError) as error:
                self._raise(node, str(error), error)
        return bindings

    def _constant(self, name: str, value: object) -> Value:
        """What the user says in place of a node."""
        node = self._model.require(name, "a constant")
        dtype = dtype_from(node.fields["dtype"].dtype, f"node '{name}'") if "dtype" in node.fields else None
        return constant_value(weights_of(as_array(name, value, dtype)), name)

    def _translated(self, node: messages.Node) -> Value | None:
        try:
            return self._attempt(node)
        except Unsupported as error:
            self._findings.append(Finding(node.operation, node.id, str(error)))
            return None
        except (ImportFailure, NetworkError) as error:
            self._raise(node, str(error), error)
        except (ArithmeticError, LookupError, TypeError, ValueError, MemoryError, RecursionError) as error:
            self._raise(node, f"{type(error).__name__}: {error}", error)

    def _raise(self, node: messages.Node, detail: str, error: Exception) -> NoReturn:
        what = f"{self._model.label}: node '{node.id}' ({node.operation})"
        raise LocatedFailure(f"{what}: {detail}{advice(self._model, self._registered)}") from error

    def _attempt(self, node: messages.Node) -> Value | None:
        handler = handlers_in(OPERATORS).get(node.operation)
        if handler is None and not node.operation.startswith("_"):
            raise Unsupported("")
        inputs = [value for value in (self._values[name] for name in node.inputs) if value is not None]
        if handler is None:
            return self._own(node, inputs)
        if len(inputs) < len(node.inputs):
            return None
        unknown = sorted(set(node.fields) - handler.attributes)
        if unknown:
            raise Unsupported(f"field {', '.join(unknown)} is not supported")
        value = cast("Value", handler(Node(node.id, node.operation), inputs, self._fields(node)))
        return self._narrowed(value) if node.operation == "Const" else value

    def _fields(self, node: messages.Node) -> dict[str, Field]:
        """The fields of a node; what several refer to is read once, however large it is."""
        fields = {}
        for name, data in node.fields.items():
            shared = data.ref if data.WhichOneof("content") == "ref" else ""
            if shared and shared in self._shared:
                fields[name] = self._shared[shared]
                continue
            fields[name] = field_value(name, data, self._model.referenced)
            if shared:
                self._shared[shared] = fields[name]
        return fields

    def _narrowed(self, value: Value) -> Value:
        """A constant in the type that weights shall have, converted back for the computation."""
        array = weights_in(value).array
        if self._weights == FLOAT32 or value.type.dtype != FLOAT32:
            return value
        limit = float(np.finfo(np.float16).max)
        if (np.isfinite(array) & (np.abs(array) > limit)).any():
            raise ImportFailure(f"a weight is outside the range of float16, ±{limit:g}; parse with dtype float32")
        stored = constant_value(weights_of(array.astype(np.float16)), value.name)
        return apply(Cast(FLOAT32), stored, name=value.name)

    def _own(self, node: messages.Node, inputs: Sequence[Value]) -> Value | None:
        """The value of a custom node."""
        if len(inputs) < len(node.inputs):
            if self._custom is None:
                raise Unsupported("a custom operator, and there is no plugin of this name")
            return None
        own = CustomNode(node.id, node.operation[1:], tuple(inputs), MappingProxyType(self._fields(node)))
        made = None if self._custom is None else self._custom(own)
        if made is None:
            raise Unsupported("a custom operator, and there is no plugin of this name")
        return made

    def _as_seen(self, value: Value) -> Value:
        """An output as the user sees it: CHW where the inputs are, and the value is an image with channels last."""
        sees_first = any(
            given.order != "NC" and not channels_are_last(given, declared_extents(self._model, self._model.nodes[name]))
            for name, given in self._registered.items()
        )
        if sees_first and value.type.rank == 4 and _is_channels_last(value):
            return channels_first(Composer(value.name), value)
        return value


def _is_channels_last(value: Value) -> bool:
    """Whether a tensor is an image with channels last: it comes from one by operators that keep the axes."""
    seen, waiting = {value}, [value]
    for current in waiting:
        if current.type.rank != 4:
            continue
        if isinstance(current.op, Transpose):
            if current.op.permutation == (0, 2, 3, 1):
                return True
        elif isinstance(current.op, Elementwise | Concatenation | Pad | Slice | Resize) or (
            isinstance(current.op, Reduction) and current.op.keep_dims
        ):
            new = [operand for operand in current.inputs if operand not in seen]
            seen.update(new)
            waiting += new
    return False
