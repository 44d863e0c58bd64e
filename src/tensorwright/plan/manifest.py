"""What a plan says about itself, as JSON; and the same, read without trust.

A dimension is an integer or ``["sum", [coefficient, atom, ...], ...]``; an atom is the name of a symbol or
``[operator, left, right]`` with one of the operators ``//``, ``%``, ``min`` and ``max``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal, NoReturn

from tensorwright.base.errors import PlanError
from tensorwright.plan.plan import Binding, Json, MachineStamp, Plan
from tensorwright.tensor.dim import (
    Atom,
    Dim,
    Extremum,
    IntegerExpression,
    Monomial,
    Quotient,
    Remainder,
    Symbol,
    bounds,
)
from tensorwright.tensor.dtype import DTYPES
from tensorwright.tensor.type import TensorType

ENTRIES = ("run", "worker", "stop")
MAX_BYTES = 32 << 20
MAX_SIZE = 1 << 46
MAX_RANK = 64
MAX_DEPTH = 16
MAX_TERMS = 64
MAX_COUNT = 1 << 16
MAX_THREADS = 1024


@dataclass(frozen=True)
class Manifest:
    """Everything of a plan but its code and weights."""

    name: str
    stamp: MachineStamp
    bindings: tuple[Binding, ...]
    symbols: tuple[Symbol, ...]
    batch_symbol: str | None
    entries: Mapping[str, int]
    arena_bytes: int
    workspace_bytes: int
    threads: int
    tables: tuple[tuple[int, int], ...]
    report: Mapping[str, Json]


def write_manifest(plan: Plan) -> bytes:
    """The manifest of a plan as JSON in UTF-8.

    Raises:
        PlanError: the report holds what JSON cannot say, or is too long.
    """
    document: dict[str, object] = {
        "name": plan.name,
        "stamp": asdict(plan.stamp),
        "symbols": [[symbol.name, symbol.min, symbol.opt, symbol.max] for symbol in plan.symbols],
        "batch_symbol": plan.batch_symbol,
        "bindings": [
            {
                "name": binding.name,
                "mode": binding.mode,
                "dtype": binding.type.dtype.name,
                "shape": [_write_dim(dim) for dim in binding.type.shape],
            }
            for binding in plan.bindings
        ],
        "entries": {name: plan.entries[name] for name in ENTRIES if name in plan.entries},
        "arena_bytes": plan.arena_bytes,
        "workspace_bytes": plan.workspace_bytes,
        "threads": plan.threads,
        "tables": plan.tables,
        "report": plan.report,
    }
    try:
        text = json.dumps(document, separators=(",", ":"), default=_refuse_type).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise PlanError(
            f"plan '{plan.name}' cannot be written as JSON: {error}; use plain data in its report"
        ) from error
    if len(text) > MAX_BYTES:
        raise PlanError(f"plan '{plan.name}': its manifest has {len(text)} bytes, expected at most {MAX_BYTES}")
    return text


def read_manifest(text: bytes | memoryview, code_bytes: int, weights_bytes: int) -> Manifest:
    """The manifest that JSON text holds, for a plan with so many bytes of code and of weights.

    Raises:
        PlanError: the text is no JSON or says what no plan can mean; the message names the place.
    """
    try:
        document = json.loads(bytes(text))
    except (ValueError, RecursionError) as error:
        raise PlanError(f"the plan's manifest is no readable JSON: {error}; {_ADVICE}") from error
    return _Reader(code_bytes, weights_bytes).manifest(document)


_ADVICE = "the plan was not written by this program: build it again"


class _Reader:
    """Reads one document; remembers the symbols, which dimensions refer to by name."""

    def __init__(self, code_bytes: int, weights_bytes: int) -> None:
        self._code_bytes = code_bytes
        self._weights_bytes = weights_bytes
        self._symbols: dict[str, Symbol] = {}

    def manifest(self, document: Json) -> Manifest:
        top = _mapping(document, "manifest")
        symbols = tuple(self._symbol(item, f"symbols[{n}]") for n, item in enumerate(_list(top, "symbols")))
        bindings = tuple(self._binding(item, f"bindings[{n}]") for n, item in enumerate(_list(top, "bindings")))
        names = [binding.name for binding in bindings]
        if len(set(names)) != len(names):
            _refuse("bindings", "every name once", names)
        return Manifest(
            name=_text(top, "name", "manifest"),
            stamp=_stamp(_mapping(top.get("stamp"), "stamp")),
            bindings=bindings,
            symbols=symbols,
            batch_symbol=self._batch_symbol(top.get("batch_symbol")),
            entries=self._entries(_mapping(top.get("entries"), "entries")),
            arena_bytes=_integer(top.get("arena_bytes"), "arena_bytes", 0, MAX_SIZE),
            workspace_bytes=_integer(top.get("workspace_bytes"), "workspace_bytes", 0, MAX_SIZE // MAX_THREADS),
            threads=_integer(top.get("threads"), "threads", 1, MAX_THREADS),
            tables=self._tables(_list(top, "tables")),
            report=_mapping(top.get("report"), "report"),
        )

    def _tables(self, items: list[Json]) -> tuple[tuple[int, int], ...]:
        found, end = [], 0
        for number, item in enumerate(items):
            where = f"tables[{number}]"
            if not isinstance(item, list) or len(item) != 2:
                _refuse(where, "[offset, size]", item)
            offset = _integer(item[0], where, end, self._weights_bytes)
            size = _integer(item[1], where, 1, self._weights_bytes - offset)
            end = offset + size
            found.append((offset, size))
        return tuple(found)

    def _symbol(self, item: Json, where: str) -> Symbol:
        if not isinstance(item, list) or len(item) != 4 or not isinstance(item[0], str):
            _refuse(where, "[name, min, opt, max]", item)
        name = item[0]
        low, opt, high = (_integer(value, where, 0, MAX_SIZE) for value in item[1:])
        if name in self._symbols or not name:
            _refuse(where, "a name of its own", name)
        if not low <= opt <= high:
            _refuse(where, "min <= opt <= max", item)
        self._symbols[name] = Symbol(name, low, opt, high)
        return self._symbols[name]

    def _batch_symbol(self, name: Json) -> str | None:
        if name is not None and (not isinstance(name, str) or name not in self._symbols):
            _refuse("batch_symbol", "null or the name of a symbol", name)
        return name

    def _entries(self, entries: Mapping[str, Json]) -> dict[str, int]:
        if sorted(entries) != sorted(ENTRIES):
            _refuse("entries", ", ".join(ENTRIES), sorted(entries))
        return {name: _integer(entries[name], f"entries.{name}", 0, self._code_bytes - 1) for name in ENTRIES}

    def _binding(self, item: Json, where: str) -> Binding:
        fields = _mapping(item, where)
        dtype, shape = fields.get("dtype"), fields.get("shape")
        if not isinstance(dtype, str) or dtype not in DTYPES:
            _refuse(f"{where}.dtype", f"one of {', '.join(DTYPES)}", dtype)
        if not isinstance(shape, list) or len(shape) > MAX_RANK:
            _refuse(f"{where}.shape", f"a list of at most {MAX_RANK} dimensions", shape)
        dims = tuple(self._dim(dim, f"{where}.shape[{axis}]", 0) for axis, dim in enumerate(shape))
        type = TensorType(DTYPES[dtype], dims)
        if any(bounds(dim)[1] < 0 for dim in dims) or type.max_bytes > MAX_SIZE:
            _refuse(f"{where}.shape", f"no negative dimension and at most {MAX_SIZE} bytes", shape)
        return Binding(_text(fields, "name", where), _mode(fields.get("mode"), f"{where}.mode"), type)

    def _dim(self, item: Json, where: str, depth: int) -> Dim:
        if not isinstance(item, list):
            return _integer(item, where, -MAX_SIZE, MAX_SIZE)
        if depth > MAX_DEPTH or not 1 <= len(item) <= MAX_TERMS or item[0] != "sum":
            _refuse(where, f'an integer or ["sum", ...], at most {MAX_DEPTH} deep', item)
        dim = IntegerExpression(tuple(self._term(term, where, depth) for term in item[1:]))
        if max(map(abs, bounds(dim))) > MAX_SIZE:
            _refuse(where, f"values of at most {MAX_SIZE}", item)
        return dim

    def _term(self, item: Json, where: str, depth: int) -> tuple[Monomial, int]:
        if not isinstance(item, list) or not 1 <= len(item) <= MAX_DEPTH:
            _refuse(where, "[coefficient, atom, ...]", item)
        coefficient = _integer(item[0], where, -MAX_SIZE, MAX_SIZE)
        return tuple(self._atom(atom, where, depth) for atom in item[1:]), coefficient

    def _atom(self, item: Json, where: str, depth: int) -> Atom:
        if isinstance(item, str) and item in self._symbols:
            return self._symbols[item]
        if not isinstance(item, list) or len(item) != 3:
            _refuse(where, "a symbol or [operator, left, right]", item)
        left, right = (self._dim(part, where, depth + 1) for part in item[1:])
        if item[0] == "min" or item[0] == "max":
            return Extremum(item[0], left, right)
        if item[0] not in ("//", "%") or not isinstance(left, IntegerExpression) or bounds(right)[0] < 1:
            _refuse(where, "an operator //, %, min or max, and a sum over a positive divisor for the first two", item)
        return Quotient(left, right) if item[0] == "//" else Remainder(left, right)


def _write_dim(dim: Dim) -> Json:
    if not isinstance(dim, IntegerExpression):
        return dim
    return ["sum", *([coefficient, *map(_write_atom, monomial)] for monomial, coefficient in dim.terms)]


def _write_atom(atom: Atom) -> Json:
    if isinstance(atom, Symbol):
        return atom.name
    if isinstance(atom, Quotient):
        return ["//", _write_dim(atom.numerator), _write_dim(atom.denominator)]
    if isinstance(atom, Remainder):
        return ["%", _write_dim(atom.numerator), _write_dim(atom.denominator)]
    if isinstance(atom, Extremum):
        return [atom.function, _write_dim(atom.left), _write_dim(atom.right)]
    raise PlanError(f"a binding's dimension contains {atom}, which has no value at run time; use symbols only")


def _stamp(fields: Mapping[str, Json]) -> MachineStamp:
    features = fields.get("features")
    if not isinstance(features, list):
        _refuse("stamp.features", "a list of names", features)
    return MachineStamp(
        package_version=_text(fields, "package_version", "stamp"),
        architecture=_text(fields, "architecture", "stamp"),
        operating_system=_text(fields, "operating_system", "stamp"),
        instruction_set=_text(fields, "instruction_set", "stamp"),
        features=tuple(
            item if isinstance(item, str) else _refuse("stamp.features", "names", item) for item in features
        ),
        cpu_model=_text(fields, "cpu_model", "stamp"),
    )


def _mode(value: Json, where: str) -> Literal["input", "output"]:
    if value == "input":
        return "input"
    if value == "output":
        return "output"
    return _refuse(where, "input or output", value)


def _mapping(value: Json, where: str) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else _refuse(where, "an object", value)


def _list(fields: Mapping[str, Json], name: str) -> list[Json]:
    value = fields.get(name)
    if not isinstance(value, list) or len(value) > MAX_COUNT:
        _refuse(name, f"a list of at most {MAX_COUNT} items", value)
    return value


def _text(fields: Mapping[str, Json], name: str, where: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else _refuse(f"{where}.{name}", "a text", value)


def _integer(value: Json, where: str, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        _refuse(where, f"an integer from {low} to {high}", value)
    return value


def _refuse(where: str, expected: str, found: object) -> NoReturn:
    shown = repr(found)
    shown = shown if len(shown) <= 100 else shown[:100] + "…"
    raise PlanError(f"the plan's manifest, {where}: expected {expected}, found {shown}; {_ADVICE}")


def _refuse_type(value: object) -> NoReturn:
    raise TypeError(f"{type(value).__name__} is no JSON type")
