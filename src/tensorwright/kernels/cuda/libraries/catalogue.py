"""The tactics of libraries, by the names that users have for these."""

from __future__ import annotations

from collections.abc import Collection

from tensorwright.codegen.cuda.targets import CudaTarget
from tensorwright.devices.cuda.libraries.calls import Libraries
from tensorwright.kernels.cuda.libraries.convolution import LibraryConvolution, LibraryTf32Convolution
from tensorwright.kernels.cuda.libraries.product import LibraryProduct, LibraryTf32Product
from tensorwright.kernels.tactic import AnyTactic


def library_tactics(libraries: Libraries, names: Collection[str]) -> tuple[AnyTactic[CudaTarget], ...]:
    """Those of the libraries with these names, which are opened."""
    found: list[AnyTactic[CudaTarget]] = []
    if "cublas" in names:
        found += [LibraryProduct(libraries.cublas), LibraryTf32Product(libraries.cublas)]
    if "cudnn" in names:
        found += [LibraryConvolution(libraries.cudnn), LibraryTf32Convolution(libraries.cudnn)]
    return tuple(found)
