"""Model to engine in one call."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from tensorwright.api.config import log_function
from tensorwright.api.definition import Definition
from tensorwright.api.logger import SHARED_LOGGER, ILogger
from tensorwright.api.monitor import ProgressBar
from tensorwright.api.network import NetworkDefinition
from tensorwright.base.errors import BuildError
from tensorwright.base.progress import Progress, SilentProgress
from tensorwright.build.config import BuildConfig
from tensorwright.devices.device import Allocator
from tensorwright.graph.graph import Graph
from tensorwright.importers.failures import UnsupportedModel
from tensorwright.plan.plan import Plan
from tensorwright.runtime.engine import Engine

if TYPE_CHECKING:
    from tensorwright.importers.onnx.inputs import Shapes
    from tensorwright.importers.onnx.ranges import Model
    from tensorwright.importers.tensorflow.read import Source as FrozenGraph
    from tensorwright.staged.engine import StagedEngine

    Source = Model | FrozenGraph | NetworkDefinition | Graph

PARSERS: Mapping[str, str] = {".uff": "UffParser", ".caffemodel": "CaffeParser", ".prototxt": "CaffeParser"}
"""What reads the files of formats that do not say all that a build needs, by their ending."""


STAGED = (
    "It runs in stages: these nodes on the host, in NumPy, or translated once the values of their operands are known; "
    "the parts between them are compiled when they are first reached. strict=True refuses such models."
)


def build(
    source: Source,
    *,
    precision: str = "float32",
    shapes: Shapes | None = None,
    outputs: Sequence[str] | None = None,
    max_workspace_size: int | None = None,
    threads: int | None = None,
    level: int = 3,
    timing_cache: str | os.PathLike[str] | None = None,
    instruction_set: str | None = None,
    fast_algorithms: bool = True,
    exclude_tactics: Iterable[str] = (),
    logger: ILogger | None = None,
    progress: bool | Progress | None = None,
    allocator: Allocator | None = None,
    strict: bool = False,
) -> Engine | StagedEngine:
    """An engine for this machine.

    Where nodes of an ONNX model cannot be part of a native program (their operator has no kernel, or the values of an
    operand decide shapes at run time), the engine is a `StagedEngine`, and one warning names them. It is called like
    any other, compiles parts when they are first reached, and cannot be saved.

    Args:
        source: the path of an ONNX model or of a frozen TensorFlow graph, its bytes, a loaded model (a ModelProto, a
            GraphDef, a tf.Graph), a network definition or a graph.
        precision: element type of the computation, "float32".
        shapes: what unknown dimensions of a model are: ``{"batch": (1, 8, 32)}`` is min, opt (to tune for) and max of a
            named dimension, ``{"batch": 4}`` fixes it, ``{"x": (("n", 1, 8, 32), 3, 224, 224)}`` says all axes of an
            input. Without, first dimensions range from 1 to 16, others from 1 to 512. A TensorFlow graph does not name
            unknown dimensions: first ones are called ``batch``, others ``<input>_<axis>``.
        outputs: nodes (``name``) or tensors (``name:number``) of a TensorFlow graph to compute; None for all that no
            other node takes.
        max_workspace_size: scratch bytes that any one layer may use in all threads together; None for no limit.
        threads: how many threads the engine uses; None for all cores that this process may use.
        level: tuning effort, 0 (no timing, heuristics only) to 5 (every configuration is timed).
        timing_cache: file that remembers timings between builds; None for the user's cache folder, "" for none.
        instruction_set: "avx512", "avx2", "baseline" or "aarch64"; None for the best of this machine.
        fast_algorithms: whether algorithms that need fewer operations and round differently may be used (Winograd,
            Strassen); each is used only while its measured relative error is below 1e-4.
        exclude_tactics: names of tactics, as `tensorwright inspect` shows them, that are not to be used.
        logger: None for the one that is in use, or else warnings on standard error.
        progress: True for a bar on the terminal, or an object that hears how far the build is.
        allocator: gives all device memory of the build and the engine; None for the package's own.
        strict: whether models that no single plan can express are refused; their nodes are listed then.

    Raises:
        ImportFailure: the model cannot be read or, if `strict`, uses what is not supported (all of it is listed).
        NetworkError: the network is wrong.
        BuildError: the options are wrong, or no plan can be made within them.
    """
    used = SHARED_LOGGER.adopt(logger, "build")
    bar = ProgressBar() if progress is True else progress or SilentProgress()
    config = BuildConfig(
        precision=precision,
        max_workspace_size=max_workspace_size,
        threads=threads,
        level=level,
        timing_cache=timing_cache if timing_cache in (None, "") else Path(timing_cache or ""),
        instruction_set=instruction_set,
        fast_algorithms=fast_algorithms,
        exclude_tactics=frozenset(exclude_tactics),
        progress=bar,
        log=log_function(used),
        allocator=allocator,
        batch_symbol=source.batch_symbol if isinstance(source, Definition) else None,
    )
    try:
        return Engine(make_plan(source, shapes, config, outputs), allocator)
    except UnsupportedModel as error:
        if strict or not _is_onnx(source):
            raise
        config.log("warning", f"{error}\n{STAGED}")
    from tensorwright.importers.onnx.parts import PartialModel
    from tensorwright.staged.engine import StagedEngine

    return StagedEngine(PartialModel(cast("Model", source), shapes), config)


def _is_onnx(source: object) -> bool:
    from tensorwright.importers.formats import is_frozen_graph

    return not isinstance(source, Graph | Definition) and not is_frozen_graph(source)


def make_plan(source: Source, shapes: Shapes | None, config: BuildConfig, outputs: Sequence[str] | None = None) -> Plan:
    """The plan of anything that `build` takes."""
    from tensorwright.build.build import build as build_plan

    try:
        return build_plan(graph_of(source, shapes, outputs), config)
    finally:
        config.progress.done()


def graph_of(source: Source, shapes: Shapes | None, outputs: Sequence[str] | None = None) -> Graph:
    """The graph of anything that `build` takes.

    Raises:
        BuildError: it is none of these, or `shapes` or `outputs` are given for what has them.
    """
    from tensorwright.importers.formats import is_frozen_graph

    if isinstance(source, Graph | Definition):
        if shapes is not None:
            raise BuildError(
                "build: shapes are for models that do not say them; say the shapes of this network in add_input, with "
                "tensorwright.symbol(name, min, opt, max)"
            )
        _refuse(outputs)
        return source if isinstance(source, Graph) else source.to_graph()
    if is_frozen_graph(source):
        from tensorwright.importers.tensorflow import import_tensorflow

        return import_tensorflow(source, shapes=shapes, outputs=outputs)
    _refuse(outputs)
    known = isinstance(source, str | os.PathLike | bytes | bytearray | memoryview)
    if not known and type(source).__name__ != "ModelProto":
        raise BuildError(
            "build: expected the path of an ONNX model or of a frozen TensorFlow graph, its bytes, a ModelProto, a "
            f"GraphDef, a network or a graph, found {type(source).__name__}"
        )
    _refuse_other_formats(source)
    from tensorwright.importers.onnx import import_onnx

    return import_onnx(cast("Model", source), shapes=shapes)


def _refuse(outputs: Sequence[str] | None) -> None:
    if outputs is not None:
        raise BuildError(
            "build: outputs are for frozen TensorFlow graphs, which do not say them; an ONNX model says its own, and a "
            "network has those of mark_output"
        )


def _refuse_other_formats(source: object) -> None:
    if isinstance(source, str | os.PathLike) and Path(source).suffix in PARSERS:
        path = Path(source)
        raise BuildError(
            f"build: '{path}' is no file of ONNX or TensorFlow; parse it with tensorwright.{PARSERS[path.suffix]} into "
            "builder.create_network(), and build that network"
        )
