"""Products by cuBLASLt: which algorithms it has for one, and running it.

The library's matrices have their columns one behind the other. What is row-major here is the same memory as the
transposed matrix there, so ``yᵀ = rightᵀ · leftᵀ`` is computed, and a bias is one number for each row of it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ctypes import c_float, c_int, c_void_p
from dataclasses import dataclass, replace

from tensorwright.base.errors import PlanError
from tensorwright.devices.cuda.libraries import cublas as lt
from tensorwright.devices.cuda.libraries.cublas import Cublas, Descriptors, Heuristic
from tensorwright.devices.cuda.libraries.product import Product
from tensorwright.devices.cuda.libraries.shared import ALIGNMENT
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32

_TYPES = {FLOAT32: lt.FLOAT32, FLOAT16: lt.FLOAT16, BFLOAT16: lt.BFLOAT16}
_ACTIVATIONS = {"none": 0, "relu": lt.RELU, "gelu": lt.GELU}


@dataclass(frozen=True)
class Described:
    """A product in the library's words. a, b: right and left factors; c: what is added, and what is written."""

    product: c_void_p
    a: c_void_p
    b: c_void_p
    c: c_void_p


def algorithms(cublas: Cublas, product: Product, workspace: int, most: int) -> list[Product]:
    """The product with every algorithm that the library proposes, the most promising first; none if it cannot do it.

    workspace: bytes that they may need.
    """
    results, count = (Heuristic * most)(), c_int()
    with Descriptors(cublas) as make, _described(cublas, product, ALIGNMENT) as found:
        code = cublas.try_call(
            "cublasLtMatmulAlgoGetHeuristic", cublas.handle, found.product, found.a, found.b, found.c, found.c,
            make.preference(workspace, ALIGNMENT), most, results, ctypes.byref(count),
        )  # fmt: skip
    usable = [one for one in results[: count.value] if not code and one.state == 0 and one.workspace <= workspace]
    return [replace(product, algorithm=bytes(one.algorithm), workspace=one.workspace) for one in usable]


class CublasProduct:
    """A product with an algorithm that the library has accepted.

    Raises:
        PlanError: it does not accept it, or needs more workspace than the product says.
    """

    def __init__(self, cublas: Cublas, product: Product, where: str) -> None:
        self._cublas, self._product = cublas, product
        checked = Heuristic()
        with _described(cublas, product, ALIGNMENT) as found:
            code = cublas.try_call(
                "cublasLtMatmulAlgoCheck", cublas.handle, found.product, found.a, found.b, found.c, found.c,
                product.algorithm, ctypes.byref(checked),
            )  # fmt: skip
        if code or checked.state or checked.workspace > product.workspace:
            raise PlanError(
                f"{where}: {cublas.title} {cublas.version} does not accept its algorithm for a product of "
                f"{product.rows}×{product.depth}×{product.columns} in {product.workspace} bytes of workspace (status "
                f"{code or checked.state}, {checked.workspace} bytes); build it again"
            )

    def run(self, addresses: Sequence[int], workspace: int, stream: int) -> None:
        """Put the product into a stream.

        Raises:
            LibraryError: the library refuses it.
        """
        cublas, product = self._cublas, self._product
        bias = 0 if product.bias is None else addresses[product.bias]
        added = addresses[0 if product.residual is None else product.residual]
        one, beta = c_float(1), c_float(product.residual is not None)
        with _described(cublas, product, bias) as found:
            cublas.call(
                f"computing a product of {product.rows}×{product.depth}×{product.columns}",
                "cublasLtMatmul", cublas.handle, found.product, ctypes.byref(one), addresses[product.right], found.a,
                addresses[product.left], found.b, ctypes.byref(beta), added, found.c, addresses[0], found.c,
                product.algorithm, workspace, product.workspace, stream,
            )  # fmt: skip


@contextmanager
def _described(cublas: Cublas, product: Product, bias: int) -> Iterator[Described]:
    """The descriptors of a product. bias: its address or, where nothing is run, the bytes to which it is aligned."""
    compute = lt.COMPUTE_TF32 if product.tf32 else lt.COMPUTE_FLOAT32
    epilogue = _ACTIVATIONS[product.activation] | (0 if product.bias is None else lt.BIAS)
    attributes = {lt.TRANSPOSE_A: int(product.transposed), lt.EPILOGUE: epilogue or lt.DEFAULT}
    if product.bias is not None:
        attributes[lt.BIAS_POINTER] = bias
    type, rows, columns, depth = _TYPES[product.dtype], product.rows, product.columns, product.depth
    a_shape = (depth, columns) if product.transposed else (columns, depth)
    with Descriptors(cublas) as make:
        yield Described(
            make.product(compute, attributes),
            make.matrix(type, *a_shape, product.batch, product.right_step),
            make.matrix(type, depth, rows, product.batch, product.left_step),
            make.matrix(type, columns, rows, product.batch, rows * columns),
        )
