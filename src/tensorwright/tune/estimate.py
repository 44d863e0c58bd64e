"""What a kernel would cost if nobody measured it: a roofline with an assumed efficiency."""

from __future__ import annotations

from tensorwright.codegen.target import Target
from tensorwright.graph.region import Region
from tensorwright.kernels.cpu.generic import Generic
from tensorwright.kernels.tactic import Config, Tactic
from tensorwright.kernels.work import OwnWork, work
from tensorwright.tensor.dim import tuning_value
from tensorwright.tensor.dtype import FLOAT32
from tensorwright.tensor.layout import Layout
from tensorwright.tensor.type import TensorType

CLOCK = 3.0e9
BYTES_PER_SECOND = 15e9
CALL_SECONDS = 0.3e-6
TUNED, STREAMED, UNTUNED, UNTUNED_ANCHOR = 0.8, 0.8, 0.3, 0.03
"""Assumed share of the roofline: hand-written kernels; generic loops that stream through memory, that reduce or change
the layout, that compute an anchor."""


def estimate(region: Region, tactic: Tactic, config: Config, target: Target, rank: int) -> float:
    """Seconds on one core; `rank` is the place of the configuration in the tactic's order of promise."""
    needed = tactic.work(region, config, target) if isinstance(tactic, OwnWork) else work(region)
    flops_per_second = CLOCK * target.float_lanes * (2 if target.has_fma else 1)
    busy = max(tuning_value(needed.flops) / flops_per_second, tuning_value(needed.bytes) / BYTES_PER_SECOND)
    return CALL_SECONDS + busy / _efficiency(region, tactic, config) * (1 + 0.02 * rank)


def _efficiency(region: Region, tactic: Tactic, config: Config) -> float:
    if not isinstance(tactic, Generic):
        return TUNED
    if region.anchor is not None and region.anchor.op.kind == "anchor":
        return UNTUNED_ANCHOR
    mixed = len({config.output, *(layout for layout in config.inputs if not layout.is_plain)}) > 1
    if mixed:
        return UNTUNED / 3
    return STREAMED if region.anchor is None else UNTUNED


def reorder_seconds(type: TensorType, source: Layout, destination: Layout) -> float:
    """The expected time to bring a tensor from one layout into another."""
    if source == destination:
        return 0.0
    size = tuning_value(type.elements) * FLOAT32.size
    return CALL_SECONDS + 2 * size / (BYTES_PER_SECOND / 3)
