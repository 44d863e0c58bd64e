"""Models as torch's exporters write them, and what to call them with."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.exports.networks import Network

Arrays = Mapping[str, np.ndarray]


def export(network: Network, exporter: str, is_open: bool, batch: int, path: Path) -> list[Arrays]:
    """Write the model; its example and, if extents are open, others."""
    import torch

    torch.manual_seed(0)
    module, arguments = network.make(batch)
    options: dict[str, object] = {"input_names": list(network.names), "dynamo": exporter == "dynamo"}
    axes = [network.open.get(name, {}) for name in network.names]
    if is_open and exporter == "dynamo":
        options["dynamic_shapes"] = tuple(dict.fromkeys(each, torch.export.Dim.DYNAMIC) for each in axes)
    elif is_open:
        options["dynamic_axes"] = dict(zip(network.names, axes, strict=True))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(module.eval(), arguments, str(path), **options)
    example = {name: argument.numpy() for name, argument in zip(network.names, arguments, strict=True)}
    return [example, *([other(network, example)] if is_open else [])]


def other(network: Network, example: Arrays) -> Arrays:
    """The example with other extents: cut, or begun again."""
    changed = dict(example)
    for name, axes in network.open.items():
        for axis, what in axes.items():
            extent = changed[name].shape[axis]
            changed[name] = np.take(changed[name], np.arange(extent + network.steps[what]) % extent, axis)
    return changed
