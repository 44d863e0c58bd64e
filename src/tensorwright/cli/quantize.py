"""`tensorwright quantize`: a float32 ONNX model in, a quantised one out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from tensorwright.api.calibration import ALGORITHMS
from tensorwright.api.monitor import ProgressBar
from tensorwright.api.quantize import quantize as quantized
from tensorwright.base.text import format_bytes
from tensorwright.cli.command import UsageError, numbers, shown
from tensorwright.cli.models import shapes_of
from tensorwright.cli.tables import console

Data = Annotated[Path, Option(help="A folder of sample inputs: .npy, .npz or image files.")]
Mean = Annotated[str, Option(help="For images: subtracted from pixels between 0 and 255, such as 123.7,116.3,103.5.")]
Std = Annotated[str, Option(help="For images: what pixels are divided by afterwards, such as 58.4,57.1,57.4.")]
Found = Annotated[str, Option("--algorithm", help=f"How ranges are found: {', '.join(ALGORITHMS)}.")]
Shape = Annotated[
    list[str] | None, Option(help="NAME=D1xD2x... for an input, NAME=D for a named dimension. May be repeated.")
]


def quantize(
    model: Annotated[Path, Argument(help="An ONNX model in float32.")],
    data: Data,
    output: Annotated[Path | None, Option("-o", "--output", help="By default MODEL.int8.onnx.")] = None,
    algorithm: Found = "MinMaxCalibration",
    smooth: Annotated[
        float | None, Option(min=0, max=1, help="SmoothQuant for transformers: its strength, usually 0.5.")
    ] = None,
    affine: Annotated[bool, Option("--affine", help="Activations in uint8 with any zero point.")] = False,
    keep: Annotated[
        list[str] | None, Option(help="A node that stays in float32, or a pattern of names. May be repeated.")
    ] = None,
    image_mean: Mean = "0",
    image_std: Std = "255",
    shape: Shape = None,
    threads: Annotated[int | None, Option(min=1, help="Threads; all cores by default.")] = None,
    quiet: Annotated[bool, Option("-q", "--quiet", help="No progress bar.")] = False,
) -> None:
    """Quantise a model: QuantizeLinear and DequantizeLinear around its products, by ranges measured on samples."""
    if algorithm not in ALGORITHMS:
        raise UsageError(f"--algorithm {algorithm}: expected one of {', '.join(ALGORITHMS)}")
    target = model.with_suffix(".int8.onnx") if output is None else output
    made = quantized(
        model,
        data,
        output=target,
        algorithm=algorithm,
        smooth=smooth,
        affine=affine,
        keep=keep or (),
        image_mean=numbers(image_mean),
        image_std=numbers(image_std),
        shapes=shapes_of(model, shape) if shape else None,
        threads=threads,
        progress=None if quiet else ProgressBar(),
    )
    counts = Counter(node.op_type for node in made.graph.node)
    text = (
        f"{target}: {format_bytes(target.stat().st_size)}, was {format_bytes(model.stat().st_size)}; "
        f"{counts['QuantizeLinear']} tensors of activations are quantised"
    )
    console().print(shown(text), highlight=False, soft_wrap=True)
