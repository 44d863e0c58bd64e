"""A model that is translated part by part, as its tensors become known.

Some nodes cannot be translated before the network runs: the values of an operand decide their shape (the axes of a
reduction that are an input), or nothing here computes them (strings). A part is what can be translated with the tensors
that are known so far, together with the nodes that then run on the host. Its results are known for the next part.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, ValueInfoProto, numpy_helper
from onnx.inliner import inline_local_functions

from tensorwright.base.errors import ImportFailure, NetworkError
from tensorwright.graph.graph import Graph, Input, Value, constant_value, input_value, is_constant, weights_in
from tensorwright.importers.contents import contents_of
from tensorwright.importers.failures import Unsupported
from tensorwright.importers.onnx.host import HostNode, Known, host_node
from tensorwright.importers.onnx.inputs import InputShapes, Shapes
from tensorwright.importers.onnx.narrow import HELD, Narrow, SmallType
from tensorwright.importers.onnx.node import Term
from tensorwright.importers.onnx.read import read_model
from tensorwright.importers.onnx.scope import Absent, Meaning, Rows, node_names
from tensorwright.importers.onnx.translate import Refusal, Translator, agreement_of
from tensorwright.tensor.dim import Symbol, expression, symbols_of
from tensorwright.tensor.dtype import dtype_of
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of

Array = npt.NDArray[np.generic]

LARGEST_OPERAND = 64
"""A part is translated for the values of an operand with at most so many elements; with more, the node that asks for
them runs on the host."""


@dataclass(frozen=True)
class Opaque:
    """What no kernel can take, such as strings."""

    reason: str


@dataclass(frozen=True)
class NarrowType(TensorType):
    """The type of a tensor of a small type, as it is held. small: its own type."""

    small: SmallType


Form = TensorType | tuple["Form", ...] | Opaque | None
"""What is said of a known thing before its values: the type of a tensor (dimensions may be symbolic), the forms of the
items of a sequence; None for an absent optional."""


def form_of(known: Known) -> Form:
    """The form of something known, all dimensions fixed."""
    if known is None:
        return None
    if isinstance(known, list):
        return tuple(form_of(item) for item in known)
    if not isinstance(known, np.ndarray):
        return Opaque(f"a {type(known).__name__} is no tensor")
    if known.dtype.name in HELD:
        return NarrowType(HELD[known.dtype.name], known.shape, known.dtype)
    try:
        return TensorType(dtype_of(known.dtype), known.shape)
    except NetworkError:
        return Opaque(f"element type {known.dtype.name} is not supported")


@dataclass(frozen=True)
class Position:
    """How far a model is translated: the nodes that remain, and the names that are constants by now."""

    remaining: tuple[int, ...]
    constants: Mapping[str, Term] = field(default_factory=dict)

    @property
    def identity(self) -> tuple[object, ...]:
        """Equal for positions from which the same follows."""
        return self.remaining, tuple((name, _identity(term)) for name, term in sorted(self.constants.items()))


@dataclass(frozen=True)
class Feed:
    """An input of a part's graph: a known tensor, or one item of a known sequence."""

    binding: str
    name: str
    path: tuple[int, ...]
    type: TensorType

    def array(self, known: Mapping[str, Known]) -> Array:
        """The tensor as the graph takes it."""
        found = known[self.name]
        for index in self.path:
            assert isinstance(found, list)
            found = found[index]
        return np.ascontiguousarray(found, self.type.dtype.numpy).reshape(np.shape(found))  # type: ignore[arg-type]


NOTHING = Graph((), ())


@dataclass(frozen=True)
class Part:
    """See the module.

    asks: names whose values the part has to be translated for; if there are any, nothing else of it counts.
    refused: the numbers of the nodes that cannot be translated yet.
    graph: what is translated. feeds: its inputs. results: what it gives, by name.
    hosted: what runs on the host afterwards. after: what remains then. kept: the names that are needed from then on.
    """

    asks: frozenset[str]
    graph: Graph = NOTHING
    feeds: tuple[Feed, ...] = ()
    results: Mapping[str, Term | Rows] = field(default_factory=dict)
    hosted: tuple[HostNode, ...] = ()
    after: Position = Position(())
    kept: frozenset[str] = frozenset()
    refused: frozenset[int] = frozenset()

    def known_from(self, outputs: Mapping[str, Known], known: Mapping[str, Known]) -> dict[str, Known]:
        """All results, from the outputs of the graph and what was known before."""
        arrays: dict[Value, Known] = {value: outputs[name] for name, value in self.graph.outputs}
        arrays |= {value: feed.array(known) for feed, (_, value) in zip(self.feeds, self.graph.inputs, strict=True)}
        return {name: _result(term, arrays) for name, term in self.results.items()}


