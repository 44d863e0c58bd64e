"""Which sizes no kernel can be timed with."""

from __future__ import annotations

import numpy as np
import pytest

from tensorwright.base.errors import BuildError
from tensorwright.build.sizes import require_tensors
from tensorwright.graph.graph import Graph, apply, constant_value, input_value
from tensorwright.ops.convolution import Convolution
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import FLOAT32
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of


def test_kernels_are_not_timed_where_sizes_are_negative() -> None:
    x = input_value("x", TensorType(FLOAT32, (1, 1, symbol("n", 1, 1, 9), 5)))
    w = constant_value(weights_of(np.ones((1, 1, 3, 3), np.float32)))
    y = apply(Convolution((1, 1), (0, 0), (0, 0), (1, 1), 1), x, w)
    graph = Graph((("x", x),), (("y", y),))
    require_tensors(graph, is_timed=False)
    with pytest.raises(BuildError, match=r"shape \(1, 1, -1, 3\) .* tune for larger inputs, or build at level 0"):
        require_tensors(graph, is_timed=True)


def test_tensors_without_elements_are_refused_that_numpy_cannot_make() -> None:
    x = input_value("x", TensorType(FLOAT32, (1 << 40, 0, 1 << 40)))
    with pytest.raises(BuildError, match=r"needs 4835703278458516698824704 bytes; nothing in a plan has more"):
        require_tensors(Graph((("x", x),), (("x", x),)), is_timed=False)
