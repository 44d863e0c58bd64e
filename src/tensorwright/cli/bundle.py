"""`tensorwright bundle`: plans for several targets in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from tensorwright.plan import bundle as plans_in_one


def bundle(
    plans: Annotated[list[Path], Argument(help="Plans from one model, for different targets.")],
    output: Annotated[Path, Option("--output", "-o", help="The file that holds all of them.")],
) -> None:
    """Write one file of plans for several targets; whatever loads it takes the first that fits its device."""
    plans_in_one.bundle(plans, output)
    print(f"{output}: {len(plans)} plans")