class PartialModel:
    """A model to be translated part by part.

    source, shapes: as for `import_onnx`.

    Raises:
        ImportFailure: the model cannot be read.
    """

    def __init__(self, source: str | os.PathLike[str] | bytes | ModelProto, shapes: Shapes | None = None) -> None:
        read = read_model(source)
        # A node of the main graph is the least that can wait or run on the host.
        flat = inline_local_functions(read.model) if read.model.functions else read.model
        self._source = replace(read, model=flat)
        graph = self._model.graph
        self.name = graph.name or "network"
        self.outputs = tuple(value.name for value in graph.output)
        initial = {t.name for t in graph.initializer} | {t.values.name for t in graph.sparse_initializer}
        declared = [value for value in graph.input if value.name not in initial]
        resolver = InputShapes(shapes, declared, agreement_of(self._source, shapes).restriction)
        self.inputs = {value.name: _type(resolver, value) for value in declared}
        made = {name for node in graph.node for name in node.output if name}
        self._names = frozenset(made | initial | set(self.inputs))
        self._translator = Translator(self._source, by_parts=True)
        self._constants = self._translator.constants()
        self._uses = [node_names(node) & self._names for node in graph.node]

    @property
    def _model(self) -> ModelProto:
        return self._source.model

    @property
    def start(self) -> Position:
        """Nothing is translated; nodes that no output needs are left out."""
        wanted, remaining = set(self.outputs), []
        for number in reversed(range(len(self._uses))):
            if wanted & set(self._model.graph.node[number].output):
                remaining.append(number)
                wanted |= self._uses[number]
        return Position(tuple(reversed(remaining)))

    def needed(self, position: Position) -> frozenset[str]:
        """The names that the nodes which remain, or the model's outputs, take from what came before."""
        return frozenset(self.outputs).union(*(self._uses[number] for number in position.remaining))

    def constant(self, name: str, position: Position) -> Known:
        """The value of a name that is a constant of the model, or has become one.

        Raises:
            ImportFailure: there is no such name, or its data do not fit its shape.
        """
        term = position.constants.get(name, self._constants.get(name, Absent()))
        if not isinstance(term, Absent | Rows):
            return _resolved(term, {})
        stored = next((tensor for tensor in self._model.graph.initializer if tensor.name == name), None)
        if stored is None:
            raise ImportFailure(f"{self._source.label}: tensor '{name}' is made by no node")
        try:
            return numpy_helper.to_array(stored)
        except (TypeError, ValueError) as error:
            raise ImportFailure(f"{self._source.label}: tensor '{name}': {error}; is the file damaged?") from error

    def is_constant(self, name: str, position: Position) -> bool:
        return name in self._constants or name in position.constants

    def part(
        self, position: Position, forms: Mapping[str, Form], literals: Mapping[str, Known], may_ask: bool = True
    ) -> Part:
        """The next part.

        Args:
            position: from where on.
            forms: of all that is known.
            literals: the values of some of it, for which the part is made.
            may_ask: whether the values of more may be asked for; else nodes that need them run on the host.

        Raises:
            ImportFailure: no node that remains can be translated or run on the host.
        """
        entries: dict[Value, Feed] = {}
        made_again = {name for number in position.remaining for name in self._model.graph.node[number].output}
        scope: dict[str, Meaning] = dict(self._constants)
        for name, form in forms.items():
            if name in literals:
                scope[name] = _literal(name, literals[name])
            elif name not in made_again:
                scope[name] = _meaning(name, form, entries)
        scope |= position.constants
        refusals = self._translator.translate(scope, position.remaining)
        asks, hosted = self._sorted(refusals, scope, entries, may_ask)
        if asks:
            return Part(asks)
        return self._assembled(position, scope, entries, hosted, refusals)

    def _sorted(
        self, refusals: Sequence[Refusal], scope: Mapping[str, Meaning], entries: Mapping[Value, Feed], may_ask: bool
    ) -> tuple[frozenset[str], list[Refusal]]:
        """The names whose values would help, and the nodes that run on the host.

        The others need values that this part computes.
        """
        made = {value for term in scope.values() for value in _values(term)}
        asks, hosted = set[str](), []
        for refusal in refusals:
            sources = [value for need in refusal.needs for value in _sources(need, made)]
            too_large = any(_elements(value) > LARGEST_OPERAND for value in sources)
            is_here = all(value in entries for value in sources)
            if not sources or too_large or (is_here and not may_ask):
                hosted.append(refusal)
            elif is_here:
                asks |= {entries[value].name for value in sources}
        return frozenset(asks), hosted

    def _assembled(
        self,
        position: Position,
        scope: Mapping[str, Meaning],
        entries: Mapping[Value, Feed],
        hosted: Iterable[Refusal],
        refusals: Sequence[Refusal],
    ) -> Part:
        nodes = self._model.graph.node
        open_numbers = [
            n for n in position.remaining if any(isinstance(scope.get(o), Absent) for o in nodes[n].output if o)
        ]
        absent = {output for number in open_numbers for output in nodes[number].output}
        ready = [refusal for refusal in hosted if not self._uses[refusal.number] & absent]
        done = {refusal.number for refusal in ready}
        translated = [number for number in position.remaining if number not in open_numbers]
        waiting = [number for number in open_numbers if number not in done]
        remaining = tuple(sorted([*waiting, *self._again(waiting, translated, scope)]))
        if remaining == position.remaining:
            raise ImportFailure(f"{self._source.label}: {'; '.join(refusal.reason for refusal in refusals)}")
        wanted = self.needed(Position((*open_numbers, *remaining)))
        made = {o for n in translated for o in nodes[n].output if o in wanted}
        sized = {name: _term(meaning) for name in sorted(made) if not isinstance(meaning := scope[name], Rows)}
        constants = {name: term for name, term in sized.items() if all(map(is_constant, _values(term)))}
        after = Position(remaining, {**position.constants, **constants})
        results: dict[str, Term | Rows] = {name: term for name, term in sized.items() if name not in constants}
        results |= {name: rows for name in sorted(made) if isinstance(rows := scope[name], Rows)}
        graph, feeds = _graph(self.name, results, entries)
        on_host = [host_node(nodes[r.number], self._model, self._names, r.reason) for r in ready]
        refused = frozenset(refusal.number for refusal in refusals)
        return Part(frozenset(), graph, feeds, results, tuple(on_host), after, self.needed(after), refused)

    def _again(self, waiting: Iterable[int], translated: Sequence[int], scope: Mapping[str, Meaning]) -> list[int]:
        """The nodes that give symbolic dimensions to others: those are known only while their sources are."""
        wanted = set[str]().union(*(self._uses[number] for number in waiting))
        again = []
        for number in reversed(translated):
            outputs = [name for name in self._model.graph.node[number].output if name in scope]
            if wanted & set(outputs) and all(_is_symbolic(scope[name]) for name in outputs):
                again.append(number)
                wanted |= self._uses[number]
        return again


