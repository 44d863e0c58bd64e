"""How far a network in a narrower type is from float32: in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tensorwright.api.calibration import Calibrator
from tensorwright.api.config import log_function
from tensorwright.api.logger import SHARED_LOGGER, ILogger
from tensorwright.api.samples import Data, calibrators_of
from tensorwright.api.shortcuts import Source, graph_of
from tensorwright.base.errors import BuildError
from tensorwright.base.progress import Progress, SilentProgress
from tensorwright.build.config import BuildConfig
from tensorwright.graph.graph import Graph
from tensorwright.importers.inputs import Shapes
from tensorwright.importers.options import ReadOptions

if TYPE_CHECKING:
    from tensorwright.build.calibrate import Algorithm
    from tensorwright.build.compare import Comparison
    from tensorwright.passes.switches import Switched

Array = npt.NDArray[np.generic]


def compare(
    source: Source,
    data: Data,
    *,
    precision: str,
    max_error: float | None = None,
    algorithm: Algorithm = "MinMaxCalibration",
    image_mean: Sequence[float] = (0.0,),
    image_std: Sequence[float] = (255.0,),
    shapes: Shapes | None = None,
    threads: int | None = None,
    logger: ILogger | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """How far a network is from float32 if all that can be is computed in a narrower type.

    Every layer is looked at in the network that is narrow throughout, and as the only narrow one. An engine may keep
    layers in float32 that are not faster otherwise; its errors are smaller then.

    Args:
        source: what `build` takes.
        data: a folder of samples, as for `FolderCalibrator`, or batches, as for `Calibrator`.
        precision: "bf16", "fp16" or "int8".
        max_error: the largest relative error of outputs: the worst layers are found that have to stay in float32, so
            that it is not larger on the samples. None to look for none.
        algorithm: for int8: how ranges are found in the samples; see `Calibrator`.
        image_mean: for a folder of images; see `FolderCalibrator`.
        image_std: the same.
        shapes: what unknown dimensions are; see `build`.
        threads: how many threads run; None for all cores.
        logger: None for the one that is in use, or else warnings on standard error.
        progress: hears how far it is.

    Raises:
        ImportFailure: the model cannot be read.
        BuildError: nothing in it can be narrow, or the samples cannot be used.
    """
    from tensorwright.build.calibrate import batches_of
    from tensorwright.build.compare import compare as compared

    if precision not in ("bf16", "fp16", "int8"):
        raise BuildError(f"compare: precision is {precision!r}; expected bf16, fp16 or int8")
    if max_error is not None and not max_error >= 0:
        raise BuildError(f"compare: max_error is {max_error}; expected a number of at least 0, or None")
    log = log_function(SHARED_LOGGER.adopt(logger, "compare"))
    config = BuildConfig(level=0, timing_cache="", threads=threads, log=log, progress=progress or SilentProgress())
    calibrator = calibrators_of(data, algorithm, image_mean, image_std)
    graph = graph_of(source, ReadOptions(shapes=shapes), config)
    try:
        switched = _switched(graph, precision, calibrator(), config)
        return compared(switched, batches_of(graph, calibrator(), config.log), precision, config, max_error)
    finally:
        config.progress.done()


def _switched(graph: Graph, precision: str, calibrator: Calibrator, config: BuildConfig) -> Switched:
    from tensorwright.build.calibrate import calibrate
    from tensorwright.build.precision import NARROW
    from tensorwright.build.quantise import with_factors_as_outputs
    from tensorwright.passes.pipeline import optimise
    from tensorwright.passes.switches import switched_to_integers, switched_to_type

    if precision != "int8":
        return switched_to_type(optimise(graph), NARROW[precision])
    measured = with_factors_as_outputs(graph)
    tensors = dict((*measured.inputs, *measured.outputs))
    found = calibrate(measured, calibrator, config)
    return switched_to_integers(graph, {tensors[name]: found.range_of(name) for name in found.ranges})
