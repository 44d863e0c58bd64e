"""What a plan for a GPU holds as its code: the machine code of all kernels, and the launches of one inference.

The bytes are the length of a header (8 bytes, little-endian), the header in JSON, one module for each kernel (a cubin,
or PTX where there was no assembler) and, in plans that newer GPUs run, too, the packed PTX of each. Calls of libraries
are part of the header. Plain data; the runtime reads it without the compiler.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from tensorwright.base.errors import PlanError
from tensorwright.devices.cuda.libraries.calls import Call, read_call
from tensorwright.devices.cuda.tensor_map import SWIZZLED_BYTES, TensorMap
from tensorwright.plan.dimensions import read_dim, write_dim
from tensorwright.plan.fields import Refusal, integer, items, mapping, refuse, sequence, text
from tensorwright.plan.limits import MAX_SIZE
from tensorwright.plan.plan import Base, Json
from tensorwright.tensor.dim import Dim, Symbol

ENTRY = "launches"
"""The one entry of a plan's code: all of it."""
_LENGTH_BYTES = 8
_BASES: tuple[Base, ...] = ("arena", "weights", "binding")
_MOST_THREADS, _MOST_CLUSTER, _MOST_SHARED = 1024, 16, 1 << 20
_MOST_IN_A_BOX = 256
_MOST_COUNTERS = 1 << 16


@dataclass(frozen=True)
class ImageStep:
    """One launch. operands: output first, each an offset in the arena or the weights, or the number of a binding.

    symbols: the names of the dimensions that follow the operands as arguments, or numbers. The others are as in
    `tensorwright.devices.cuda.code.Launch`.
    """

    kernel: str
    operands: tuple[tuple[Base, int], ...]
    symbols: tuple[str | int, ...]
    grid: tuple[Dim, Dim, Dim]
    block: int
    cluster: int
    shared_bytes: int
    dependent: bool
    maps: tuple[TensorMap, ...] = ()


@dataclass(frozen=True)
class CallStep:
    """One call of a library, by its name in the image. operands: as of a launch."""

    call: str
    operands: tuple[tuple[Base, int], ...]


@dataclass(frozen=True)
class Image:
    """modules: machine code or PTX of each kernel by name. workspace_bytes: that all steps share.
    counter_bytes: in front of it, which have to be 0 when the first step starts, and which every step leaves 0.

    ptx: of each kernel, packed, for newer GPUs than the modules are for; empty in plans for one family alone.
    calls: of libraries, by name.
    """

    modules: Mapping[str, bytes] = field(repr=False)
    steps: tuple[ImageStep | CallStep, ...]
    workspace_bytes: int
    ptx: Mapping[str, bytes] = field(repr=False, default_factory=dict)
    calls: Mapping[str, Call] = field(default_factory=dict)
    counter_bytes: int = 0


def write_image(image: Image) -> bytes:
    """The bytes of an image."""
    pieces = [*image.modules.values(), *image.ptx.values()]
    ends = list(accumulate(map(len, pieces)))
    places = [[end - len(piece), len(piece)] for piece, end in zip(pieces, ends, strict=True)]
    header = json.dumps(
        {
            "kernels": dict(zip(image.modules, places, strict=False)),
            "ptx": dict(zip(image.ptx, places[len(image.modules) :], strict=True)),
            "calls": {name: call.document() for name, call in image.calls.items()},
            "workspace": image.workspace_bytes,
            "counters": image.counter_bytes,
            "steps": [_written(step) for step in image.steps],
        },
        separators=(",", ":"),
    ).encode()
    return b"".join([len(header).to_bytes(_LENGTH_BYTES, "little"), header, *pieces])


def _written(step: ImageStep | CallStep) -> list[Json]:
    operands: list[Json] = [[base, place] for base, place in step.operands]
    if isinstance(step, CallStep):
        return [step.call, operands]
    return [
        step.kernel,
        operands,
        list(step.symbols),
        [write_dim(size) for size in step.grid],
        step.block,
        step.cluster,
        step.shared_bytes,
        step.dependent,
        [_written_map(one) for one in step.maps],
    ]


def _written_map(one: TensorMap) -> list[Json]:
    extents, strides = ([write_dim(size) for size in sizes] for sizes in (one.extents, one.strides))
    return [one.operand, one.element_bytes, extents, strides, list(one.box)]


