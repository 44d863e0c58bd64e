"""The builder's configuration: what `BuildConfig` says, in TensorRT's words."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tensorwright.api.checks import integer, integers, member, text
from tensorwright.api.dimensions import InputRange
from tensorwright.api.enums import BuilderFlag, MemoryPoolType
from tensorwright.api.logger import ILogger, Severity
from tensorwright.api.monitor import IProgressMonitor, MonitoredProgress
from tensorwright.base.errors import BuildError
from tensorwright.base.progress import Progress, SilentProgress
from tensorwright.build.config import BuildConfig
from tensorwright.devices.device import Allocator

if TYPE_CHECKING:
    from tensorwright.build.calibrate import Calibrator

LOWER_PRECISIONS = (BuilderFlag.FP16, BuilderFlag.BF16, BuilderFlag.INT8)
WIDER_PRECISIONS = (BuilderFlag.TF32,)


class OptimizationProfile:
    """Ranges of shapes for inputs with dimensions that are only known at run time."""

    def __init__(self) -> None:
        self.ranges: dict[str, InputRange] = {}

    def set_shape(self, input: str, min: Sequence[int], opt: Sequence[int], max: Sequence[int]) -> None:
        """The smallest shape, the one to tune for, and the largest."""
        name = text("input", input)
        named = (("min", min), ("opt", opt), ("max", max))
        self.ranges[name] = InputRange(*(integers(0)(f"set_shape '{name}': {what}", shape) for what, shape in named))

    def get_shape(self, input: str) -> list[tuple[int, ...]]:
        """What was set: min, opt, max; nothing if it was not."""
        found = self.ranges.get(input)
        return [] if found is None else [found.min, found.opt, found.max]


class TimingCache:
    """What earlier builds measured, as bytes. Builds add to it; what does not fit this machine is not used."""

    def __init__(self, data: bytes = b"") -> None:
        self._data = bytes(data)

    def serialize(self) -> bytes:
        """The bytes to keep for later builds."""
        return self._data

    def combine(self, input_cache: TimingCache, ignore_mismatch: bool = False) -> bool:
        """Take over what another cache knows; this one's own timings stay."""
        del ignore_mismatch  # Entries name their machine: those of others do no harm.
        from tensorwright.tune.cache import serialize

        self._data = serialize({**input_cache.entries(), **self.entries()}).encode()
        return True

    def entries(self) -> dict[str, float]:
        """Seconds by key; none, with a warning, if the data are damaged."""
        from tensorwright.tune.cache import parse

        try:
            return parse(self._data.decode()) if self._data else {}
        except ValueError as error:
            warnings.warn(f"the timing cache that was given is not readable and is ignored: {error}", stacklevel=3)
            return {}

    def reset(self) -> None:
        """Forget everything."""
        self._data = b""

    @contextmanager
    def as_file(self) -> Iterator[Path]:
        """A file with the data; what is in it afterwards is kept."""
        with tempfile.TemporaryDirectory(prefix="tensorwright-") as folder:
            path = Path(folder) / "timings"
            if self._data:
                path.write_bytes(self._data)
            try:
                yield path
            finally:
                if path.exists():
                    self._data = path.read_bytes()


