"""Plan files with another manifest, whose digests are right."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator

import xxhash

from tensorwright.plan.file import HEADER_BYTES


def with_manifest(content: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """A plan file with another manifest, and digests that are right for it."""
    manifest, code, weights = (struct.unpack_from("<QQ16s", content, 24 + 32 * number) for number in range(3))
    text = change(content[manifest[0] : manifest[0] + manifest[1]])
    parts = [text, content[code[0] : sum(code[:2])], content[weights[0] : sum(weights[:2])]]
    table, body, end = b"", b"", HEADER_BYTES
    for part, alignment in zip(parts, (1, 64, 4096), strict=True):
        start = -(-end // alignment) * alignment
        table += struct.pack("<QQ16s", start, len(part), xxhash.xxh3_128(part).digest())
        body += bytes(start - end) + part
        end = start + len(part)
    header = content[:16] + struct.pack("<Q", end) + table
    return header + xxhash.xxh3_128(header).digest() + body


def manifest_of(content: bytes) -> object:
    start, size = struct.unpack_from("<QQ", content, 24)
    return json.loads(content[start : start + size])


def places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of everything in a document."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield (*path, key)
        yield from places(item, (*path, key))


def replaced(text: bytes, path: tuple[str | int, ...], value: object) -> bytes:
    document = json.loads(text)
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return json.dumps(document).encode()
