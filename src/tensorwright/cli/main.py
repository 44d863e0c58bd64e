"""The command line, `tensorwright`: build, run, bench, inspect, compare, quantize, bundle, keygen, sign and verify."""

from __future__ import annotations

from typing import Annotated

import typer

import tensorwright
from tensorwright.cli.bench import bench
from tensorwright.cli.build import build
from tensorwright.cli.bundle import bundle
from tensorwright.cli.command import reported
from tensorwright.cli.compare import compare
from tensorwright.cli.inspect import inspect
from tensorwright.cli.quantize import quantize
from tensorwright.cli.run import run
from tensorwright.cli.sign import keygen, sign, verify

app = typer.Typer(
    name="tensorwright",
    help="An inference optimizer and runtime: models in, plans out, plans run.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (build, run, bench, inspect, compare, quantize, bundle, keygen, sign, verify):
    app.command(command.__name__)(reported(command))


def _print_version(wanted: bool) -> None:
    if wanted:
        print(tensorwright.__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """See the help of each command."""
