"""Run an unmodified script that imports `tensorrt`, `uff` or `pycuda`."""

from __future__ import annotations

import argparse
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from tensorwright.base.errors import ExecutionError
from tensorwright.compat.finder import activate


def main(arguments: Sequence[str] | None = None) -> None:
    """``python -m tensorwright.compat [--force] [--device cuda] (script.py | -m module) [arguments...]``."""
    parser = argparse.ArgumentParser(
        prog="python -m tensorwright.compat",
        description="Run a script that imports tensorrt, uff or pycuda on this machine's CPU or GPU.",
    )
    parser.add_argument("--force", action="store_true", help="take precedence over installed packages of these names")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda for an NVIDIA GPU (cuda:1 for the second one)")
    parser.add_argument("-m", dest="module", action="store_true", help="run a module instead of a file")
    parser.add_argument("script", help="the script, or the module with -m")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="what the script finds in sys.argv")
    options = parser.parse_args(arguments)
    if not options.module and not Path(options.script).exists():
        parser.error(f"there is no script {options.script}")
    try:
        activate(force=options.force, device=options.device)
    except ExecutionError as error:
        parser.error(str(error))
    sys.argv = [options.script, *options.arguments]
    if options.module:
        sys.path[0] = str(Path.cwd())
        runpy.run_module(options.script, run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = str(Path(options.script).resolve().parent)
        runpy.run_path(options.script, run_name="__main__")


if __name__ == "__main__":
    main()