def _type(resolver: InputShapes, value: ValueInfoProto) -> TensorType | None:
    """The declared type of an input; None where there is none, or it is no tensor of a type that kernels know."""
    if not value.type.tensor_type.HasField("shape"):
        return None
    try:
        return resolver.type_of(value)
    except Unsupported:
        return None


def _meaning(name: str, form: Form, entries: dict[Value, Feed], path: tuple[int, ...] = ()) -> Meaning:
    if form is None:
        return None
    if isinstance(form, Opaque):
        return Absent(f"tensor '{name}': {form.reason}")
    if isinstance(form, tuple):
        return _sequence([_meaning(name, item, entries, (*path, number)) for number, item in enumerate(form)])
    binding = name + "".join(f"[{number}]" for number in path)
    value = input_value(binding, TensorType(form.dtype, form.shape))
    entries[value] = Feed(binding, name, path, value.type)
    return Narrow(value, form.small) if isinstance(form, NarrowType) else value


def _literal(name: str, known: Known) -> Meaning:
    if isinstance(known, list):
        return _sequence([_literal(name, item) for item in known])
    if known is None:
        return None
    array = np.asarray(known)
    if array.dtype.name in HELD:
        return Narrow(constant_value(weights_of(array.astype(HELD[array.dtype.name].numpy)), name), array.dtype)
    return constant_value(weights_of(array), name)


