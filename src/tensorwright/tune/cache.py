"""Remembers timings between builds, in one JSON file per user.

Entries are seconds, keyed by machine, package version and source, region, configuration and number of threads; beside
them stands what was measured of the machine itself. A file that cannot be read, or entries that make no sense, are
ignored with a warning: a cache never stops a build.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import blake2b
from pathlib import Path

import tensorwright
from tensorwright.graph.region import Region
from tensorwright.plan.plan import MachineStamp
from tensorwright.tensor.dim import Symbol
from tensorwright.tune.choice import Trial

FORMAT = "tensorwright timing cache 1"
REJECTED = -1.0
"""Stands for the time of a kernel that gave wrong results."""


def default_path() -> Path:
    """The cache of this user: below $XDG_CACHE_HOME, else ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "tensorwright" / "timings.json"


class TimingCache:
    """Seconds by key. `path` None keeps them in memory only."""

    def __init__(self, path: Path | None, entries: Mapping[str, float] | None = None) -> None:
        self.path = path
        self.entries: dict[str, float] = dict(entries or {})
        if path is not None:
            self.entries.update(_read(path))

    def get(self, key: str) -> float | None:
        return self.entries.get(key)

    def put(self, key: str, seconds: float) -> None:
        self.entries[key] = seconds

    def save(self) -> None:
        """Write the file, together with what others have written to it meanwhile."""
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        merged = {**_read(self.path), **self.entries}
        handle, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=self.path.name)
        with os.fdopen(handle, "w") as file:
            file.write(serialize(merged))
        Path(temporary).replace(self.path)


def serialize(entries: Mapping[str, float]) -> str:
    """The text of a cache file."""
    return json.dumps({"format": FORMAT, "seconds": dict(sorted(entries.items()))}, indent=0)


def parse(text: str, origin: str) -> dict[str, float]:
    """The entries of a cache file's text; none, with a warning, if it is not one."""
    try:
        content = json.loads(text)
        if content["format"] != FORMAT:
            raise ValueError(f"expected format '{FORMAT}', found {content['format']!r}")
        found = {str(key): float(value) for key, value in content["seconds"].items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        warnings.warn(f"timing cache {origin} is not readable and is ignored: {error}", stacklevel=2)
        return {}
    return {key: value for key, value in found.items() if math.isfinite(value)}


def _read(path: Path) -> dict[str, float]:
    try:
        text = path.read_text()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        warnings.warn(f"timing cache {path} is not readable and is ignored: {error}", stacklevel=2)
        return {}
    return parse(text, str(path))


def timing_key(stamp: MachineStamp, region: Region, symbols: tuple[Symbol, ...], trial: Trial, threads: int) -> str:
    """The key of one timing."""
    text = "\n".join(
        [
            repr(stamp),
            source_digest(),
            region.signature,
            repr([(s.name, s.min, s.opt, s.max) for s in symbols]),
            trial.tactic,
            repr(trial.config),
            str(threads),
        ]
    )
    return blake2b(text.encode(), digest_size=16).hexdigest()


def sequence_key(keys: Sequence[str]) -> str:
    """The key of what the kernels behind some keys take one after another."""
    return blake2b("\n".join(keys).encode(), digest_size=16).hexdigest()


def machine_key(stamp: MachineStamp, threads: int, what: str) -> str:
    """The key of something measured of the machine itself, in a unit of its own."""
    text = "\n".join([repr(stamp), str(threads), what])
    return blake2b(text.encode(), digest_size=16).hexdigest() + f" {what}"


@cache
def source_digest() -> str:
    """A digest of the code that generates kernels: timings of other kernels say nothing about these."""
    root = Path(tensorwright.__file__).parent
    hasher = blake2b(digest_size=16)
    for folder in ("codegen", "kernels", "graph", "ops"):
        for path in sorted((root / folder).rglob("*.py")):
            hasher.update(path.read_bytes())
    return hasher.hexdigest()
