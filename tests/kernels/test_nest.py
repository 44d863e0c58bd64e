"""Which layouts the generic tactic offers for reductions over maps."""

from __future__ import annotations

import numpy as np
import pytest

from regions.reductions import REDUCTIONS
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.kernels.cpu.generic import Generic


@pytest.mark.parametrize(("name", "pools"), [("mean-of-maps", True), ("mean-of-odd-maps", False)])
def test_means_of_blocked_maps_are_plain(name: str, pools: bool, rng: np.random.Generator) -> None:
    configs = Generic().configs(REDUCTIONS[name].region(rng), TARGETS["avx512"])
    assert any(c.inputs[0].block == 16 and c.output.is_plain for c in configs) == pools
