"""An engine for models that no single plan can express."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, Self

import numpy as np

from tensorwright.base.errors import BuildError, ExecutionError
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.importers.onnx.parts import Part, PartialModel
from tensorwright.runtime.engine import Engine

if TYPE_CHECKING:
    from tensorwright.importers.onnx.host import HostNode, Known
    from tensorwright.tensor.dtype import DType

MOST_STAGES = 64
"""So many variants of what follows a stage are kept; the oldest makes room."""

Key = tuple[object, ...]


@dataclass(eq=False)
class Stage:
    """A part of the network with the engine of its native program, and the stages known to follow it.

    literals: by the types of what is known, the names whose values the next part has to be translated for.
    """

    part: Part
    engine: Engine | None
    literals: dict[Key, tuple[str, ...]] = field(default_factory=dict)
    followers: dict[Key, Stage] = field(default_factory=dict)

    def close(self) -> None:
        for follower in self.followers.values():
            follower.close()
        if self.engine is not None:
            self.engine.close()


class StagedEngine:
    """Runs a model in stages: of each, what can be compiled is one native program, the rest runs on the host.

    It is called like an `Engine`. A stage is compiled when it is first reached with tensors of its types and shapes,
    and with the values of those operands on which its shapes or its course depend (axes, repeats, a condition); what
    is compiled is kept. Nothing of this can be saved as a plan: it needs the model and the compiler.
    """

    def __init__(self, model: PartialModel, config: BuildConfig) -> None:
        self._model = model
        self._config = config
        self._lock = threading.Lock()
        self._start = Stage(Part(frozenset(), after=model.start, kept=model.needed(model.start)), None)
        self._closed = False

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

    @property
    def hosted(self) -> tuple[HostNode, ...]:
        """The nodes that ran on the host so far."""
        found = [node for stage in self._stages() for node in stage.part.hosted]
        return tuple({node.label: node for node in found}.values())

    @property
    def engines(self) -> tuple[Engine, ...]:
        """The native programs compiled so far."""
        return tuple(stage.engine for stage in self._stages() if stage.engine is not None)

    def __call__(self, inputs: Known | Mapping[str, Known]) -> dict[str, Known]:
        """Run on NumPy arrays by name, or on one bare array.

        Sequences are lists of arrays, absent optionals None, strings arrays of objects.

        Raises:
            ExecutionError: the inputs do not fit, or a node on the host fails.
            ImportFailure: a part cannot be translated for these inputs.
        """
        known = self._checked(inputs)
        with self._lock:
            if self._closed:
                raise ExecutionError(f"engine '{self.name}' is closed; build it again")
            stage = self._start
            while stage.part.after.remaining:
                stage = self._following(stage, known)
                known = self._run(stage, known)
            position = stage.part.after
        return {
            name: known[name] if name in known else self._model.constant(name, position) for name in self._model.outputs
        }

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
            self._start.close()
            self._start.followers.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"StagedEngine('{self.name}', inputs {self.input_names}, outputs {self.output_names})"

    def _stages(self) -> Iterator[Stage]:
        stack = [self._start]
        while stack:
            stage = stack.pop()
            yield stage
            stack.extend(stage.followers.values())

    def _following(self, stage: Stage, known: Mapping[str, Known]) -> Stage:
        types: Key = tuple((name, _type_key(known[name])) for name in sorted(known))
        while True:
            literals = stage.literals.get(types, ())
            key = (*types, *((name, _content(known[name])) for name in literals))
            found = stage.followers.get(key)
            if found is not None:
                return found
            part = self._model.part(stage.part.after, known, frozenset(literals))
            if not part.asks:
                break
            stage.literals[types] = tuple(sorted({*literals, *part.asks}))
        return self._remembered(stage, key, part)

    def _remembered(self, stage: Stage, key: Key, part: Part) -> Stage:
        if len(stage.followers) >= MOST_STAGES:
            stage.followers.pop(next(iter(stage.followers))).close()
        engine = Engine(build(part.graph, self._config), self._config.allocator) if part.graph.outputs else None
        stage.followers[key] = Stage(part, engine)
        return stage.followers[key]

    def _run(self, stage: Stage, known: dict[str, Known]) -> dict[str, Known]:
        part, position = stage.part, stage.part.after
        outputs: Mapping[str, Known] = {}
        if stage.engine is not None:
            outputs = stage.engine({feed.binding: _contiguous(feed.value(known)) for feed in part.feeds})
        found: dict[str, Known] = {**known, **part.known_from(outputs, known)}
        for node in part.hosted:
            missing = {name: self._model.constant(name, position) for name in node.inputs if name not in found}
            found |= node.run({**missing, **found})
        return {name: value for name, value in found.items() if name in part.kept}

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


def _contiguous(value: Known) -> np.ndarray[Any, Any]:
    return np.ascontiguousarray(value).reshape(np.shape(value))  # type: ignore[arg-type]
