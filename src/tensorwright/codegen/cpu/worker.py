"""Compiles modules for CPUs in a process of its own, whose first argument is the name of a target."""

from __future__ import annotations

import sys

from tensorwright.codegen.cpu.compile import compile_object
from tensorwright.codegen.cpu.targets import target_named
from tensorwright.codegen.worker import serve


def main() -> None:
    target = target_named(sys.argv[1])
    serve(lambda text: compile_object(text, target))
