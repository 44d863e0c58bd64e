"""Operators of users: what stands in a model under a name that nobody but its author knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tensorwright.graph.graph import Value
from tensorwright.importers.composer import Composer


@dataclass(frozen=True, eq=False)
class CustomNode(Composer):
    """A node or layer with an operator of its user.

    operation: the name of the operator; in UFF ``_Name``, here without the underscore.
    fields: attributes by name; of a Caffe layer its parameters, those of each message as a mapping.
    weights: the arrays that the model has for it.
    """

    operation: str
    inputs: tuple[Value, ...]
    fields: Mapping[str, object]
    weights: tuple[npt.NDArray[np.generic], ...] = ()


Custom = Callable[[CustomNode], Value | None]
"""Makes the value of a custom node; None where there is nothing of that name."""

CustomLayers = Callable[[CustomNode], Sequence[Value] | None]
"""Makes the values of a custom layer, one per output; None where there is nothing for that layer."""
