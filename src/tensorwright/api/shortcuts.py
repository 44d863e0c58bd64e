"""Model to engine in one call."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, cast

from tensorwright.api.calibration import ALGORITHMS, Calibrator
from tensorwright.api.config import log_function
from tensorwright.api.definition import Definition
from tensorwright.api.logger import SHARED_LOGGER, ILogger
from tensorwright.api.monitor import ProgressBar
from tensorwright.api.network import NetworkDefinition
from tensorwright.base.errors import BuildError
from tensorwright.base.options import About, given, options_of, taking
from tensorwright.base.progress import Progress, SilentProgress
from tensorwright.build.config import BuildConfig, BuildOptions
from tensorwright.graph.graph import Graph
from tensorwright.importers.failures import UnsupportedModel
from tensorwright.importers.formats import Model, format_of, read_model
from tensorwright.importers.options import ReadOptions
from tensorwright.ops.quantization import Dequantize, Quantize
from tensorwright.plan.plan import Plan
from tensorwright.runtime.engine import Engine

if TYPE_CHECKING:
    from tensorwright.build.calibrate import Algorithm
    from tensorwright.importers.onnx.parts import PartialModel

Source = Model | NetworkDefinition | Graph

MaybeStaged: TypeAlias = Any
"""Or else a `StagedEngine`, in types: whoever cares asks for it with isinstance, nobody has to."""

STAGED = (
    "The network runs in stages: these nodes on the host, in NumPy, or translated when the values of their operands "
    "are known; the parts between them are compiled when they are first reached, which takes 50 ms and more for each. "
    "strict=True refuses such models."
)


@dataclass(frozen=True, kw_only=True)
class EngineOptions(BuildOptions, ReadOptions):
    """All that a user may say when a model becomes an engine."""

    calibrator: Annotated[
        Calibrator | None,
        About('for precision="int8": gives sample inputs on which the ranges of tensors are measured.', help=None),
    ] = None
    calibration_data: Annotated[
        str | os.PathLike[str] | None,
        About(
            'for precision="int8": a folder of sample inputs as .npy, .npz or image files; see '
            "`tensorwright.FolderCalibrator`.",
            help="For int8: a folder of sample inputs, .npy, .npz or image files.",
        ),
    ] = None
    calibration_cache: Annotated[
        str | os.PathLike[str] | None,
        About(
            "a file with the ranges that a calibration found: read if it is there, or else written.",
            help="File with the ranges that a calibration found: read if it is there, or else written.",
        ),
    ] = None
    calibration_algorithm: Annotated[
        str,
        About(
            "how ranges are found in `calibration_data`; see `tensorwright.Calibrator`.",
            among=ALGORITHMS,
            help=f"How ranges are found: {', '.join(ALGORITHMS)}.",
        ),
    ] = "MinMaxCalibration"
    image_mean: Annotated[
        Sequence[float] | None,
        About(
            "what is subtracted from pixels between 0 and 255 of images in `calibration_data`, for all channels or one "
            "by one; 0 by default.",
            help="For images: subtracted from pixels between 0 and 255, such as 123.7,116.3,103.5; 0 by default.",
        ),
    ] = None
    image_std: Annotated[
        Sequence[float] | None,
        About(
            "what the pixels are divided by afterwards; 255 by default.",
            help="For images: what pixels are divided by afterwards, such as 58.4,57.1,57.4; 255 by default.",
        ),
    ] = None
    dynamic_ranges: Annotated[
        Mapping[str, float] | None,
        About(
            'for precision="int8": the largest magnitudes that count of tensors, by name; they count before what a '
            "calibrator measures.",
            spelt=("--dynamic-range",),
            help="NAME=NUMBER, for int8: the largest magnitude that counts of a tensor. May be repeated.",
        ),
    ] = None
    strict: Annotated[
        bool,
        About("whether models that no single plan can express are refused; their nodes are listed then.", help=None),
    ] = False
    logger: Annotated[
        ILogger | None, About("None for the one that is in use, or else warnings on standard error.", help=None)
    ] = None
    progress: Annotated[
        bool | Progress | None,
        About("True for a bar on the terminal, or an object that hears how far the build is.", help=None),
    ] = None


@taking(EngineOptions)
def build(source: Source, options: EngineOptions) -> Engine | MaybeStaged:  # noqa: D417  # Options document themselves.
    """An engine for this machine.

    Where nodes of an ONNX model cannot be part of a native program (their operator has no kernel, or the values of an
    operand decide shapes at run time), the engine is a `StagedEngine`, and one warning names them. It is called like
    any other, compiles parts when they are first reached, and cannot be saved.

    Args:
        source: the path of a model (ONNX, a frozen TensorFlow graph, UFF, the definition of a Caffe network), its
            bytes, a loaded model (a ModelProto, a GraphDef, a tf.Graph), a network definition or a graph.
        {options}

    Raises:
        ImportFailure: the model cannot be read or, if `strict`, uses what is not supported (all of it is listed).
        NetworkError: the network is wrong.
        BuildError: the options are wrong, or no plan can be made within them.
    """
    reading, config = _parts_of(source, options)
    try:
        return Engine(_plan_of(source, reading, config, options), options.allocator, device=config.device)
    except UnsupportedModel as error:
        if options.strict or options.constants is not None or isinstance(source, Graph | Definition):
            raise
        in_stages = format_of(source).in_stages
        if in_stages is None:
            raise
        if config.caches_in_place:
            raise BuildError(
                f"caches_in_place is for models that one plan can express; this one cannot: {error.cause}"
            ) from error
        config.log("warning", f"{error.cause}\n{STAGED}")
        from tensorwright.staged.engine import StagedEngine

        engine = StagedEngine(cast("PartialModel", in_stages(source, reading)), config)
        engine.prepare()
        return engine


@taking(EngineOptions)
def build_plan(source: Source, options: EngineOptions) -> Plan:  # noqa: D417  # Options document themselves.
    """A plan, which may be for a machine that this one cannot stand in for: it is not loaded.

    Args:
        source: what `build` takes; one plan has to express it.
        {options}

    Raises:
        ImportFailure: the model cannot be read, or uses what is not supported (all of it is listed).
        NetworkError: the network is wrong.
        BuildError: the options are wrong, or no plan can be made within them.
    """
    return _plan_of(source, *_parts_of(source, options), options)


def _parts_of(source: Source, options: EngineOptions) -> tuple[ReadOptions, BuildConfig]:
    """What the options say of reading, and of building."""
    log = log_function(SHARED_LOGGER.adopt(options.logger, "build"))
    progress = ProgressBar() if options.progress is True else options.progress or SilentProgress()
    batch_symbol = source.batch_symbol if isinstance(source, Definition) else None
    config = given(options, BuildConfig, progress=progress, log=log, batch_symbol=batch_symbol)
    return given(options, ReadOptions), config


def calibrator_of(options: EngineOptions) -> Calibrator | None:
    """What the options say of calibration.

    Raises:
        BuildError: they contradict each other, or the samples cannot be used.
    """
    from tensorwright.api.samples import FolderCalibrator

    if options.calibrator is not None:
        if options.calibration_data is not None or options.calibration_cache is not None:
            raise BuildError("build: say calibrator=..., or calibration_data=... and calibration_cache=...")
        return options.calibrator
    cache, algorithm = options.calibration_cache, cast("Algorithm", options.calibration_algorithm)
    if options.calibration_data is None:
        return None if cache is None else Calibrator((), algorithm, cache)
    mean, std = options.image_mean or (0.0,), options.image_std or (255.0,)
    return FolderCalibrator(options.calibration_data, mean, std, algorithm, cache)


def _plan_of(source: Source, reading: ReadOptions, config: BuildConfig, options: EngineOptions) -> Plan:
    return make_plan(source, reading, config, calibrator_of(options), options.dynamic_ranges)


def make_plan(
    source: Source,
    options: ReadOptions,
    config: BuildConfig,
    calibrator: Calibrator | None = None,
    dynamic_ranges: Mapping[str, float] | None = None,
) -> Plan:
    """The plan of anything that `build` takes.

    Raises:
        BuildError: int8 is asked for and nothing says ranges, or ranges are said and it is not asked for.
    """
    from tensorwright.build.build import build as build_plan
    from tensorwright.build.quantise import build_quantised, with_factors_as_outputs

    has_ranges, is_wanted = calibrator is not None or bool(dynamic_ranges), "int8" in config.precision
    if has_ranges and not is_wanted:
        raise BuildError('build: ranges of tensors are for precision="int8", which is not asked for')
    try:
        graph = graph_of(source, options, config)
        if not is_wanted:
            return build_plan(graph, config)
        if not has_ranges:
            _require_quantised(graph)
            return build_plan(graph, config)
        measured = with_factors_as_outputs(graph)
        tensors = dict((*measured.inputs, *measured.outputs))
        return build_quantised(graph, tensors, measured, calibrator, config, dynamic_ranges)
    finally:
        config.progress.done()


def graph_of(source: Source, options: ReadOptions, config: BuildConfig) -> Graph:
    """The graph of anything that `build` takes.

    Raises:
        BuildError: it is none of these, or an option is given that it does not take.
        ImportFailure: the model cannot be read.
    """
    _require_small(source, config.max_model_size)
    if isinstance(source, Graph | Definition):
        _refuse_reading(options)
        return source if isinstance(source, Graph) else source.to_graph()
    imported = read_model(source, options)
    for message in imported.warnings:
        config.log("warning", message)
    return imported.graph


def _require_quantised(graph: Graph) -> None:
    """Refuse a network without quantised tensors for int8 if no ranges are known."""
    if not any(isinstance(value.op, Quantize | Dequantize) for value in graph.order()):
        raise BuildError(
            'build: precision="int8" needs the ranges of tensors: give calibration_data=... (a folder of samples), '
            "calibrator=... or dynamic_ranges=...; the model has no quantised tensors itself"
        )


def _refuse_reading(options: ReadOptions) -> None:
    given_ones = [option.name for option in options_of(ReadOptions) if getattr(options, option.name) is not None]
    if given_ones:
        raise BuildError(
            f"build: {' and '.join(given_ones)} are for models in files; the shapes of this network are said in "
            "add_input, with tensorwright.symbol(name, min, opt, max), and its outputs by mark_output"
        )


def _require_small(source: Source, most: int | None) -> None:
    """Refuse a model that is too large before it is read.

    Raises:
        BuildError: it has more bytes than it may.
    """
    found = None
    if isinstance(source, str | os.PathLike) and Path(source).is_file():
        found = Path(source).stat().st_size
    elif isinstance(source, bytes | bytearray | memoryview):
        found = memoryview(source).nbytes
    if most is not None and found is not None and found > most:
        raise BuildError(f"build: the model has {found} bytes; max_model_size is {most}; allow more")
