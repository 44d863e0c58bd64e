"""Regions of softmax and layer normalisation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kernels.cuda.fragment_regions import constant, followed
from tensorwright.graph.graph import apply, input_value
from tensorwright.graph.region import Region
from tensorwright.ops.normalization import LayerNormalization, Softmax
from tensorwright.tensor.dim import Dim, symbol
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32, DType
from tensorwright.tensor.type import TensorType


@dataclass(frozen=True)
class Rows:
    """Rows of ``[*lead, extent]``, normalised (with parameters: "scale", "bias") or as a softmax (without)."""

    lead: tuple[Dim, ...]
    extent: int
    parameters: tuple[str, ...] = ()
    epilogue: tuple[str, ...] = ()
    dtype: DType = FLOAT16

    def region(self, rng: np.random.Generator) -> Region:
        x = input_value("x", TensorType(self.dtype, (*self.lead, self.extent)))
        op = LayerNormalization(len(self.lead), 1e-5) if self.parameters else Softmax(len(self.lead))
        given = [constant(rng, self.dtype, self.extent) for _ in self.parameters]
        return followed(apply(op, x, *given), self.epilogue, rng, (self.extent,))


ROWS = {
    "layers": Rows((3, 7), 768, ("scale", "bias")),
    "layers-short": Rows((5,), 24, ("scale", "bias"), ("relu",)),
    "layers-odd": Rows((2, 3), 520, ("scale",), ("residual",), BFLOAT16),
    "layers-float32": Rows((symbol("batch", 1, 2, 5), 9), 384, ("scale", "bias"), (), FLOAT32),
    "softmax": Rows((2, 9), 128),
    "softmax-float32": Rows((17,), 36, (), ("bias",), FLOAT32),
    "softmax-long": Rows((3,), 1024),
}