def _sequence(items: Sequence[Meaning]) -> Meaning:
    refused = next((item for item in items if isinstance(item, Absent)), None)
    return tuple(_term(item) for item in items) if refused is None else refused


def _is_symbolic(meaning: Meaning) -> bool:
    return isinstance(meaning, Value) and not is_constant(meaning) and contents_of(meaning) is not None


def _graph(
    name: str, results: Mapping[str, Term | Rows], entries: Mapping[Value, Feed]
) -> tuple[Graph, tuple[Feed, ...]]:
    """The graph of all values in `results` that are neither inputs nor constants, with the inputs that it needs."""
    found = [(f"{n}{place}", value) for n, result in results.items() for place, value in _placed(result)]
    named = {value: label for label, value in reversed(found)}
    outputs = [(label, value) for value, label in named.items() if not is_constant(value) and value not in entries]
    inner = Graph((), tuple(outputs)).order()
    inputs = dict.fromkeys([v for v in inner if isinstance(v.op, Input)] + [v for v in named if v in entries])
    for value in entries:  # Operators may use a symbol that none of their operands shows.
        if _stated([value]) - _stated(inputs):
            inputs[value] = None
    pairs = tuple((entries[value].binding, value) for value in inputs)
    return Graph(pairs, tuple(outputs), name), tuple(entries[value] for value in inputs)


def _stated(values: Iterable[Value]) -> set[Symbol]:
    """The symbols that the shapes of some values show."""
    dims = [dim for value in values for dim in value.type.shape]
    return {symbol for dim in dims for symbol in symbols_of(dim) if dim == expression(symbol)}


def _placed(term: Term | Rows, place: str = "") -> Iterator[tuple[str, Value]]:
    if isinstance(term, Value):
        yield place, term
    elif isinstance(term, Narrow):
        yield place, term.value
    elif isinstance(term, Rows):
        yield from ((place, term.value), (f"{place}?", term.kept))
    elif isinstance(term, tuple):
        for number, item in enumerate(term):
            yield from _placed(item, f"{place}[{number}]")


def _values(term: Meaning) -> Iterator[Value]:
    if not isinstance(term, Absent):
        yield from (value for _, value in _placed(term))


def _term(meaning: Meaning) -> Term:
    assert not isinstance(meaning, Absent | Rows)
    return meaning


def _sources(value: Value, made: set[Value]) -> Iterator[Value]:
    """The nearest values with a name in the model, from which a value follows; constants are left out."""
    stack, seen = [value], set[Value]()
    while stack:
        found = stack.pop()
        if found in seen or is_constant(found):
            continue
        seen.add(found)
        if found in made:
            yield found
        else:
            stack.extend(found.inputs)


def _elements(value: Value) -> int:
    count = value.type.elements
    return count if isinstance(count, int) else LARGEST_OPERAND + 1


def _identity(term: Term) -> object:
    if isinstance(term, tuple):
        return tuple(_identity(item) for item in term)
    if isinstance(term, Narrow):
        return term.dtype.name, _identity(term.value)
    return None if term is None else weights_in(term).digest


def _result(result: Term | Rows, arrays: Mapping[Value, Known]) -> Known:
    if not isinstance(result, Rows):
        return _resolved(result, arrays)
    value, kept = (np.asarray(_resolved(one, arrays)) for one in (result.value, result.kept))
    return np.ascontiguousarray(value[kept])


def _resolved(term: Term, arrays: Mapping[Value, Known]) -> Known:
    if term is None:
        return None
    if isinstance(term, tuple):
        return [_resolved(item, arrays) for item in term]
    if isinstance(term, Narrow):
        return np.asarray(_resolved(term.value, arrays)).astype(term.dtype)
    return arrays[term] if term in arrays else weights_in(term).array
