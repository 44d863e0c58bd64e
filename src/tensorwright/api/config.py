"""The builder's configuration: what `BuildConfig` says, in TensorRT's words."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from tensorwright.api.checks import integer, integers, member, text
from tensorwright.api.dimensions import InputRange
from tensorwright.api.enums import BuilderFlag, MemoryPoolType, TacticSource
from tensorwright.api.logger import ILogger, Severity
from tensorwright.api.monitor import IProgressMonitor, MonitoredProgress
from tensorwright.base.errors import BuildError
from tensorwright.base.options import changed, given
from tensorwright.base.progress import Progress, SilentProgress
from tensorwright.build.config import BuildConfig, BuildOptions
from tensorwright.build.precision import TYPES
from tensorwright.devices.device import Allocator
from tensorwright.tensor.dtype import DType

if TYPE_CHECKING:
    from tensorwright.build.calibrate import Calibrator

Chosen = TypeVar("Chosen")

PRECISIONS = {BuilderFlag.FP16: "fp16", BuilderFlag.BF16: "bf16"}
"""Flags that permit a type, and what the option `precision` calls it."""

LIBRARIES = {TacticSource.CUBLAS: "cublas", TacticSource.CUBLAS_LT: "cublas", TacticSource.CUDNN: "cudnn"}
"""Sources that are libraries, and what the option `libraries` calls them."""
OWN_KERNELS = (TacticSource.EDGE_MASK_CONVOLUTIONS, TacticSource.JIT_CONVOLUTIONS)

CONSTRAINTS = (BuilderFlag.OBEY_PRECISION_CONSTRAINTS, BuilderFlag.PREFER_PRECISION_CONSTRAINTS)


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


class _Chosen(Generic[Chosen]):
    """An attribute of a configuration that is an option of builds: checked when it is set."""

    def __set_name__(self, owner: type[object], name: str) -> None:
        self._name = name

    def __get__(self, config: BuilderConfig, owner: type[object]) -> Chosen:
        return cast("Chosen", getattr(config.options, self._name))

    def __set__(self, config: BuilderConfig, value: Chosen) -> None:
        config.options = changed(config.options, self._name, value)


class BuilderConfig:
    """Options of a build: those of `tensorwright.build`, and TensorRT's.

    options: those of `tensorwright.build` together; the attributes change them one by one.
    progress_monitor: hears how far the build is, and may cancel it.
    int8_calibrator: gives sample inputs on which builds with the flag INT8 measure the ranges of all tensors, which are
        kept in the plan's report. Products of tensors with known ranges are computed in integers then.
    """

    threads = _Chosen[int | None]()
    device = _Chosen[str]()
    instruction_set = _Chosen[str | None]()
    target = _Chosen[str | None]()
    compatible = _Chosen[bool]()
    fast_algorithms = _Chosen[bool]()
    strict_nans = _Chosen[bool]()
    tf32 = _Chosen[bool]()
    exclude_tactics = _Chosen[Collection[str]]()
    max_workspace_size = _Chosen[int | None]()
    libraries = _Chosen[Collection[str]]()
    precision = _Chosen[Collection[str]]()
    layer_precision = _Chosen[Mapping[str, str] | None]()

    def __init__(self, logger: ILogger) -> None:
        self.options = BuildOptions()
        self._logger = logger
        self._flags: set[BuilderFlag] = set()
        self._cache: TimingCache | Path | None = None
        self._profiles: list[OptimizationProfile] = []
        self.progress_monitor: IProgressMonitor | Progress | None = None
        self.int8_calibrator: Calibrator | None = None

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        """WORKSPACE: the same as `max_workspace_size`."""
        member(MemoryPoolType)("pool", pool)
        self.max_workspace_size = integer(0)("pool_size", pool_size)

    def get_memory_pool_limit(self, pool: MemoryPoolType) -> int | None:
        """The limit, None for no limit."""
        member(MemoryPoolType)("pool", pool)
        return self.max_workspace_size

    def set_flag(self, flag: BuilderFlag) -> None:
        """Set an option."""
        self._flags.add(member(BuilderFlag)("flag", flag))
        if flag == BuilderFlag.TF32:
            self.tf32 = True
            self._logger.log(Severity.INFO, "set_flag: TF32 has no meaning on a CPU, which computes in float32")

    def clear_flag(self, flag: BuilderFlag) -> None:
        if flag == BuilderFlag.TF32:
            self.tf32 = False
        self._flags.discard(member(BuilderFlag)("flag", flag))

    def get_flag(self, flag: BuilderFlag) -> bool:
        return member(BuilderFlag)("flag", flag) in self._flags

    def set_tactic_sources(self, tactic_sources: int) -> bool:
        """Choose from where kernels come, by a mask of `TacticSource`: the libraries among them, as `libraries` does.

        Returns False, with a warning and without a change, where a library is not installed.
        """
        mask = integer(0)("tactic_sources", tactic_sources)
        libraries = {name for source, name in LIBRARIES.items() if mask >> source & 1}
        from tensorwright.backends.find import backend_named

        try:
            if libraries:
                backend_named(self.device).with_libraries(libraries)
        except BuildError as error:
            message = f"set_tactic_sources: {error}"
            self._logger.log(Severity.WARNING, message)
            return False
        self.libraries = tuple(sorted(libraries))
        return True

    def get_tactic_sources(self) -> int:
        """The mask: the package's own kernels, and the libraries that may be called."""
        chosen = [source for source, name in LIBRARIES.items() if name in self.libraries]
        return sum(1 << source for source in (*OWN_KERNELS, *chosen))

    @property
    def builder_optimization_level(self) -> int:
        """Tuning effort, 0 (no timing, heuristics only) to 5 (every configuration is timed)."""
        return self.options.level

    @builder_optimization_level.setter
    def builder_optimization_level(self, level: int) -> None:
        self.options = changed(self.options, "level", level)

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
        """Say ranges of shapes. With several profiles the engine holds code that is tuned for each; see
        `Engine.num_optimization_profiles`.

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
    def profiles(self) -> Sequence[Mapping[str, InputRange]]:
        """The ranges of each profile, by input name."""
        return tuple(profile.ranges for profile in self._profiles)

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
        self,
        allocator: Allocator | None,
        batch_symbol: str | None,
        default_workspace: int | None,
        constraints: Mapping[str, DType],
    ) -> Iterator[BuildConfig]:
        """The options in the words of `build`; results for the timing cache are kept afterwards.

        constraints: the types that layers ask for, by their names.
        """
        config = given(
            self.options,
            BuildConfig,
            allocator=allocator,
            max_workspace_size=default_workspace if self.max_workspace_size is None else self.max_workspace_size,
            progress=_progress(self.progress_monitor),
            log=log_function(self._logger),
            batch_symbol=batch_symbol,
        )
        permitted = {name for flag, name in PRECISIONS.items() if self.get_flag(flag)}
        config = replace(config, precision=tuple(sorted({*config.precision, *permitted})))
        if constraints and any(map(self.get_flag, CONSTRAINTS)):
            held = {escape(name): _precision_name(name, dtype) for name, dtype in constraints.items()}
            config = replace(config, layer_precision={**(config.layer_precision or {}), **held})
        if self.get_flag(BuilderFlag.STRICT_NANS):
            config = replace(config, strict_nans=True)
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


def _precision_name(layer: str, dtype: DType) -> str:
    """What the option `layer_precision` calls a type."""
    for name, known in TYPES.items():
        if known == dtype:
            return name
    raise BuildError(
        f"layer '{layer}': precision is {dtype}; expected {', '.join(str(known) for known in TYPES.values())}"
    )


def _progress(monitor: IProgressMonitor | Progress | None) -> Progress:
    if monitor is None:
        return SilentProgress()
    return MonitoredProgress(monitor) if isinstance(monitor, IProgressMonitor) else monitor


def _hull(one: InputRange, other: InputRange) -> InputRange:
    if len(one.min) != len(other.min):
        return other
    return InputRange(tuple(map(min, one.min, other.min)), one.opt, tuple(map(max, one.max, other.max)))
