"""An engine for models that no single plan can express."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NoReturn, Self

import numpy as np

from tensorwright.base.errors import BuildError, ExecutionError
from tensorwright.base.fork import forkable
from tensorwright.build.build import build, timings_for
from tensorwright.build.config import BuildConfig
from tensorwright.build.dump import dump_within
from tensorwright.build.profiles import profiles_among, within
from tensorwright.graph.graph import Graph
from tensorwright.importers.onnx.parts import Form, Part, PartialModel, form_of
from tensorwright.runtime.engine import Engine
from tensorwright.runtime.outputs import OutputAllocators
from tensorwright.staged.control import CONTROL
from tensorwright.staged.forms import History, Types, covers, foreseen, types_of
from tensorwright.staged.outputs import placed
from tensorwright.staged.watch import Watch, size
from tensorwright.tensor.dim import symbols_of

if TYPE_CHECKING:
    from tensorwright.importers.onnx.host import HostNode, Known
    from tensorwright.runtime.outputs import OutputAllocator
    from tensorwright.tensor.dtype import DType
    from tensorwright.tensor.type import TensorType
    from tensorwright.tune.cache import TimingCache

MOST_VARIANTS = 32
"""So many variants of what follows a stage are kept; the oldest makes room."""
MOST_VALUES = 8
"""A stage is compiled for so many values of an operand; with more, the nodes that need them run on the host."""
MOST_EXACT = 4
"""A stage is compiled for so many shapes of nodes that only fixed shapes let translate; then these run on the host."""
MOST_REMEMBERED = 4096
"""For so many shapes it is remembered which variant fits."""

Key = tuple[object, ...]


@dataclass(frozen=True, eq=False)
class Variant:
    """A stage, the forms of what it takes and the values of operands that it was made for."""

    forms: Mapping[str, Form]
    literals: Mapping[str, object]
    stage: Stage


@dataclass(eq=False)
class Continuation:
    """What may follow a stage.

    variants: the newest last. found: which of them, by the exact types and shapes of what is known; a stage that was
    made for values of operands is found by these, too, whose names `asked` has.
    """

    variants: list[Variant] = field(default_factory=list)
    found: dict[Key, Stage] = field(default_factory=dict)
    asked: dict[Key, tuple[str, ...]] = field(default_factory=dict)
    history: History = field(default_factory=History)


@dataclass(eq=False)
class Stage:
    """A part of the network with the engine of its native program, and what follows; the same for all stages after
    which the same is left to do. types: of what is known behind it, as far as they can be said.
    """

    part: Part
    engine: Engine | None
    then: Continuation
    types: Types = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Nested:
    """The engine of a subgraph, within a call of the engine around it.

    around: the types of what it may take from there. types: those of the last results.
    """

    engine: StagedEngine
    watch: Watch
    around: Types
    types: dict[str, TensorType] = field(default_factory=dict)

    @property
    def input_names(self) -> tuple[str, ...]:
        return self.engine.input_names

    @property
    def output_names(self) -> tuple[str, ...]:
        return self.engine.output_names

    def __call__(self, inputs: Mapping[str, Known]) -> dict[str, Known]:
        found, types = self.engine.within(inputs, self.watch, self.around)
        self.types.clear()
        self.types.update(types)
        return found


class StagedEngine:
    """Runs a model in stages: of each, what can be compiled is one native program, the rest runs on the host.

    It is called like an `Engine`. A stage is compiled when it is first reached with tensors of its types and ranks, and
    with the values of those operands on which its shapes or its course depend (axes, repeats, a condition); what is
    compiled is kept. Where shapes are seen to change, it is compiled once more, for all of them.

    Nothing of this can be saved as a plan: it needs the model and the compiler.
    """

    def __init__(self, model: PartialModel, config: BuildConfig, timings: TimingCache | None = None) -> None:
        """timings: those of the engine around a branch or body; None for what the config names."""
        self._model = model
        self._config = config
        self._timings = timings_for(config) if timings is None else timings
        self._lock = forkable(threading.Lock())
        self._watch = Watch(model.name, config)
        self._bodies: dict[tuple[tuple[str, ...], str], StagedEngine] = {}
        first = Part(frozenset(), after=model.start, kept=model.needed(model.start))
        self._start = Stage(first, None, Continuation())
        self._continuations = {model.start.identity: self._start.then}
        self._closed = False
        self._count = 0
        self._output_allocators = OutputAllocators()

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def input_names(self) -> tuple[str, ...]:
        return tuple(self._model.inputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        return self._model.outputs

    def __iter__(self) -> Iterator[str]:
        return iter((*self.input_names, *self.output_names))

    def binding_is_input(self, name: str) -> bool:
        return name in self._model.inputs

    def get_binding_dtype(self, name: str) -> DType | None:
        """The declared element type of an input; None for other things than tensors, and for outputs."""
        type = self._model.inputs.get(name)
        return None if type is None else type.dtype

    def prepare(self) -> None:
        """Compile the first stage for inputs as they are declared, if no values of them are needed for it.

        Raises:
            BuildError: a profile names what is no dimension of the inputs, or asks for more than they allow.
        """
        kept, declared = self._start.part.kept, self._model.inputs
        dims = (dim for type in declared.values() if type is not None for dim in type.shape)
        symbols = dict.fromkeys(found for dim in dims for found in symbols_of(dim))
        profiles_among(tuple(symbols), self._config.profiles, None)
        exact: dict[str, Form] = {n: replace(t, shape=t.tuning_shape) for n, t in declared.items() if t and n in kept}
        ready = all(t is not None for n, t in declared.items() if n in kept) and self._start.part.after.remaining
        if ready and not self._start.then.variants and not self._model.part(self._start.part.after, exact, {}).asks:
            self._new_variant(self._start, exact, {}, {})

    @property
    def hosted(self) -> tuple[HostNode, ...]:
        """The nodes that ran on the host so far."""
        found = [node for stage in self._stages() for node in stage.part.hosted]
        return tuple({node.label: node for node in found}.values())

    @property
    def engines(self) -> tuple[Engine, ...]:
        """The native programs compiled so far."""
        own = [stage.engine for stage in self._stages() if stage.engine is not None]
        return tuple(own + [engine for body in self._bodies.values() for engine in body.engines])

    def __call__(self, inputs: Known | Mapping[str, Known]) -> dict[str, Known]:
        """Run on NumPy arrays by name, or on one bare array.

        Sequences are lists of arrays, absent optionals None, strings arrays of objects.

        Raises:
            ExecutionError: the inputs do not fit, a node on the host fails, the call was cancelled, or it costs more
                than `max_trips`, `max_call_seconds` or `max_memory` of the build allow.
            ImportFailure: a part cannot be translated for these inputs.
        """
        known = self._checked(inputs)
        with self._lock:
            if self._closed:
                raise ExecutionError(f"engine '{self.name}' is closed; build it again")
            self._watch = Watch(self.name, self._config)
            try:
                found, _ = self._results(known, self._watch, {})
                return placed(found, self._output_allocators)
            except MemoryError as error:
                raise ExecutionError(f"engine '{self.name}': the call takes more memory than there is") from error

    def set_output_allocator(self, name: str, allocator: OutputAllocator | None) -> None:
        """Have an allocator give the memory of an output that is a tensor of numbers: it is asked when the size is
        known, which may follow from data, and told the shape; the array that a call returns lies there. None for
        memory of NumPy.

        Raises:
            ExecutionError: the name is no output, or the object no allocator.
        """
        if name not in self.output_names:
            names = ", ".join(map(repr, self.output_names))
            raise ExecutionError(f"engine '{self.name}' has no output '{name}'; expected one of {names}")
        self._output_allocators.set(name, allocator)

    def cancel(self) -> None:
        """End the call that is running on another thread, at its next node, trip of a loop or part; no later one."""
        self._watch.cancel()

    def _results(self, known: dict[str, Known], watch: Watch, types: Types) -> tuple[dict[str, Known], Types]:
        """The outputs, and what can be said of the types of all that is known in the end."""
        stage = self._start
        while stage.part.after.remaining:
            watch.check()
            stage = self._following(stage, known, types)
            known, types = self._run(stage, known, watch)
        position = stage.part.after
        found = {
            name: known[name] if name in known else self._model.constant(name, position) for name in self._model.outputs
        }
        return found, types

    def save(self, path: str | os.PathLike[str]) -> NoReturn:
        """Refused: see the class."""
        raise BuildError(
            f"engine '{self.name}' runs in stages that are compiled as they are reached; it cannot be saved as a plan; "
            "build with strict=True to see which nodes are the reason"
        )

    def serialize(self) -> NoReturn:
        """Refused, as `save`."""
        self.save("")

    def close(self) -> None:
        """Close all engines, after a call that is running. Twice is once."""
        with self._lock:
            self._closed = True
            for stage in self._stages():
                _close(stage)
            self._continuations.clear()
            for body in self._bodies.values():
                body.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"StagedEngine('{self.name}', inputs {self.input_names}, outputs {self.output_names})"

    def _stages(self) -> Iterator[Stage]:
        return (variant.stage for then in self._continuations.values() for variant in then.variants)

    def _following(self, stage: Stage, known: Mapping[str, Known], types: Types) -> Stage:
        key: Key = tuple((name, _type_key(known[name])) for name in sorted(known))
        names = stage.then.asked.get(key)
        found = None if names is None else stage.then.found.get((*key, *_contents(known, names)))
        if found is None:
            exact = {name: form_of(value) for name, value in known.items()}
            variant = _fitting(stage, exact, known) or self._new_variant(stage, exact, known, types)
            names, found = tuple(sorted(variant.literals)), variant.stage
            if len(stage.then.found) >= MOST_REMEMBERED:
                stage.then.found.clear()
                stage.then.asked.clear()
            stage.then.asked[key], stage.then.found[*key, *_contents(known, names)] = names, found
        return found

    def _new_variant(
        self, stage: Stage, exact: Mapping[str, Form], known: Mapping[str, Known], types: Types
    ) -> Variant:
        """For all shapes that may come, if that is no harder than for those that are here."""
        part, literals = self._translated(stage, exact, known)
        for forms in self._generalised(stage, exact, types):
            general, its_literals = self._translated(stage, forms, known)
            as_easy = general.refused <= part.refused and set(its_literals) <= set(literals)
            if as_easy or len(stage.then.variants) >= MOST_EXACT:
                with suppress(BuildError):
                    return self._kept(stage, forms, known, general, its_literals)
        return self._kept(stage, exact, known, part, literals)

    def _kept(
        self, stage: Stage, forms: Mapping[str, Form], known: Mapping[str, Known], part: Part, literals: Iterable[str]
    ) -> Variant:
        """A variant with a part that was translated for some forms, and some values."""
        engine = self._built(part.graph) if part.graph.outputs else None
        values = {name: _content(known[name]) for name in literals}
        then = self._continuations.setdefault(part.after.identity, Continuation())
        variant = Variant(forms, values, Stage(part, engine, then, types_of(part, forms)))
        _make_room(stage.then)
        stage.then.variants.append(variant)
        return variant

    def _built(self, graph: Graph) -> Engine:
        self._count += 1
        config = replace(
            self._config,
            dump=dump_within(self._config.dump, f"part-{self._count:02}"),
            profiles=within(self._config.profiles, graph.symbols()),
        )
        plan = build(graph, config, timings=self._timings)
        return Engine(plan, config.allocator, device=config.device)

    def _translated(
        self, stage: Stage, forms: Mapping[str, Form], known: Mapping[str, Known]
    ) -> tuple[Part, frozenset[str]]:
        """The next part, and the names for whose values it had to be made."""
        literals = frozenset[str]()
        may_ask = sum(bool(variant.literals) for variant in stage.then.variants) < MOST_VALUES
        while True:
            values = {name: known[name] for name in literals}
            part = self._model.part(stage.part.after, forms, values, may_ask)
            if not part.asks:
                return part, literals
            literals |= part.asks

    def _generalised(self, stage: Stage, exact: Mapping[str, Form], types: Types) -> list[Mapping[str, Form]]:
        """Forms with symbols, the best first.

        Inputs are as the model declares them, unless they are outside of that; of others, what types say of extents
        that will be others, and what has been seen; or else only what has been seen.
        """
        declared: dict[str, Form] = {}
        if stage is self._start:
            declared = {name: type for name in exact if (type := self._model.inputs[name]) is not None}
            if not covers(declared, {name: exact[name] for name in declared}):
                declared = {name: exact[name] for name in declared}
        others = {name: form for name, form in exact.items() if name not in declared}
        seen, said = stage.then.history.generalised(others), foreseen(types, others)
        both = {name: said[name] if said[name] != exact[name] else seen[name] for name in others}
        found = [{name: declared.get(name, forms.get(name)) for name in exact} for forms in (both, seen)]
        return [forms for number, forms in enumerate(found) if forms not in (exact, *found[:number])]

    def _run(self, stage: Stage, known: dict[str, Known], watch: Watch) -> tuple[dict[str, Known], Types]:
        part, position = stage.part, stage.part.after
        outputs: Mapping[str, Known] = {}
        if stage.engine is not None:
            outputs = stage.engine({feed.binding: feed.array(known) for feed in part.feeds})
        found: dict[str, Known] = {**known, **part.known_from(outputs, known)}
        types, held = dict(stage.types), sum(map(size, found.values()))
        for node in part.hosted:
            watch.check()
            missing = {name: self._model.constant(name, position) for name in node.inputs if name not in found}
            results = self._on_host(node, {**missing, **found}, watch, types)
            found |= results
            held += sum(map(size, results.values()))
            watch.hold(node.label, held)
        return {name: value for name, value in found.items() if name in part.kept}, types

    def _on_host(
        self, node: HostNode, known: Mapping[str, Known], watch: Watch, types: dict[str, TensorType]
    ) -> dict[str, Known]:
        """What a node gives; adds what can be said of its types."""
        control = CONTROL.get(node.operator) if node.is_standard else None
        if control is None:
            return node.run(known)
        made: list[Nested] = []

        def nested(node: HostNode, attribute: str) -> Nested:
            made.append(Nested(self._body(node, attribute), watch, types))
            return made[-1]

        with node.failing():
            found = control(node, known, nested, watch)
        if node.operator == "If":
            (branch,) = made
            given = zip(node.results, branch.output_names, strict=True)
            types |= {name: branch.types[output] for name, output in given if output in branch.types}
        return found

    def _body(self, node: HostNode, attribute: str) -> StagedEngine:
        """The engine of a branch or body of a node."""
        key = (node.results, attribute)
        if key not in self._bodies:
            inner = dump_within(self._config.dump, f"body-{len(self._bodies) + 1:02}")
            self._bodies[key] = StagedEngine(
                PartialModel(node.subgraph(attribute)), replace(self._config, dump=inner), self._timings
            )
        return self._bodies[key]

    def within(self, inputs: Mapping[str, Known], watch: Watch, types: Types) -> tuple[dict[str, Known], Types]:
        """Run as a branch or body, within a call that has a watch already. Raises as a call.

        types: of what is around. Returns what can be said of those of the results, too.
        """
        return self._results(self._checked(inputs), watch, types)

    def _checked(self, inputs: Known | Mapping[str, Known]) -> dict[str, Known]:
        names = self.input_names
        given = inputs if isinstance(inputs, Mapping) else {names[0]: inputs} if len(names) == 1 else {}
        if set(given) != set(names):
            raise ExecutionError(
                f"engine '{self.name}': expected a dict with the inputs {', '.join(map(repr, names)) or 'none'}, found "
                f"{', '.join(map(repr, given)) or type(inputs).__name__}"
            )
        return {name: self._fitting(name, value) for name, value in given.items() if name in self._start.part.kept}

    def _fitting(self, name: str, value: Known) -> Known:
        type = self._model.inputs[name]
        given: object = value
        array: Any = np.asarray(given) if isinstance(given, np.generic) else given
        if type is None:
            return array  # type: ignore[no-any-return]
        if not isinstance(array, np.ndarray) or array.dtype != type.dtype.numpy or array.ndim != type.rank:
            found = f"{array.dtype}{list(array.shape)}" if isinstance(array, np.ndarray) else type_name(value)
            raise ExecutionError(f"input '{name}' of engine '{self.name}': expected {type}, found {found}")
        fixed = [(dim, extent) for dim, extent in zip(type.shape, array.shape, strict=True) if isinstance(dim, int)]
        if any(dim != extent for dim, extent in fixed):
            raise ExecutionError(
                f"input '{name}' of engine '{self.name}': expected shape {type}, found {list(array.shape)}"
            )
        return array


def type_name(value: object) -> str:
    return type(value).__name__


def _type_key(value: Known) -> object:
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape
    if isinstance(value, list):
        return tuple(_type_key(item) for item in value)
    return type_name(value)


def _content(value: Known) -> object:
    if isinstance(value, np.ndarray):
        return value.tobytes()
    return tuple(_content(item) for item in value) if isinstance(value, list) else None


def _contents(known: Mapping[str, Known], names: Iterable[str]) -> Key:
    return tuple((name, _content(known[name])) for name in names)


def _fitting(stage: Stage, exact: Mapping[str, Form], known: Mapping[str, Known]) -> Variant | None:
    """The newest variant of what follows that is for such forms and such values."""

    def fits(variant: Variant) -> bool:
        same = all(_content(known[name]) == content for name, content in variant.literals.items())
        return same and covers(variant.forms, exact)

    return next((variant for variant in reversed(stage.then.variants) if fits(variant)), None)


def _make_room(then: Continuation) -> None:
    if len(then.variants) >= MOST_VARIANTS:
        oldest = then.variants.pop(0).stage
        _close(oldest)
        then.found = {key: follower for key, follower in then.found.items() if follower is not oldest}


def _close(stage: Stage) -> None:
    if stage.engine is not None:
        stage.engine.close()
