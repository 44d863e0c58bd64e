"""`tensorwright run`: one inference."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
from rich.table import Table
from typer import Argument, Option

from tensorwright.cli.arrays import Array, complete_inputs, read_inputs
from tensorwright.cli.command import shown
from tensorwright.cli.models import engine_of
from tensorwright.cli.options import Given, with_options
from tensorwright.cli.tables import console

Source = Annotated[Path, Argument(help="A plan or a model.")]
Batch = Annotated[int | None, Option(min=1, help="Batch size of random inputs; by default the one tuned for.")]
Seed = Annotated[int, Option(help="Seed of random inputs.")]
Inputs = Annotated[
    list[str] | None,
    Option("-i", "--input", help="NAME=FILE.npy, FILE.npy or FILE.npz; random if not given. May be repeated."),
]


@with_options()
def run(
    source: Source,
    options: Given,
    input: Inputs = None,
    output: Annotated[Path | None, Option("-o", "--output", help="Write all outputs to an .npz file.")] = None,
    batch: Batch = None,
    seed: Seed = 0,
    quiet: Annotated[bool, Option("-q", "--quiet", help="No progress bar.")] = False,
) -> None:
    """Run a plan (or a model) once, on arrays from files or random ones."""
    with engine_of(source, options, quiet=quiet) as engine:
        inputs = complete_inputs(engine, read_inputs(engine, input or ()), batch, seed)
        outputs = engine(inputs)
    table = Table("output", "dtype", "shape", "smallest", "mean", "largest", header_style="bold")
    for name, array in outputs.items():
        table.add_row(shown(name), str(array.dtype), "×".join(map(str, array.shape)), *_summary(array))
    console().print(table)
    if output is not None:
        np.savez(output, **{name: _storable(array) for name, array in outputs.items()})  # type: ignore[arg-type]


def _summary(array: Array) -> tuple[str, str, str]:
    if array.size == 0:
        return "", "", ""
    wide = array.astype(np.float64)
    return f"{wide.min():.6g}", f"{wide.mean():.6g}", f"{wide.max():.6g}"


def _storable(array: Array) -> Array:
    """Files of NumPy know no bfloat16: float32 holds the same values."""
    return array.astype(np.float32) if array.dtype.kind == "V" else array
