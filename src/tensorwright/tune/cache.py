"""Remembers timings between builds, in one JSON file per user.

Entries are seconds, keyed by machine, package version and source, region, configuration and number of threads; beside
them stands what was measured of the machine itself. A cache never stops a build: what cannot be read or written is
left out with one warning, entries that make no sense silently.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from hashlib import blake2b
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

import tensorwright
from tensorwright.base.errors import FileError
from tensorwright.base.files import replacing, require_regular
from tensorwright.graph.region import Region
from tensorwright.plan.plan import MachineStamp
from tensorwright.tune.choice import Trial

FORMAT = "tensorwright timing cache 1"
REJECTED = -1.0
"""Stands for the time of a kernel that gave wrong results, or could not be run."""
LOCK_SECONDS = 10.0
"""How long to wait for others who write the same file; they need milliseconds."""


def default_path() -> Path | None:
    """The cache of this user: on Linux below $XDG_CACHE_HOME, else ~/.cache; None for users without a home."""
    path = user_cache_path("tensorwright", appauthor=False) / "timings.json"
    return path if path.is_absolute() else None


class TimingCache:
    """Seconds by key, in a file; `path` None keeps them in memory only.

    Several processes may use one file at the same time: they take turns by the lock of a hidden file beside it.

    warn: hears, at most once, why the file is of no use.
    """

    def __init__(self, path: Path | None, warn: Callable[[str], None]) -> None:
        self.path = path
        self.entries: dict[str, float] = {}
        self._warn = warn
        self._warned = False
        self._changed = False
        if path is not None:
            self.entries.update(self._read(path))

    def get(self, key: str) -> float | None:
        return self.entries.get(key)

    def put(self, key: str, seconds: float) -> None:
        self.entries[key] = seconds
        self._changed = True

    def save(self) -> bool:
        """Write the file, together with what others have written to it meanwhile; tell whether there was anything new
        and it was written.
        """
        if self.path is None or not self._changed:
            return False
        try:
            self._merge_into(self.path)
        except (OSError, FileError, ValueError) as error:
            self._tell(f"timing cache {self.path} cannot be written, later builds measure again: {error}")
            return False
        self._changed = False
        return True

    def _merge_into(self, path: Path) -> None:
        require_regular(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=LOCK_SECONDS):
            merged = {**self._read(path), **self.entries}
            with replacing(path) as file:
                file.write(serialize(merged).encode())

    def _read(self, path: Path) -> dict[str, float]:
        try:
            require_regular(path)
            return parse(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, FileError, ValueError) as error:
            self._tell(f"timing cache {path} is not readable and is ignored: {error}")
            return {}

    def _tell(self, message: str) -> None:
        if not self._warned:
            self._warned = True
            self._warn(message)


def serialize(entries: Mapping[str, float]) -> str:
    """The text of a cache file."""
    return json.dumps({"format": FORMAT, "seconds": dict(sorted(entries.items()))}, indent=0)


def parse(text: str) -> dict[str, float]:
    """The entries of a cache file's text.

    Raises:
        ValueError: it is none.
    """
    try:
        content = json.loads(text)
        if content["format"] != FORMAT:
            raise ValueError(f"expected format '{FORMAT}', found {content['format']!r}")
        found = {str(key): float(value) for key, value in content["seconds"].items()}
    except (TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise ValueError(f"expected a format and seconds by key: {error!r}") from error
    return {key: value for key, value in found.items() if math.isfinite(value)}


def timing_key(stamp: MachineStamp, region: Region, trial: Trial, threads: int) -> str:
    """The key of one timing."""
    text = "\n".join(
        [
            repr(stamp),
            source_digest(),
            region.signature,
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
