"""What the report of a plan says, with types. What a report does not say, as those of older plans, is left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tensorwright.plan.plan import Json, Plan


@dataclass(frozen=True)
class Trial:
    """A candidate for a step."""

    tactic: str
    config: str
    milliseconds: float | None
    error: float | None
    rejected: str


@dataclass(frozen=True)
class Step:
    """A step. `reads` and `writes` number tensors, `constants` constants; `waits`: all threads wait before it."""

    number: int
    name: str
    operators: tuple[str, ...]
    output: str
    tactic: str
    config: str
    milliseconds: float | None
    estimate: float | None
    error: float | None
    flops: int
    tasks: int
    reads: tuple[int, ...]
    writes: int | None
    constants: tuple[int, ...]
    waits: bool
    trials: tuple[Trial, ...]


@dataclass(frozen=True)
class Tensor:
    """A tensor in the arena or at a binding; see `tensorwright.build.report`."""

    name: str
    type: str
    layout: str
    place: str
    offset: int
    size: int
    first: int
    last: int

    @property
    def end(self) -> int:
        return self.offset + self.size


@dataclass(frozen=True)
class Constant:
    name: str
    type: str
    size: int


@dataclass(frozen=True)
class Facts:
    """threads: how many the times are for; lower_bound: bytes that no arena can go below, if known; memory: levels of
    the machine's memory.
    """

    plan: Plan
    threads: int
    steps: tuple[Step, ...]
    tensors: tuple[Tensor, ...]
    constants: tuple[Constant, ...]
    lower_bound: int | None
    memory: tuple[str, ...]

    @property
    def waits(self) -> int | None:
        """How often all threads wait for each other; the report knows it for the plan's own number of threads."""
        if self.threads == 1:
            return 0
        return sum(step.waits for step in self.steps) if self.threads == self.plan.threads else None

    @property
    def wholes(self) -> tuple[Tensor, ...]:
        """Tensors in the arena that no step writes, since their parts are written where they lie."""
        written = {step.writes for step in self.steps}
        return tuple(t for n, t in enumerate(self.tensors) if n not in written and t.place == "arena")


def facts_of(plan: Plan, threads: int | None = None) -> Facts:
    """The facts of a plan; threads: None for the plan's own number."""
    report = plan.report
    arena, machine = _object(report.get("arena")), _object(report.get("machine"))
    bound = arena.get("lower_bound")
    tensors = tuple(_tensor(_object(item)) for item in _list(report.get("tensors")))
    constants = tuple(_constant(_object(item)) for item in _list(report.get("constants")))
    steps = _list(report.get("steps"))
    return Facts(
        plan,
        threads or plan.threads,
        tuple(_step(n, _object(item), len(tensors), len(constants)) for n, item in enumerate(steps)),
        tensors,
        constants,
        bound if isinstance(bound, int) else None,
        tuple(_level(_object(item)) for item in _list(machine.get("memory"))),
    )


def _step(number: int, item: Mapping[str, Json], tensors: int, constants: int) -> Step:
    writes = item.get("writes")
    return Step(
        number,
        _text(item, "name"),
        tuple(str(name) for name in _list(item.get("operators"))),
        _text(item, "output"),
        _text(item, "tactic"),
        _text(item, "config"),
        _number(item.get("milliseconds")),
        _number(item.get("estimate")),
        _number(item.get("error")),
        _integer(item, "flops"),
        _integer(item, "tasks"),
        _numbers(item.get("reads"), tensors),
        writes if isinstance(writes, int) and 0 <= writes < tensors else None,
        _numbers(item.get("constants"), constants),
        item.get("waits") is True,
        tuple(_trial(_object(trial)) for trial in _list(item.get("trials"))),
    )


def _trial(item: Mapping[str, Json]) -> Trial:
    time, error = _number(item.get("milliseconds")), _number(item.get("error"))
    return Trial(_text(item, "tactic"), _text(item, "config"), time, error, _text(item, "rejected"))


def _tensor(item: Mapping[str, Json]) -> Tensor:
    name, kind, layout, place = (_text(item, key) for key in ("name", "type", "layout", "place"))
    offset, size, first, last = (_integer(item, key) for key in ("offset", "bytes", "first", "last"))
    return Tensor(name, kind, layout, place, offset, size, first, last)


def _constant(item: Mapping[str, Json]) -> Constant:
    return Constant(_text(item, "name"), _text(item, "type"), _integer(item, "bytes"))


def _level(item: Mapping[str, Json]) -> str:
    speed = _number(item.get("gigabytes_per_second")) or 0.0
    return f"{_text(item, 'name')} {speed:.0f} GB/s"


def _object(item: Json) -> Mapping[str, Json]:
    return item if isinstance(item, dict) else {}


def _list(item: Json) -> list[Json]:
    return item if isinstance(item, list) else []


def _text(item: Mapping[str, Json], key: str) -> str:
    found = item.get(key)
    return found if isinstance(found, str) else ""


def _integer(item: Mapping[str, Json], key: str) -> int:
    found = item.get(key)
    return found if isinstance(found, int) else 0


def _number(item: Json) -> float | None:
    return float(item) if isinstance(item, int | float) else None


def _numbers(item: Json, count: int) -> tuple[int, ...]:
    return tuple(n for n in _list(item) if isinstance(n, int) and 0 <= n < count)
