"""Walks the layers of a network in order and builds the graph."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from tensorwright.base.errors import ImportFailure, NetworkError
from tensorwright.graph.graph import Graph, Value, apply
from tensorwright.importers.caffe.blobs import Model, Source, read_model
from tensorwright.importers.caffe.custom import custom_node
from tensorwright.importers.caffe.definition import Definition, LayerDefinition, read_definition
from tensorwright.importers.caffe.inputs import InputShapes, Shapes
from tensorwright.importers.caffe.layer import Layer
from tensorwright.importers.caffe.registry import Handler, handler_of
from tensorwright.importers.caffe.rules import NetState, Phase
from tensorwright.importers.caffe.weights import LayerWeights, ModelWeights, NoWeights, RandomSource
from tensorwright.importers.custom import CustomLayers
from tensorwright.importers.failures import LAYERS, Finding, Unsupported, failure, first_names
from tensorwright.importers.sizes import require_possible
from tensorwright.ops.elementwise import Identity
from tensorwright.tensor.dim import Dim
from tensorwright.tensor.dtype import FLOAT16, FLOAT32, DType

ADVICE = "Replace these layers in the definition, give plugins for them, or cut the network before them."


@dataclass(frozen=True)
class Import:
    """A network as a graph, the last value of every blob by its name, and what its author should know."""

    graph: Graph
    names: Mapping[str, Value]
    warnings: tuple[str, ...]


class _Absent:
    """Stands for a blob whose layer could not be imported, which has been reported already."""


class _Skipped(Exception):
    """A layer reads a blob that another, already reported, layer should have made."""


def import_caffe(
    definition: Source,
    model: Source | None = None,
    *,
    dtype: DType = FLOAT32,
    batch: Dim | None = None,
    shapes: Shapes | None = None,
) -> Graph:
    """The graph of a Caffe network. Its outputs are the blobs that no layer reads.

    Args:
        definition: the path of a prototxt file, or its text as bytes.
        model: the path of a caffemodel file, or its bytes; None for random weights, with a warning.
        dtype: float32, or float16 for weights of that type (computation stays float32).
        batch: takes the place of the first extent of every input; None keeps what the definition says.
        shapes: shapes of inputs by name, with the batch, in place of those in the definition.

    Raises:
        ImportFailure: a file cannot be read, is wrong, or uses what is not supported (all of it is listed).
    """
    imported = read_network(definition, model, dtype=dtype, batch=batch, shapes=shapes)
    for message in imported.warnings:
        warnings.warn(message, stacklevel=2)
    return imported.graph


def read_network(
    definition: Source,
    model: Source | None = None,
    *,
    dtype: DType = FLOAT32,
    batch: Dim | None = None,
    shapes: Shapes | None = None,
    phase: Phase = "TEST",
    level: int = 0,
    stages: Sequence[str] = (),
    custom: CustomLayers | None = None,
) -> Import:
    """As `import_caffe`, with the values of all blobs, and for any phase, level and stages; warnings are returned.

    `custom` is asked for the tops of every layer first; it returns None for those that it leaves to the importer.
    """
    if dtype not in (FLOAT32, FLOAT16):
        raise ImportFailure(f"dtype: expected float32 or float16, found {dtype}")
    read = read_definition(definition, NetState(phase, level, tuple(stages)))
    weights = None if model is None else read_model(model)
    return _Translator(read, weights, dtype, InputShapes(shapes or {}, batch), custom).network()


class _Translator:
    def __init__(
        self,
        definition: Definition,
        model: Model | None,
        dtype: DType,
        shapes: InputShapes,
        custom: CustomLayers | None,
    ) -> None:
        self._custom = custom
        self._definition = definition
        self._model = model
        self._dtype = dtype
        self._shapes = shapes
        self._random = RandomSource(dtype)
        self._inputs: dict[str, Value] = {}
        self._blobs: dict[str, Value | _Absent] = {}
        self._unread: dict[str, Value | _Absent] = {}
        self._named: set[Value] = set()
        self._findings: list[Finding] = []
        self._without_weights: list[str] = []
        self._warnings: list[str] = []
        self._read_by_user: set[str] = set()
        self.declared_batch: int | None = None

    def network(self) -> Import:
        """The whole network."""
        read = self._definition
        try:
            for name, shape in read.inputs:
                self._blobs[name] = self.input(name, shape)
        except ImportFailure as error:
            raise ImportFailure(f"{read.label}: {error}") from None
        for layer in read.layers:
            self._layer(layer)
        self._report()
        for name in sorted(set(self._shapes.given) - set(self._inputs)):
            raise ImportFailure(f"shapes: the network has no input '{name}'; it has {_listed(self._inputs)}")
        blobs = {name: value for name, value in self._blobs.items() if isinstance(value, Value)}
        outputs = tuple((name, value) for name, value in self._unread.items() if isinstance(value, Value))
        outputs = tuple((name, value) for name, value in outputs if value is not self._inputs.get(name))
        graph = Graph(tuple(self._inputs.items()), outputs, read.name)
        return Import(graph, MappingProxyType(blobs), (*self._definition.warnings(self._read_by_user), *self._warnings))

    def _report(self) -> None:
        label = self._definition.label
        if self._findings:
            raise failure(self._findings, label, ADVICE, LAYERS)
        if self._without_weights and self._model is not None:
            missing, has = self._without_weights, sorted(self._model.blobs)
            raise ImportFailure(
                f"{self._model.label}: has no weights for {len(missing)} layer{'s' if len(missing) > 1 else ''} of "
                f"{label}: {first_names(missing)}; it has {first_names(has) or 'none'}{_nearest(missing[0], has)}. "
                "Weights are found by the names of layers: give the model that belongs to it, or none for random ones"
            )
        if self._model is None and self._random.elements:
            self._warnings.insert(
                0, f"{label}: no model file is given: all weights are random, {self._random.elements} values"
            )

    def warn(self, message: str) -> None:
        """Keep what the author of the network should know."""
        self._warnings.append(f"{self._definition.label}: {message}")

    def has_shape(self, name: str) -> bool:
        """Whether the user says the shape of an input."""
        return name in self._shapes.given

    def input(self, name: str, declared: tuple[int, ...] | None) -> Value:
        """A new input of the network."""
        if name in self._inputs:
            raise ImportFailure(f"input '{name}' is declared twice")
        value = self._shapes.value(name, declared)
        if declared and value.type.shape and value.type.shape[0] != declared[0] and self.declared_batch is None:
            self.declared_batch = declared[0]
        require_possible(value.type)
        self._inputs[name] = value
        self._named.add(value)
        return value

    def _layer(self, definition: LayerDefinition) -> None:
        results: Sequence[Value | _Absent] = [_Absent()] * len(definition.top)
        try:
            results = self._results(definition)
        except Unsupported as error:
            self._findings.append(Finding(definition.type, definition.name, str(error)))
        except NoWeights:
            self._without_weights.append(definition.name)
        except _Skipped:
            pass
        except (ImportFailure, NetworkError) as error:
            raise ImportFailure(f"{self._where(definition)}: {error}") from None
        except (ArithmeticError, LookupError, TypeError, ValueError, MemoryError, RecursionError) as error:
            raise ImportFailure(f"{self._where(definition)}: {type(error).__name__}: {error}") from error
        for name, value in zip(definition.top, results, strict=True):
            self._make(name, value)

    def _where(self, definition: LayerDefinition) -> str:
        return f"{self._definition.label}: layer '{definition.name}' ({definition.type or 'without a type'})"

    def _results(self, definition: LayerDefinition) -> Sequence[Value]:
        handler = handler_of(definition.type)
        try:
            bottoms = [self._read(name) for name in definition.bottom]
        except _Skipped:
            if handler is None:
                raise Unsupported("") from None
            raise
        results = self._own(definition, bottoms)
        if results is None and handler is None:
            raise Unsupported("")
        if results is None and handler is not None:
            results = self._known(definition, handler, bottoms)
        assert results is not None
        if len(results) != len(definition.top):
            raise ImportFailure(f"expected {len(results)} tops, found {len(definition.top)}")
        for value in results:
            require_possible(value.type)
        return results

    def _own(self, definition: LayerDefinition, bottoms: Sequence[Value]) -> Sequence[Value] | None:
        """The tops of a layer that the user says how to compute."""
        if self._custom is None:
            return None
        blobs = () if self._model is None else self._model.blobs.get(definition.name, ())
        made = self._custom(custom_node(definition, bottoms, blobs))
        if made is not None:
            self._read_by_user.update(definition.unknown)
        return made

    def _known(self, definition: LayerDefinition, handler: Handler, bottoms: Sequence[Value]) -> Sequence[Value]:
        stored = self._stored(definition.name)
        layer = Layer(
            definition.name or definition.type,
            definition.type,
            definition.top,
            stored,
            self,
        )
        results = handler(layer, bottoms, definition.parameters)
        stored.finish()
        return results

    def _stored(self, layer: str) -> LayerWeights:
        if self._model is None:
            return self._random.of(layer)
        return ModelWeights(self._model, layer, self._dtype)

    def _read(self, name: str) -> Value:
        if name not in self._blobs:
            later = [layer.name for layer in self._definition.layers if name in layer.top]
            if later:
                raise ImportFailure(
                    f"bottom '{name}' is made only later, by layer '{later[0]}'; layers must come in the order in "
                    "which they compute, without cycles"
                )
            raise ImportFailure(f"bottom '{name}' is made by no layer{_nearest(name, self._blobs)}")
        self._unread.pop(name, None)
        value = self._blobs[name]
        if isinstance(value, _Absent):
            raise _Skipped
        return value

    def _make(self, name: str, value: Value | _Absent) -> None:
        """Let a blob be a value from now on; a value that has a name already gets an identity."""
        if isinstance(value, Value):
            if value in self._named and self._blobs.get(name) is not value and self._inputs.get(name) is not value:
                value = apply(Identity(), value, name=name)
            self._named.add(value)
        self._blobs[name] = value
        self._unread[name] = value


def _nearest(name: str, known: Mapping[str, object] | Sequence[str]) -> str:
    close = difflib.get_close_matches(name[:100], list(known)[:10_000], 3)
    return f"; did you mean {_listed(close)}?" if close else ""


def _listed(found: Mapping[str, object] | Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in found) or "none"