def read_image(code: bytes, symbols: Sequence[Symbol], where: str) -> Image:
    """The image that bytes hold. where: names the plan.

    Raises:
        PlanError: they are none; the message names the place.
    """
    try:
        length = integer(int.from_bytes(code[:_LENGTH_BYTES], "little"), "length", 2, len(code) - _LENGTH_BYTES)
        header = mapping(json.loads(code[_LENGTH_BYTES : _LENGTH_BYTES + length]), "header")
        rest = memoryview(code)[_LENGTH_BYTES + length :]
        modules, ptx = _pieces(rest, header, "kernels"), _pieces(rest, header, "ptx")
        calls = {n: read_call(one, f"calls.{n}") for n, one in mapping(header.get("calls"), "calls").items()}
        reader = _Steps(modules, calls, {symbol.name: symbol for symbol in symbols})
        steps = tuple(reader.step(item, f"steps[{n}]") for n, item in enumerate(items(header, "steps")))
        workspace = integer(header.get("workspace"), "workspace", 0, MAX_SIZE)
        counters = integer(header.get("counters", 0), "counters", 0, _MOST_COUNTERS)
        return Image(modules, steps, workspace, ptx, calls, counters)
    except (Refusal, ValueError, RecursionError) as error:
        raise PlanError(f"{where}: its launches cannot be read: {error}; build it again") from error


def _pieces(rest: memoryview, header: Mapping[str, Json], field: str) -> dict[str, bytes]:
    places = mapping(header.get(field), field)
    return {name: _piece(rest, place, f"{field}.{name}") for name, place in places.items()}


def _piece(rest: memoryview, place: Json, where: str) -> bytes:
    found = sequence(place, where)
    if len(found) != 2:
        refuse(where, "[offset, size]", place)
    offset = integer(found[0], where, 0, len(rest))
    return bytes(rest[offset : offset + integer(found[1], where, 1, len(rest) - offset)])


@dataclass(frozen=True)
class _Steps:
    """Reads steps, which refer to these."""

    modules: Mapping[str, bytes]
    calls: Mapping[str, Call]
    symbols: Mapping[str, Symbol]

    def step(self, item: Json, where: str) -> ImageStep | CallStep:
        found = sequence(item, where)
        return self._call(found, where) if len(found) == 2 else self._launch(found, where)

    def _call(self, found: list[Json], where: str) -> CallStep:
        if found[0] not in self.calls:
            refuse(where, "the name of a call", found[0])
        operands = tuple(_operand(operand, where) for operand in sequence(found[1], where))
        return CallStep(text({"call": found[0]}, "call", where), operands)

    def _launch(self, found: list[Json], where: str) -> ImageStep:
        if len(found) != 9 or found[0] not in self.modules:
            refuse(where, "nine fields, the first the name of a kernel", found)
        kernel, operands, names, grid, block, cluster, shared, dependent, maps = found
        symbols = self.symbols
        sizes = [read_dim(size, symbols, f"{where}.grid") for size in sequence(grid, f"{where}.grid")]
        if len(sizes) != 3:
            refuse(where, "a grid of three sizes", grid)
        operand_count = len(sequence(operands, where))
        return ImageStep(
            kernel=text({"kernel": kernel}, "kernel", where),
            operands=tuple(_operand(operand, where) for operand in sequence(operands, where)),
            symbols=tuple(_argument(one, symbols, where) for one in sequence(names, where)),
            grid=(sizes[0], sizes[1], sizes[2]),
            block=integer(block, f"{where}.block", 1, _MOST_THREADS),
            cluster=integer(cluster, f"{where}.cluster", 1, _MOST_CLUSTER),
            shared_bytes=integer(shared, f"{where}.shared", 0, _MOST_SHARED),
            dependent=dependent is True,
            maps=tuple(_map(one, operand_count, symbols, f"{where}.maps") for one in sequence(maps, f"{where}.maps")),
        )


def _argument(item: Json, symbols: Mapping[str, Symbol], where: str) -> str | int:
    if isinstance(item, str):
        return item if item in symbols else refuse(where, "symbols", item)
    return integer(item, where, 0, MAX_SIZE)


def _map(item: Json, operands: int, symbols: Mapping[str, Symbol], where: str) -> TensorMap:
    found = sequence(item, where)
    if len(found) != 5:
        refuse(where, "[operand, bytes of an element, extents, strides, box]", item)
    operand, size, *others = found
    extents, strides = ([read_dim(one, symbols, where) for one in sequence(dims, where)] for dims in others[:2])
    element_bytes = integer(size, where, 1, 4)
    box = [integer(one, where, 1, _MOST_IN_A_BOX) for one in sequence(others[2], where)]
    fits = len(extents) == len(strides) + 1 == len(box) and element_bytes != 3
    if not fits or element_bytes * box[0] != SWIZZLED_BYTES:
        refuse(where, f"elements of 1, 2 or 4 bytes and boxes of {SWIZZLED_BYTES} bytes a row", item)
    return TensorMap(
        integer(operand, where, 0, operands - 1), element_bytes, tuple(extents), tuple(strides), tuple(box)
    )


def _operand(item: Json, where: str) -> tuple[Base, int]:
    found = sequence(item, where)
    base = next((known for known in _BASES if found and known == found[0]), None)
    if base is None or len(found) != 2:
        refuse(where, f"[one of {', '.join(_BASES)}, place]", item)
    return base, integer(found[1], where, 0, MAX_SIZE)
