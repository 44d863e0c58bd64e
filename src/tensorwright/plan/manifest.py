"""What a plan says about itself, as JSON; and the same, read without trust."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, NoReturn

from tensorwright.base.errors import BuildError, PlanError
from tensorwright.plan.dimensions import read_dim, write_dim
from tensorwright.plan.fields import Refusal, integer, items, mapping, refuse, sequence, text
from tensorwright.plan.limits import MAX_COUNT, MAX_MANIFEST, MAX_PROFILES, MAX_RANK, MAX_SIZE, MAX_THREADS
from tensorwright.plan.memory import Memory, require_memory, require_ranges
from tensorwright.plan.plan import Base, Binding, IndexUse, Json, MachineStamp, Plan, PlanStep, Slice
from tensorwright.tensor.dim import Dim, Symbol, bounds
from tensorwright.tensor.dtype import DTYPES
from tensorwright.tensor.type import TensorType

CODE_ALIGNMENT = 64
BASES: tuple[Base, ...] = ("arena", "weights", "binding")
_ADVICE = "the plan was not written by this program: build it again"


@dataclass(frozen=True)
class Facts:
    """What a plan says of its program."""

    bindings: tuple[Binding, ...]
    symbols: tuple[Symbol, ...]
    entries: Mapping[str, int]
    libraries: Mapping[str, str]
    arena_bytes: int
    workspace_bytes: int
    steps: tuple[PlanStep, ...]
    tables: tuple[tuple[int, int], ...]
    indices: tuple[IndexUse, ...]


@dataclass(frozen=True)
class Manifest:
    """Everything of a plan but its code and weights. document: as it was written."""

    name: str
    stamp: MachineStamp
    batch_symbol: str | None
    threads: int
    facts: Facts
    report: Mapping[str, Json]
    seal: str
    profiles: tuple[ProfileManifest, ...]
    document: Mapping[str, Json]


@dataclass(frozen=True)
class ProfileManifest:
    """What a plan says of one of its profiles. code: offset and size of its code within that of the plan."""

    facts: Facts
    code: tuple[int, int]


def write_manifest(plan: Plan) -> bytes:
    """The manifest of a plan as JSON in UTF-8.

    Raises:
        PlanError: the report holds what JSON cannot say, or is too long.
    """
    document = {**document_of(plan), "report": plan.report, "seal": plan.seal}
    try:
        text = json.dumps(document, separators=(",", ":"), default=_refuse_type).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise PlanError(
            f"plan '{plan.name}' cannot be written as JSON: {error}; use plain data in its report"
        ) from error
    if len(text) > MAX_MANIFEST:
        raise PlanError(f"plan '{plan.name}': its manifest has {len(text)} bytes, expected at most {MAX_MANIFEST}")
    return text


def document_of(plan: Plan) -> dict[str, Json]:
    """The manifest without its report and its seal."""
    places = _places([len(profile.executable.code) for profile in plan.profiles])
    return {
        "name": plan.name,
        "stamp": {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(plan.stamp).items()},
        "batch_symbol": plan.batch_symbol,
        "threads": plan.threads,
        **_written_program(plan),
        "profiles": [
            {**_written_program(profile), "code": [start, len(profile.executable.code)]}
            for start, profile in zip(places, plan.profiles, strict=True)
        ],
    }


def joined_code(codes: Sequence[bytes]) -> bytes:
    """The code of a plan whose profiles have these codes."""
    joined = bytearray()
    for start, code in zip(_places([len(code) for code in codes]), codes, strict=True):
        joined += bytes(start - len(joined)) + code
    return bytes(joined)


def _places(sizes: Sequence[int]) -> list[int]:
    """Where the codes of profiles start within that of their plan."""
    places, end = [], 0
    for size in sizes:
        places.append(end)
        end += -(-size // CODE_ALIGNMENT) * CODE_ALIGNMENT
    return places


def _written_program(plan: Plan) -> dict[str, Json]:
    sizes: dict[Dim, int] = {}
    return {
        "symbols": _written_symbols(plan.symbols),
        "bindings": _written_bindings(plan.bindings),
        "entries": dict(sorted(plan.executable.entries.items())),
        "libraries": dict(sorted(plan.executable.libraries.items())),
        "arena_bytes": plan.arena_bytes,
        "workspace_bytes": plan.workspace_bytes,
        "steps": [_written_step(step, sizes) for step in plan.steps],
        "indices": [
            [use.node, use.place, [sizes.setdefault(extent, len(sizes)) for extent in use.extents], use.signed]
            for use in plan.indices
        ],
        "sizes": [write_dim(size) for size in sizes],
        "tables": [list(table) for table in plan.tables],
    }


def _written_symbols(symbols: Sequence[Symbol]) -> list[Json]:
    return [[symbol.name, symbol.min, symbol.opt, symbol.max] for symbol in symbols]


def _written_bindings(bindings: Sequence[Binding]) -> list[Json]:
    return [
        {
            "name": binding.name,
            "mode": binding.mode,
            "dtype": binding.type.dtype.name,
            "shape": [write_dim(dim) for dim in binding.type.shape],
        }
        for binding in bindings
    ]


def _written_step(step: PlanStep, sizes: dict[Dim, int]) -> list[Json]:
    """Sizes are said once: steps refer to them by number."""

    def written(slices: Sequence[Slice]) -> list[Json]:
        return [[part.base, part.place, sizes.setdefault(part.bytes, len(sizes))] for part in slices]

    return [step.workspace, written(step.writes), written(step.reads)]


def read_manifest(text: bytes | memoryview, code_bytes: int, weights_bytes: int) -> Manifest:
    """The manifest that JSON text holds, for a plan with so many bytes of code and of weights.

    Raises:
        PlanError: the text is no JSON or says what no plan can mean; the message names the place.
    """
    try:
        document = json.loads(bytes(text))
        return _Reader(code_bytes, weights_bytes).manifest(document)
    except Refusal as refusal:
        raise PlanError(f"the plan's manifest, {refusal}; {_ADVICE}") from None
    except (ValueError, RecursionError) as error:
        raise PlanError(f"the plan's manifest is no readable JSON: {error}; {_ADVICE}") from error


def require_possible(symbols: Sequence[Symbol], bindings: Sequence[Binding], threads: int) -> None:
    """Refuse, before anything is tuned or compiled, what no plan can say.

    Raises:
        BuildError: inputs or outputs are too large, or threads too many.
    """
    reader = _Reader(0, 0)
    try:
        reader.bindings({"symbols": _written_symbols(symbols), "bindings": _written_bindings(bindings)})
        integer(threads, "threads", 1, MAX_THREADS)
    except Refusal as refusal:
        raise BuildError(f"this network cannot be built, {refusal}; {_SMALLER}") from None


def require_readable(plan: Plan) -> None:
    """Refuse a plan that was just made and could not be loaded.

    Raises:
        BuildError: it is too large.
    """
    try:
        _Reader(len(plan.executable.code), plan.weights.nbytes).manifest(
            {**document_of(plan), "report": {}, "seal": plan.seal}
        )
    except Refusal as refusal:
        raise BuildError(f"this network cannot be built, {refusal}; {_SMALLER}") from None


_SMALLER = "use smaller shapes, ranges or fewer threads"


class _Reader:
    """Reads one document; remembers the symbols, which dimensions refer to by name."""

    def __init__(self, code_bytes: int, weights_bytes: int) -> None:
        self._code_bytes = code_bytes
        self._weights_bytes = weights_bytes
        self._symbols: dict[str, Symbol] = {}

    def manifest(self, document: Json) -> Manifest:
        top = mapping(document, "manifest")
        profiles = items(top, "profiles")
        facts = self.facts(top, has_profiles=bool(profiles))
        return Manifest(
            name=text(top, "name", "manifest"),
            stamp=_stamp(mapping(top.get("stamp"), "stamp")),
            batch_symbol=self._batch_symbol(top.get("batch_symbol")),
            threads=integer(top.get("threads"), "threads", 1, MAX_THREADS),
            facts=facts,
            report=mapping(top.get("report"), "report"),
            seal=text(top, "seal", "manifest"),
            profiles=self._profiles(profiles, facts),
            document=top,
        )

    def facts(self, top: Mapping[str, Json], *, has_profiles: bool = False) -> Facts:
        """What is said of a program. has_profiles: it is that of a plan with profiles, which has no steps."""
        symbols, bindings = self.bindings(top)
        facts = Facts(
            bindings=bindings,
            symbols=symbols,
            entries=self._entries(mapping(top.get("entries"), "entries")),
            libraries=_libraries(mapping(top.get("libraries"), "libraries")),
            arena_bytes=integer(top.get("arena_bytes"), "arena_bytes", 0, MAX_SIZE),
            workspace_bytes=integer(top.get("workspace_bytes"), "workspace_bytes", 0, MAX_SIZE // MAX_THREADS),
            steps=self._steps(top),
            indices=self._indices(top),
            tables=self._tables(items(top, "tables")),
        )
        require_ranges(facts.indices, facts.arena_bytes)
        if not has_profiles:
            memory = Memory(facts.bindings, facts.arena_bytes, facts.workspace_bytes, self._weights_bytes)
            require_memory(memory, facts.steps)
        elif facts.steps or facts.indices or facts.entries:
            raise Refusal("profiles: expected steps, indices and entries to be those of the profiles")
        return facts

    def _profiles(self, profiles: list[Json], whole: Facts) -> tuple[ProfileManifest, ...]:
        if len(profiles) > MAX_PROFILES:
            refuse("profiles", f"at most {MAX_PROFILES}", len(profiles))
        return tuple(self._profile(item, f"profiles[{number}]", whole) for number, item in enumerate(profiles))

    def _profile(self, item: Json, where: str, whole: Facts) -> ProfileManifest:
        top = mapping(item, where)
        code = top.get("code")
        if not isinstance(code, list) or len(code) != 2:
            refuse(f"{where}.code", "[offset, size]", code)
        start = integer(code[0], f"{where}.code", 0, self._code_bytes)
        size = integer(code[1], f"{where}.code", 1, self._code_bytes - start)
        try:
            facts = _Reader(size, self._weights_bytes).facts(top)
        except Refusal as refusal:
            raise Refusal(f"{where}.{refusal}") from None
        if _outline(facts.bindings) != _outline(whole.bindings):
            refuse(f"{where}.bindings", f"those of the plan, {_outline(whole.bindings)}", _outline(facts.bindings))
        for name, of_profile, of_plan in (
            ("arena_bytes", facts.arena_bytes, whole.arena_bytes),
            ("workspace_bytes", facts.workspace_bytes, whole.workspace_bytes),
        ):
            integer(of_profile, f"{where}.{name}", 0, of_plan)
        ranges = {symbol.name: symbol for symbol in whole.symbols}
        for symbol in facts.symbols:
            known = ranges.get(symbol.name)
            if known is None or symbol.min < known.min or symbol.max > known.max:
                refuse(f"{where}.symbols", f"ranges within those of the plan, {list(ranges.values())}", symbol)
        if len(facts.symbols) != len(ranges):
            refuse(f"{where}.symbols", f"all of {', '.join(ranges)}", [symbol.name for symbol in facts.symbols])
        return ProfileManifest(facts, (start, size))

    def bindings(self, top: Mapping[str, Json]) -> tuple[tuple[Symbol, ...], tuple[Binding, ...]]:
        """The symbols and, over them, the bindings."""
        symbols = tuple(self._symbol(item, f"symbols[{n}]") for n, item in enumerate(items(top, "symbols")))
        bindings = tuple(self._binding(item, f"bindings[{n}]") for n, item in enumerate(items(top, "bindings")))
        names = [binding.name for binding in bindings]
        if len(set(names)) != len(names):
            refuse("bindings", "every name once", names)
        return symbols, bindings

    def _sizes(self, top: Mapping[str, Json]) -> list[Dim]:
        return [read_dim(item, self._symbols, f"sizes[{n}]") for n, item in enumerate(items(top, "sizes"))]

    def _indices(self, top: Mapping[str, Json]) -> tuple[IndexUse, ...]:
        used = items(top, "indices")
        sizes = self._sizes(top) if used else []
        return tuple(_index_use(item, sizes, f"indices[{n}]") for n, item in enumerate(used))

    def _steps(self, top: Mapping[str, Json]) -> tuple[PlanStep, ...]:
        sizes = self._sizes(top)
        return tuple(_step(item, sizes, f"steps[{n}]") for n, item in enumerate(items(top, "steps")))

    def _tables(self, items: list[Json]) -> tuple[tuple[int, int], ...]:
        found, end = [], 0
        for number, item in enumerate(items):
            where = f"tables[{number}]"
            if not isinstance(item, list) or len(item) != 2:
                refuse(where, "[offset, size]", item)
            offset = integer(item[0], where, end, self._weights_bytes)
            size = integer(item[1], where, 1, self._weights_bytes - offset)
            end = offset + size
            found.append((offset, size))
        return tuple(found)

    def _symbol(self, item: Json, where: str) -> Symbol:
        if not isinstance(item, list) or len(item) != 4 or not isinstance(item[0], str):
            refuse(where, "[name, min, opt, max]", item)
        name = item[0]
        low, opt, high = (integer(value, where, 0, MAX_SIZE) for value in item[1:])
        if name in self._symbols or not name:
            refuse(where, "a name of its own", name)
        if not low <= opt <= high:
            refuse(where, "min <= opt <= max", item)
        self._symbols[name] = Symbol(name, low, opt, high)
        return self._symbols[name]

    def _batch_symbol(self, name: Json) -> str | None:
        if name is not None and (not isinstance(name, str) or name not in self._symbols):
            refuse("batch_symbol", "null or the name of a symbol", name)
        return name

    def _entries(self, entries: Mapping[str, Json]) -> dict[str, int]:
        if len(entries) > MAX_COUNT:
            refuse("entries", f"at most {MAX_COUNT} names", len(entries))
        return {name: integer(at, f"entries.{name}", 0, self._code_bytes - 1) for name, at in entries.items()}

    def _binding(self, item: Json, where: str) -> Binding:
        fields = mapping(item, where)
        dtype, shape = fields.get("dtype"), fields.get("shape")
        if not isinstance(dtype, str) or dtype not in DTYPES:
            refuse(f"{where}.dtype", f"one of {', '.join(DTYPES)}", dtype)
        if not isinstance(shape, list) or len(shape) > MAX_RANK:
            refuse(f"{where}.shape", f"a list of at most {MAX_RANK} dimensions", shape)
        dims = tuple(read_dim(dim, self._symbols, f"{where}.shape[{axis}]") for axis, dim in enumerate(shape))
        type = TensorType(DTYPES[dtype], dims)
        if any(bounds(dim)[1] < 0 for dim in dims) or type.max_bytes > MAX_SIZE:
            refuse(f"{where}.shape", f"no negative dimension and at most {MAX_SIZE} bytes", shape)
        return Binding(text(fields, "name", where), _mode(fields.get("mode"), f"{where}.mode"), type)


def _outline(bindings: Sequence[Binding]) -> list[tuple[str, str, str, int]]:
    """What of bindings does not depend on sizes."""
    return [(b.name, b.mode, b.type.dtype.name, len(b.type.shape)) for b in bindings]


def _libraries(found: Mapping[str, Json]) -> dict[str, str]:
    if len(found) > MAX_COUNT:
        refuse("libraries", f"at most {MAX_COUNT} names", len(found))
    return {name: text(found, name, "libraries") for name in found}


def _stamp(fields: Mapping[str, Json]) -> MachineStamp:
    features = fields.get("features")
    if not isinstance(features, list):
        refuse("stamp.features", "a list of names", features)
    return MachineStamp(
        package_version=text(fields, "package_version", "stamp"),
        device=text(fields, "device", "stamp"),
        architecture=text(fields, "architecture", "stamp"),
        operating_system=text(fields, "operating_system", "stamp"),
        target=text(fields, "target", "stamp"),
        features=tuple(item if isinstance(item, str) else refuse("stamp.features", "names", item) for item in features),
        model=text(fields, "model", "stamp"),
    )


def _step(item: Json, sizes: Sequence[Dim], where: str) -> PlanStep:
    if not isinstance(item, list) or len(item) != 3:
        refuse(where, "[workspace, writes, reads]", item)
    workspace = integer(item[0], where, 0, MAX_SIZE)
    writes = tuple([_slice(part, sizes, where) for part in sequence(item[1], where)])
    reads = tuple([_slice(part, sizes, where) for part in sequence(item[2], where)])
    return PlanStep(writes, reads, workspace)


def _index_use(item: Json, sizes: Sequence[Dim], where: str) -> IndexUse:
    if not isinstance(item, list) or len(item) != 4 or not isinstance(item[0], str) or not isinstance(item[3], bool):
        refuse(where, "[node, place, [size, ...], signed]", item)
    numbers = [integer(number, where, 0, len(sizes) - 1) for number in sequence(item[2], where)]
    return IndexUse(item[0], integer(item[1], where, 0, MAX_SIZE), tuple(sizes[number] for number in numbers), item[3])


def _slice(item: Json, sizes: Sequence[Dim], where: str) -> Slice:
    if not isinstance(item, list) or len(item) != 3 or item[0] not in BASES:
        refuse(where, f"[base, place, size], the base one of {', '.join(BASES)}", item)
    base = BASES[BASES.index(item[0])]
    return Slice(base, integer(item[1], where, 0, MAX_SIZE), sizes[integer(item[2], where, 0, len(sizes) - 1)])


def _mode(value: Json, where: str) -> Literal["input", "output"]:
    if value == "input":
        return "input"
    if value == "output":
        return "output"
    return refuse(where, "input or output", value)


def _refuse_type(value: object) -> NoReturn:
    raise TypeError(f"{type(value).__name__} is no JSON type")
