"""A decision of the tuner and its evidence."""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.graph.graph import Value
from tensorwright.graph.region import Region
from tensorwright.kernels.tactic import AnyConfig, Kernel
from tensorwright.tensor.layout import Layout


@dataclass(frozen=True)
class Trial:
    """One candidate that was considered for a region.

    seconds: measured time of one thread's share, None if it was not timed; estimate: the time that the cost model
    expects; rejected: why it cannot be used, empty otherwise; error: largest error of its output relative to the
    largest magnitude in it, None if it was not measured; rounding: the relative error with which it reads factors.
    """

    tactic: str
    config: AnyConfig
    estimate: float
    seconds: float | None = None
    rejected: str = ""
    error: float | None = None
    rounding: float = 0.0

    @property
    def cost(self) -> float:
        return self.estimate if self.seconds is None else self.seconds


KernelKey = tuple[str, str, AnyConfig]


def kernel_key(region: Region, trial: Trial) -> KernelKey:
    """Equal for equal kernels: the signature of their region, tactic and config."""
    return region.signature, trial.tactic, trial.config


@dataclass(frozen=True, eq=False)
class Choice:
    """The kernel chosen for a region, and all trials that were made for it.

    is_reorder: the region only brings its operand into another layout; nothing else in the network names its result.
    """

    region: Region
    kernel: Kernel
    trial: Trial
    trials: tuple[Trial, ...] = ()
    is_reorder: bool = False

    @property
    def name(self) -> str:
        return self.region.name

    @property
    def result(self) -> tuple[Value, Layout]:
        """The value, and its layout, that the choice puts into memory."""
        output = self.region.output
        return (output.inputs[0] if self.is_reorder else output), self.kernel.output
