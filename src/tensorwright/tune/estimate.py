"""What a kernel would cost if nobody measured it: a roofline with an assumed efficiency."""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.graph.region import Region
from tensorwright.kernels.tactic import AnyConfig, Offer
from tensorwright.tensor.dim import tuning_value
from tensorwright.tensor.layout import Layout
from tensorwright.tensor.type import TensorType


@dataclass(frozen=True)
class Roofline:
    """What one core of a machine is assumed to do at best: floating-point operations and bytes per second, and the
    seconds of a call that does nothing.
    """

    flops_per_second: float
    bytes_per_second: float
    call_seconds: float

    def estimate(self, region: Region, offer: Offer, config: AnyConfig, rank: int) -> float:
        """Seconds on one core; `rank` is the place of the configuration in the tactic's order of promise."""
        needed = offer.work(region, config)
        arithmetic = tuning_value(needed.flops) / self.flops_per_second
        busy = max(arithmetic, tuning_value(needed.bytes) / self.bytes_per_second)
        return self.call_seconds + busy / offer.efficiency(region, config) * (1 + 0.02 * rank)

    def reorder(self, type: TensorType, source: Layout, destination: Layout) -> float:
        """The expected time to bring a tensor from one layout into another."""
        if source == destination:
            return 0.0
        return self.conversion(type)

    def conversion(self, type: TensorType) -> float:
        """The expected time to copy a tensor element by element, at a third of what memory gives."""
        size = tuning_value(type.elements) * type.dtype.size
        return self.call_seconds + 2 * size / (self.bytes_per_second / 3)
