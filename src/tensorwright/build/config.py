"""What a user may ask of a build."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tensorwright.base.errors import BuildError
from tensorwright.base.progress import Progress, SilentProgress
from tensorwright.devices.device import Allocator

Precision = str
PRECISIONS = ("float32",)
LEVELS = range(6)


def ignore(severity: str, message: str) -> None:
    """A log that nobody reads."""


@dataclass(frozen=True)
class BuildConfig:
    """Options of a build.

    precision: element type of the computation, "float32".
    max_workspace_size: scratch bytes that any one layer may use in all threads together; None for no limit.
    threads: how many threads the plan is tuned for; None for all cores that this process may use.
    level: tuning effort, 0 (no timing, heuristics only) to 5 (every configuration is timed).
    timing_cache: file that remembers timings between builds; None for the user's cache folder, "" for none.
    instruction_set: "avx512", "avx2", "baseline" or "aarch64"; None for the best of this machine.
    device: what the plan is to run on: "cpu", or "null", which evaluates by reference.
    optimise: whether graph rewrites and fusion run; off for debugging.
    fast_algorithms: whether algorithms that need fewer operations and round differently may be used (Winograd,
        Strassen). Each is admitted only while its measured relative error stays under FAST_ALGORITHM_BOUND = 1e-4,
        stated in the plan's report. At level 0 nothing is measured; for normally distributed data their errors are
        below 2e-5.
    exclude_tactics: names of tactics, as `inspect` shows them, that are not to be used: to find out what one brings, or
        which one causes a difference. All but "generic" may be excluded.
    log: called with (severity name, message).
    allocator: used for all device memory of the build.
    dump: folder that every stage of the build is written to as text; see `tensorwright.build.dump`. dump_code: with the
        code of every kernel.
    stop_after: name of a pass, such as "fold_constants", with whose first run rewriting ends; "NAME:3" for its third.
    max_rewrites: so many rewrites of the graph are made, no more: to find a wrong one by halving.
    check_rewrites: compute the network with random inputs before and after each pass; the build ends with an error that
        names the rewrite that changes the results. Slow.
    """

    precision: Precision = "float32"
    max_workspace_size: int | None = None
    threads: int | None = None
    level: int = 3
    timing_cache: Path | str | None = None
    instruction_set: str | None = None
    device: str = "cpu"
    optimise: bool = True
    fast_algorithms: bool = True
    exclude_tactics: frozenset[str] = frozenset()
    progress: Progress = field(default_factory=SilentProgress)
    log: Callable[[str, str], None] = ignore
    allocator: Allocator | None = None
    batch_symbol: str | None = None
    dump: Path | str | None = None
    dump_code: bool = False
    stop_after: str | None = None
    max_rewrites: int | None = None
    check_rewrites: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise BuildError(f"precision '{self.precision}' is not available; expected one of {', '.join(PRECISIONS)}")
        if self.level not in LEVELS:
            raise BuildError(f"level is {self.level}; expected 0 (no timing) to 5 (every configuration timed)")
        if self.threads is not None and self.threads < 1:
            raise BuildError(f"threads is {self.threads}; expected at least 1, or None for all cores")
        if self.max_workspace_size is not None and self.max_workspace_size < 0:
            raise BuildError(f"max_workspace_size is {self.max_workspace_size} bytes; expected at least 0, or None")
