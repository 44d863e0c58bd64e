"""What a GPU is assumed to reach, and the share of it that an estimate in microseconds stands for."""

from __future__ import annotations

from tensorwright.graph.region import Region
from tensorwright.kernels.work import work
from tensorwright.tensor.dim import tuning_value

FLOPS_PER_SECOND, BYTES_PER_SECOND, LAUNCH_SECONDS = 60e12, 3e12, 1.2e-6
_LEAST_SECONDS = 1e-7


def roofline_share(region: Region, microseconds: float) -> float:
    """The share of the roofline at which a kernel takes so long, a launch included."""
    needed = work(region)
    busy = max(tuning_value(needed.flops) / FLOPS_PER_SECOND, tuning_value(needed.bytes) / BYTES_PER_SECOND)
    return max(busy, _LEAST_SECONDS) / max(_LEAST_SECONDS, microseconds * 1e-6 - LAUNCH_SECONDS)
