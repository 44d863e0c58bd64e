"""Small Caffe networks for tests: definitions as text, models as bytes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.importers.caffe import Import, read_network
from tensorwright.importers.caffe.blobs import model_messages

Array = npt.NDArray[np.generic]
Blobs = Mapping[str, Sequence[Array]]
Encoding = Literal["data", "double_data", "raw double", "raw float", "raw half"]


def definition(layers: str, **inputs: Sequence[int]) -> bytes:
    """A definition with inputs of the given shapes and the given layers."""
    lines = ['name: "test"']
    for name, shape in inputs.items():
        dims = " ".join(f"dim: {extent}" for extent in shape)
        lines.append(f'input: "{name}" input_shape {{ {dims} }}')
    return ("\n".join(lines) + "\n" + layers).encode()


def layer(type: str, parameters: str = "", *, bottoms: str = "data", tops: str = "out", name: str = "out") -> str:
    """A layer; bottoms and tops are separated by spaces."""
    ends = [f'bottom: "{bottom}"' for bottom in bottoms.split()] + [f'top: "{top}"' for top in tops.split()]
    return f'layer {{ name: "{name}" type: "{type}" {" ".join(ends)} {parameters} }}\n'


def model(blobs: Blobs, *, encoding: Encoding = "data", legacy: bool = False, old: bool = False) -> bytes:
    """A model file. legacy: shapes as num, channels, height, width; old: layers of the previous generation."""
    net = model_messages()["NetParameter"]()
    for name, arrays in blobs.items():
        proto = (net.layers if old else net.layer).add(name=name)
        for array in arrays:
            put(proto.blobs.add(), array, encoding=encoding, legacy=legacy)
    return net.SerializeToString()


def put(blob, array: Array, *, encoding: Encoding = "data", legacy: bool = False) -> None:
    """Fill a blob message."""
    if legacy:
        blob.num, blob.channels, blob.height, blob.width = (1,) * (4 - array.ndim) + array.shape
    else:
        blob.shape.dim.extend(array.shape)
    match encoding:
        case "data":
            blob.data.extend(array.reshape(-1).tolist())
        case "double_data":
            blob.double_data.extend(array.reshape(-1).tolist())
        case _:
            kinds = {"raw double": "<f8", "raw float": "<f4", "raw half": "<f2"}
            blob.raw_data_type = list(kinds).index(encoding)
            blob.raw_data = array.astype(kinds[encoding]).tobytes()


def imported(text: bytes, blobs: Blobs | None = None, **options) -> Import:
    """A network read from a definition and the weights of its layers."""
    return read_network(text, None if blobs is None else model(blobs), **options)


def outputs_of(network: Import, **inputs: Array) -> dict[str, Array]:
    """What the network computes, by its operators' references."""
    return evaluate_graph(network.graph, inputs)


def computed(
    type: str,
    parameters: str = "",
    *inputs: Array,
    blobs: Sequence[Array] = (),
    tops: str = "out",
    **options,
) -> dict[str, Array]:
    """The tops of a single layer for some bottoms."""
    given = {f"in{number}": np.asarray(array, dtype=np.float32) for number, array in enumerate(inputs)}
    text = definition(
        layer(type, parameters, bottoms=" ".join(given), tops=tops),
        **{name: array.shape for name, array in given.items()},
    )
    return outputs_of(imported(text, {"out": blobs} if blobs else {"none": [np.zeros(1)]}, **options), **given)


def by_opencv(text: bytes, blobs: Blobs, outputs: Sequence[str], **inputs: Array) -> list[Array]:
    """What OpenCV's reader of Caffe networks computes. It calls outputs by the names of their layers."""
    import cv2

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = cv2.dnn.readNetFromCaffe(np.frombuffer(text, np.uint8), np.frombuffer(model(blobs), np.uint8))
    for name, array in inputs.items():
        net.setInput(np.asarray(array, dtype=np.float32), name)
    return list(net.forward(list(outputs)))
