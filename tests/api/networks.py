"""Small networks and their evaluation by the operators' references."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import tensorwright as tw
from tensorwright.graph.evaluate import evaluate_graph

BATCH = 3


def computed(add: Callable, *arrays: np.ndarray, implicit: bool, outputs: int = 1) -> list[np.ndarray]:
    """What layers compute. `add(network, *tensors)` adds them and returns the last one.

    With implicit batch the first axis of the arrays is the batch, which the inputs' shapes do not mention.
    """
    network = tw.NetworkDefinition(explicit_batch=not implicit)
    tensors = [
        network.add_input(f"x{number}", array.dtype, array.shape[1:] if implicit else array.shape)
        for number, array in enumerate(arrays)
    ]
    layer = add(network, *tensors)
    for index in range(outputs):
        tensor = layer.get_output(index)
        tensor.name = f"y{index}"
        network.mark_output(tensor)
    graph = network.to_graph(max_batch_size=BATCH)
    results = evaluate_graph(graph, {f"x{number}": array for number, array in enumerate(arrays)})
    for index in range(outputs):
        known = layer.get_output(index).shape
        found = results[f"y{index}"].shape[1:] if implicit else results[f"y{index}"].shape
        assert known == found
    return [results[f"y{index}"] for index in range(outputs)]
