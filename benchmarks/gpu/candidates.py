"""Compiles candidates for the regions of networks where there is no GPU: ``python -m benchmarks.gpu.candidates``."""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.gpu.models import MODELS, TYPES
from benchmarks.gpu.network import lower
from tensorwright.codegen.cuda.compile import assemble, compile_ptx
from tensorwright.codegen.cuda.targets import CudaTarget, cuda_target_named
from tensorwright.graph.graph import Graph
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.fragments.tactic import TACTICS
from tensorwright.kernels.cuda.kernel import CudaKernel


def network(name: str, batch: int, type: str) -> Graph:
    """A network as the candidates are compiled for it."""
    return MODELS[name](batch, TYPES[type])


def kernels(region: Region, target: CudaTarget) -> Iterator[CudaKernel]:
    """All kernels of fast tactics for a region."""
    for tactic in TACTICS:
        for config in tactic.configs(region, target):
            yield tactic.emit(region, config, target)


def compiled(item: tuple[str, str, CudaTarget]) -> tuple[str, bytes, int]:
    """The name of a kernel, its machine code, and bytes of local memory."""
    name, text, target = item
    image, resources = assemble(compile_ptx(text, target), target)
    return name, image, sum(found.stack_bytes + found.spill_bytes for found in resources.values())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("networks", nargs="+", help="name:batch:type")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--target", default="sm_90")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    target, texts = cuda_target_named(options.target), {}
    for item in options.networks:
        name, batch, type = item.split(":")
        _, steps = lower(network(name, int(batch), type), target, lambda region: next(kernels(region, target), None))
        for step in steps:
            for kernel in (step.kernel, *kernels(step.region, target)):
                texts[kernel.name] = kernel.code
    old: dict[str, bytes] = pickle.loads(options.output.read_bytes()) if options.output.exists() else {}
    images = {name: old[name] for name in texts if name in old}
    missing = [(name, text, target) for name, text in texts.items() if name not in images]
    print(f"{len(texts)} kernels, {len(missing)} to compile", flush=True)
    with ProcessPoolExecutor(options.processes) as pool:
        found = pool.map(compiled, missing, chunksize=4)
        images.update({name: image for name, image, local in found if not local})
    options.output.write_bytes(pickle.dumps(images))
    print(f"{len(images)} kernels without spills, {sum(map(len, images.values())) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
