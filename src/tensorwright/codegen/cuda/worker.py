"""Compiles modules for GPUs in a process of its own, whose first argument is the name of a target."""

from __future__ import annotations

import sys

from tensorwright.codegen.cuda.compile import compile_image
from tensorwright.codegen.cuda.targets import cuda_target_named
from tensorwright.codegen.worker import serve


def main() -> None:
    target = cuda_target_named(sys.argv[1])
    serve(lambda text: compile_image(text, target))
