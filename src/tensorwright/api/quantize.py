"""Post-training quantisation: a float32 ONNX model and sample inputs become a quantised ONNX model."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tensorwright.api.calibration import Calibrator
from tensorwright.api.config import log_function
from tensorwright.api.logger import SHARED_LOGGER, ILogger
from tensorwright.api.samples import Data, calibrators_of
from tensorwright.api.shortcuts import graph_of
from tensorwright.base.errors import BuildError
from tensorwright.base.files import replacing
from tensorwright.base.progress import Progress, SilentProgress
from tensorwright.build.config import BuildConfig
from tensorwright.graph.graph import Graph
from tensorwright.importers.inputs import Shapes
from tensorwright.importers.options import ReadOptions

if TYPE_CHECKING:
    from tensorwright.build.calibrate import Algorithm
    from tensorwright.importers.onnx.quantise import OnnxModel, Product

Array = npt.NDArray[np.generic]


def quantize(
    model: str | os.PathLike[str] | bytes | OnnxModel,
    data: Data,
    *,
    output: str | os.PathLike[str] | None = None,
    algorithm: Algorithm = "MinMaxCalibration",
    smooth: float | None = None,
    affine: bool = False,
    keep: Collection[str] = (),
    image_mean: Sequence[float] = (0.0,),
    image_std: Sequence[float] = (255.0,),
    shapes: Shapes | None = None,
    threads: int | None = None,
    logger: ILogger | None = None,
    progress: Progress | None = None,
) -> OnnxModel:
    """A quantised ONNX model: QuantizeLinear and DequantizeLinear in front of its products by constants.

    Convolutions, MatMul and Gemm get weights of int8 with a scale for each output channel or column, and activations of
    8 bits with one scale. `build`, ONNX Runtime and others run such models with products of integers.

    Args:
        model: a model in float32; its path, its bytes or a ModelProto.
        data: a folder of samples, as for `FolderCalibrator`, or batches, as for `Calibrator`.
        output: a file to write.
        algorithm: how the ranges of activations are found; see `Calibrator`.
        smooth: for transformers, whose activations have a few large columns: from 0 to 1, how much of their range goes
            over to the weights (SmoothQuant); 0.5 is usual. None to leave both as they are.
        affine: whether activations are uint8 with any zero point; otherwise they are int8, or uint8 where nothing is
            negative, with zero point 0.
        keep: names of nodes, or patterns of them, that stay in float32.
        image_mean: for a folder of images; see `FolderCalibrator`.
        image_std: the same.
        shapes: what unknown dimensions are; see `build`.
        threads: how many threads measure; None for all cores.
        logger: None for the one that is in use, or else warnings on standard error.
        progress: hears how far the measuring is.

    Raises:
        ImportFailure: the model cannot be read.
        BuildError: it has no product by a constant, or the samples cannot be used.
    """
    from tensorwright.importers.onnx.quantise import load_whole, products_of, smoothed, with_integers

    if smooth is not None and not 0 <= smooth <= 1:
        raise BuildError(f"quantize: smooth is {smooth}; expected a number from 0 to 1, or None")
    log = log_function(SHARED_LOGGER.adopt(logger, "quantize"))
    config = BuildConfig(level=0, timing_cache="", threads=threads, log=log, progress=progress or SilentProgress())
    calibrator = calibrators_of(data, algorithm, image_mean, image_std)
    whole = load_whole(model)
    products = products_of(whole, keep)
    if not products:
        raise BuildError(
            "quantize: the model has no Conv, MatMul or Gemm with constant weights of float32 "
            + ("that is not kept" if keep else "; nothing would be quantised")
        )
    try:
        if smooth is not None:
            largest = _largest_columns(whole, products, calibrator(), shapes, config)
            whole = smoothed(whole, products, largest, smooth)
            products = products_of(whole, keep)
        from tensorwright.build.calibrate import calibrate

        found = calibrate(_measured(whole, products, shapes, config), calibrator(), config)
    finally:
        config.progress.done()
    ranges = {name: found.range_of(name) for name in found.ranges}
    made = with_integers(whole, products, ranges, affine)
    if output is not None:
        with replacing(output) as file:
            file.write(made.SerializeToString())
    return made


def _measured(model: OnnxModel, products: Sequence[Product], shapes: Shapes | None, config: BuildConfig) -> Graph:
    """The network with what products read as outputs."""
    from tensorwright.importers.onnx.quantise import with_outputs

    inputs = {one.name for one in model.graph.input}
    wanted = dict.fromkeys(one.activations for one in products if one.activations not in inputs)
    outputs = list(wanted) or [one.name for one in model.graph.output]
    return graph_of(with_outputs(model, outputs), ReadOptions(shapes=shapes), config)


def _largest_columns(
    model: OnnxModel, products: Sequence[Product], calibrator: Calibrator, shapes: Shapes | None, config: BuildConfig
) -> Mapping[str, npt.NDArray[np.float32]]:
    """The largest magnitude of what products read, for each index of the last axis."""
    from tensorwright.build.calibrate import observe

    largest: dict[str, npt.NDArray[np.float32]] = {}

    def see(name: str, array: Array) -> None:
        flat = np.abs(np.asarray(array, np.float32)).reshape(-1, array.shape[-1] if array.ndim else 1)
        found = np.nan_to_num(flat, nan=0.0, posinf=0.0).max(axis=0, initial=0.0)
        largest[name] = np.maximum(largest[name], found) if name in largest else found

    wanted = {one.activations for one in products}
    observe(
        _measured(model, products, shapes, config), calibrator, config,
        lambda name, array: see(name, array) if name in wanted else None,
    )  # fmt: skip
    return largest