class BuilderConfig:
    """Options of a build.

    threads: how many threads the engine uses; None for all cores that this process may use.
    instruction_set: "avx512", "avx2", "baseline" or "aarch64"; None for the best of this machine.
    fast_algorithms: whether algorithms that need fewer operations and round differently may be used (Winograd,
        Strassen).
    exclude_tactics: names of tactics, as `tensorwright inspect` shows them, that are not to be used.
    progress_monitor: hears how far the build is, and may cancel it.
    int8_calibrator: gives sample inputs on which builds with the flag INT8 measure the ranges of all tensors. They are
        kept in the plan's report; the engine computes in float32.
    """

    def __init__(self, logger: ILogger) -> None:
        self._logger = logger
        self._flags: set[BuilderFlag] = set()
        self._workspace: int | None = None
        self._level = 3
        self._cache: TimingCache | Path | None = None
        self._profiles: list[OptimizationProfile] = []
        self.threads: int | None = None
        self.instruction_set: str | None = None
        self.fast_algorithms = True
        self.exclude_tactics: Collection[str] = ()
        self.progress_monitor: IProgressMonitor | Progress | None = None
        self.int8_calibrator: Calibrator | None = None

    @property
    def max_workspace_size(self) -> int | None:
        """Scratch bytes that any one layer may use in all threads together; None for no limit."""
        return self._workspace

    @max_workspace_size.setter
    def max_workspace_size(self, size: int | None) -> None:
        self._workspace = None if size is None else integer(0)("max_workspace_size", size)

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        """WORKSPACE: the same as `max_workspace_size`."""
        member(MemoryPoolType)("pool", pool)
        self.max_workspace_size = integer(0)("pool_size", pool_size)

    def get_memory_pool_limit(self, pool: MemoryPoolType) -> int | None:
        """The limit, None for no limit."""
        member(MemoryPoolType)("pool", pool)
        return self._workspace

    def set_flag(self, flag: BuilderFlag) -> None:
        """Set an option. Precisions that are not available yet get a warning."""
        self._flags.add(member(BuilderFlag)("flag", flag))
        if flag in LOWER_PRECISIONS:
            message = f"set_flag: the precision {flag.name} is not available yet; float32 is used instead"
            self._logger.log(Severity.WARNING, message)
        elif flag in WIDER_PRECISIONS:
            message = f"set_flag: {flag.name} has no meaning on a CPU; float32 is used"
            self._logger.log(Severity.INFO, message)

    def clear_flag(self, flag: BuilderFlag) -> None:
        self._flags.discard(member(BuilderFlag)("flag", flag))

    def get_flag(self, flag: BuilderFlag) -> bool:
        return member(BuilderFlag)("flag", flag) in self._flags

    @property
    def builder_optimization_level(self) -> int:
        """Tuning effort, 0 (no timing, heuristics only) to 5 (every configuration is timed)."""
        return self._level

    @builder_optimization_level.setter
    def builder_optimization_level(self, level: int) -> None:
        self._level = replace(BuildConfig(), level=integer(0)("builder_optimization_level", level)).level

    def create_timing_cache(self, serialized_timing_cache: bytes = b"") -> TimingCache:
        """A cache with what an earlier one gave as bytes; empty without."""
        return TimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache: TimingCache | str | os.PathLike[str], ignore_mismatch: bool = False) -> bool:
        """Use a cache of one's own, or a file, instead of the user's cache folder.

        Entries from other machines are never used, whatever `ignore_mismatch` says.
        """
        del ignore_mismatch
        self._cache = cache if isinstance(cache, TimingCache) else Path(cache)
        return True

    def get_timing_cache(self) -> TimingCache | Path | None:
        return self._cache

    def add_optimization_profile(self, profile: OptimizationProfile) -> int:
        """Say ranges of shapes; several profiles together mean the range from the smallest to the largest.

        Returns the number of the profile.
        """
        if not isinstance(profile, OptimizationProfile):
            raise BuildError(
                f"add_optimization_profile: expected an OptimizationProfile, found {type(profile).__name__}; make one "
                "with builder.create_optimization_profile()"
            )
        self._profiles.append(profile)
        return len(self._profiles) - 1

    @property
    def num_optimization_profiles(self) -> int:
        return len(self._profiles)

    @property
    def ranges(self) -> dict[str, InputRange]:
        """The ranges of all profiles together, by input name."""
        found: dict[str, InputRange] = {}
        for profile in self._profiles:
            for name, wanted in profile.ranges.items():
                found[name] = _hull(found[name], wanted) if name in found else wanted
        return found

    @contextmanager
    def build_config(
        self, allocator: Allocator | None, batch_symbol: str | None, default_workspace: int | None
    ) -> Iterator[BuildConfig]:
        """The options in the words of `build`; results for the timing cache are kept afterwards."""
        config = BuildConfig(
            max_workspace_size=default_workspace if self._workspace is None else self._workspace,
            threads=self.threads,
            level=self._level,
            instruction_set=self.instruction_set,
            fast_algorithms=self.fast_algorithms,
            exclude_tactics=frozenset(self.exclude_tactics),
            progress=_progress(self.progress_monitor),
            log=log_function(self._logger),
            allocator=allocator,
            batch_symbol=batch_symbol,
        )
        if self.get_flag(BuilderFlag.DISABLE_TIMING_CACHE):
            yield replace(config, timing_cache="")
        elif isinstance(self._cache, TimingCache):
            with self._cache.as_file() as path:
                yield replace(config, timing_cache=path)
        else:
            yield replace(config, timing_cache=self._cache)


def log_function(logger: ILogger) -> Callable[[str, str], None]:
    """What a build calls with (severity name, message)."""
    return lambda severity, message: logger.log(Severity[severity.upper()], message)


def _progress(monitor: IProgressMonitor | Progress | None) -> Progress:
    if monitor is None:
        return SilentProgress()
    return MonitoredProgress(monitor) if isinstance(monitor, IProgressMonitor) else monitor


def _hull(one: InputRange, other: InputRange) -> InputRange:
    if len(one.min) != len(other.min):
        return other
    return InputRange(tuple(map(min, one.min, other.min)), one.opt, tuple(map(max, one.max, other.max)))
