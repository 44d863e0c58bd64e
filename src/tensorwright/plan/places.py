"""Where the plans of a bundle lie in its file; docs/plan-format.md describes the format."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from tensorwright.base.errors import PlanError
from tensorwright.plan.plan import WEIGHTS_ALIGNMENT
from tensorwright.plan.seal import digest

MAGIC = b"\x89TWPLANS"
VERSION = 1
MOST_PLANS = 64
_PREFIX = struct.Struct("<8sII")  # magic, version, number of plans
_PLACE = struct.Struct("<QQ")  # offset, size
_DIGEST = 16
_ADVICE = "the file is damaged: copy it again or bundle its plans again"


def header_of(sizes: Sequence[int]) -> tuple[bytes, list[int]]:
    """The header of a bundle of plans of so many bytes, and where each of them starts."""
    starts, end = [], _header_bytes(len(sizes))
    for size in sizes:
        starts.append(_aligned(end))
        end = starts[-1] + size
    header = _PREFIX.pack(MAGIC, VERSION, len(sizes))
    header += b"".join(_PLACE.pack(*place) for place in zip(starts, sizes, strict=True))
    return header + digest(header), starts


def places_of(content: memoryview, where: str) -> list[tuple[int, int]] | None:
    """Offset and size of each plan in a bundle; None if the content is none.

    Raises:
        PlanError: it is a bundle of another version, or damaged.
    """
    if content[: len(MAGIC)] != MAGIC:
        return None
    if content.nbytes < _PREFIX.size:
        raise PlanError(f"{where}: expected {_PREFIX.size} bytes and more, found {content.nbytes}; {_ADVICE}")
    _, version, count = _PREFIX.unpack(content[: _PREFIX.size])
    if version != VERSION:
        raise PlanError(f"{where} is a bundle of version {version}, expected {VERSION}; bundle its plans again")
    if not 1 <= count <= MOST_PLANS:
        raise PlanError(f"{where}: expected 1 to {MOST_PLANS} plans, found {count}; {_ADVICE}")
    end = _header_bytes(count)
    header = bytes(content[:end])
    if len(header) < end or digest(header[:-_DIGEST]) != header[-_DIGEST:]:
        raise PlanError(f"{where}: the header (bytes 0 to {end}) does not match its digest; {_ADVICE}")
    places = list(_PLACE.iter_unpack(header[_PREFIX.size : -_DIGEST]))
    for offset, size in places:
        if offset != _aligned(end) or offset + size > content.nbytes or any(content[end:offset]):
            raise PlanError(f"{where}: expected a plan at byte {_aligned(end)}, found {offset} and {size}; {_ADVICE}")
        end = offset + size
    if end != content.nbytes:
        raise PlanError(f"{where}: expected {end} bytes, found {content.nbytes}; {_ADVICE}")
    return places


def _header_bytes(count: int) -> int:
    return _PREFIX.size + count * _PLACE.size + _DIGEST


def _aligned(offset: int) -> int:
    """Where the next plan may start: weights are mapped at whole pages."""
    return -(-offset // WEIGHTS_ALIGNMENT) * WEIGHTS_ALIGNMENT
