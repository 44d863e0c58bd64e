"""`tensorwright compare`: how far a model in a narrower type is from float32."""

from __future__ import annotations

import json
from math import inf
from pathlib import Path
from typing import Annotated

from rich.table import Table
from typer import Argument, Option

from tensorwright.api.calibration import ALGORITHMS
from tensorwright.api.compare import compare as compared
from tensorwright.api.monitor import ProgressBar
from tensorwright.base.files import replacing
from tensorwright.build.compare import Comparison
from tensorwright.cli.command import UsageError, numbers, shown
from tensorwright.cli.models import is_plan, shapes_of
from tensorwright.cli.quantize import Data, Mean, Shape, Std
from tensorwright.cli.tables import console
from tensorwright.picture.comparison import comparison_page
from tensorwright.picture.plot import FORMATS, comparison_plot

Found = Annotated[str, Option("--algorithm", help=f"For int8, how ranges are found: {', '.join(ALGORITHMS)}.")]
Output = Annotated[
    Path | None, Option("-o", "--output", help="A file for the layers to keep, for build --layer-precision @FILE.")
]


def compare(
    model: Annotated[Path, Argument(help="A model: ONNX, TensorFlow, UFF or Caffe.")],
    data: Data,
    precision: Annotated[str, Option(help="bf16, fp16 or int8.")],
    max_error: Annotated[
        float | None, Option(min=0, help="Find the layers to keep in float32, so that the outputs' error is below.")
    ] = None,
    output: Output = None,
    html: Annotated[Path | None, Option(help="Write a page that shows the errors of all layers.")] = None,
    plot: Annotated[
        Path | None, Option(help="Draw the same with matplotlib, into a .png, .svg or .pdf (tensorwright[plots]).")
    ] = None,
    algorithm: Found = "MinMaxCalibration",
    image_mean: Mean = "0",
    image_std: Std = "255",
    shape: Shape = None,
    threads: Annotated[int | None, Option(min=1, help="Threads; all cores by default.")] = None,
    as_json: Annotated[bool, Option("--json", help="Print everything as JSON.")] = False,
    quiet: Annotated[bool, Option("-q", "--quiet", help="No progress bar.")] = False,
) -> None:
    """Compare a model in a narrower type with itself in float32, layer by layer, on samples."""
    if is_plan(model):
        raise UsageError(f"{model} is a plan, whose types are settled; expected a model")
    if algorithm not in ALGORITHMS:
        raise UsageError(f"--algorithm {algorithm}: expected one of {', '.join(ALGORITHMS)}")
    if output is not None and max_error is None:
        raise UsageError("--output is for the layers to keep: say --max-error, too")
    if plot is not None and plot.suffix[1:] not in FORMATS:
        raise UsageError(f"--plot {plot}: expected a name that ends in {', '.join('.' + one for one in FORMATS)}")
    made = compared(
        model,
        data,
        precision=precision,
        max_error=max_error,
        algorithm=algorithm,
        image_mean=numbers(image_mean),
        image_std=numbers(image_std),
        shapes=shapes_of(model, shape) if shape else None,
        threads=threads,
        progress=None if quiet else ProgressBar(),
    )
    if output is not None:
        _write(output, (json.dumps(made.layer_precision, indent=2) + "\n").encode())
    if html is not None:
        _write(html, comparison_page(made, model.stem).encode())
    if plot is not None:
        _write(plot, comparison_plot(made, model.stem, plot.suffix[1:]))
    if as_json:
        print(json.dumps(_as_json(made), indent=2))
        return
    out = console()
    out.print(_table(made))
    out.print(f"outputs: {_percent(made.error)} off with all {len(made.layers)} layers in {made.precision}")
    if made.kept_error is not None:
        out.print(f"{_percent(made.kept_error)} off with {len(made.kept)} of them in float32")
    for path in (output, html, plot):
        if path is not None:
            out.print(shown(f"written: {path}"), highlight=False, soft_wrap=True)


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as file:
        file.write(content)


def _table(made: Comparison) -> Table:
    title = f"{made.precision} beside float32, the layers that bring about most of the error first"
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("layer", overflow="fold")
    for name in ("outputs off, alone", "signal/noise dB", "max error", "overflows", "NaN", "kept"):
        table.add_column(name, justify="right")
    kept = {id(layer) for layer in made.kept}
    for layer in made.ranked:
        is_bad = layer.overflows or layer.nans
        table.add_row(
            shown(layer.name), _percent(layer.alone), f"{layer.signal_to_noise:.1f}", f"{layer.max_error:.3g}",
            str(layer.overflows or ""), str(layer.nans or ""), "fp32" if id(layer) in kept else "",
            style="bold red" if is_bad else None,
        )  # fmt: skip
    return table


def _as_json(made: Comparison) -> dict[str, object]:
    """Infinite numbers, which JSON does not have, as null."""
    layers = [
        {key: None if value in (inf, -inf) else value for key, value in vars(layer).items()} for layer in made.ranked
    ]
    return {
        "precision": made.precision,
        "error": None if made.error == inf else made.error,
        "kept_error": made.kept_error,
        "layer_precision": made.layer_precision,
        "layers": layers,
    }


def _percent(value: float) -> str:
    return "infinite" if value == inf else f"{100 * value:.4g} %"
