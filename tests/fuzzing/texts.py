"""Changes texts word by word, and documents of JSON value by value."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Sequence

import numpy as np

from plan.manifests import places

WORD = re.compile(rb'"[^"\n]*"|[\w.+-]+|\s+|.', re.DOTALL)
WORDS = (b"-1", b"0", b"4294967295", b"1e39", b"nan", b"-inf", b"9" * 20, b'"', b"[", b"]", b"{", b"}", b":", b"<",
         b"#", b"'", b"\0", b"\xff", b"true", b"\n")  # fmt: skip
VALUES = (None, True, 0, 1, -1, 2, 63, 1 << 31, 1 << 40, 1 << 63, 10**400, 0.5, float("inf"), float("nan"), "", "x",
          "run", [], {}, [[]], [0], "float32", "bfloat16", "é\x1b[31m")  # fmt: skip
Path = tuple[str | int, ...]


def changed_text(data: bytes, rng: np.random.Generator, known: Sequence[bytes] = ()) -> bytes:
    """A text with a few words left out, said twice or exchanged for others."""
    words = WORD.findall(data)
    for _ in range(int(rng.integers(1, 6))):
        pool = (*words, *known, *WORDS)
        at = int(rng.integers(len(words) + 1))
        other = pool[int(rng.integers(len(pool)))] if rng.random() < 0.7 else WORDS[int(rng.integers(len(WORDS)))]
        match rng.integers(5):
            case 0:
                words.insert(at, other)
            case 1:
                del words[at : at + int(rng.integers(1, 6))]
            case 2:
                words[at:at] = words[at : at + int(rng.integers(1, 40))]
            case _:
                words[at : at + 1] = [other]
    return b"".join(words)


def without_words(data: bytes) -> Iterator[bytes]:
    """A text that lacks something, much first."""
    for parts in (data.splitlines(keepends=True), WORD.findall(data)):
        count = len(parts)
        for size in sorted({count // 2, count // 4, count // 8, 1} - {0}, reverse=True):
            for at in range(0, count, size):
                yield b"".join(parts[:at] + parts[at + size :])


def changed_document(text: bytes, rng: np.random.Generator, keys: frozenset[str] | None = None) -> bytes:
    """A document of JSON in which a few values are others. keys: the only members of the whole that may change."""
    document = json.loads(text)
    for _ in range(int(rng.choice((1, 1, 1, 2, 3)))):
        known = [path for path in places(document) if keys is None or path[0] in keys]
        if known:
            _change(document, known[int(rng.integers(len(known)))], rng)
    return json.dumps(document, separators=(",", ":")).encode()


def _at(document: object, path: Path) -> object:
    for key in path:
        document = document[key]
    return document


def _change(document: object, path: Path, rng: np.random.Generator) -> None:
    parent, key = _at(document, path[:-1]), path[-1]
    value = parent[key]
    match rng.integers(5):
        case 0 if isinstance(value, int | float):
            parent[key] = value + int(rng.integers(-64, 65))
        case 1:
            known = list(places(document))
            parent[key] = copy.deepcopy(_at(document, known[int(rng.integers(len(known)))]))
        case 2 if isinstance(parent, list):
            parent.insert(int(rng.integers(len(parent) + 1)), copy.deepcopy(value))
        case 3:
            del parent[key]
        case _:
            parent[key] = copy.deepcopy(VALUES[int(rng.integers(len(VALUES)))])
