"""A product that cuBLASLt is to compute, as plain data: what a plan holds of it, read without trust."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import ClassVar

from tensorwright.devices.cuda.libraries.cublas import ALGORITHM_BYTES
from tensorwright.devices.cuda.libraries.fields import Fields
from tensorwright.devices.cuda.libraries.operands import DTYPES, operand_bytes
from tensorwright.plan.fields import refuse
from tensorwright.plan.limits import MAX_SIZE
from tensorwright.plan.plan import Json
from tensorwright.tensor.dtype import DType

ACTIVATIONS = ("none", "relu", "gelu")


@dataclass(frozen=True)
class Product:
    """``y[b, m, n] = activation(Σ left[b, m, k] · right[b, k, n] + bias[n] + residual[b, m, n])``, row-major.

    dtype: of all operands; sums are float32. transposed: the right matrices are given as ``[n, k]``. left_step,
    right_step: elements from a matrix to the next, 0 where all batches have the same one. left, right, bias, residual:
    which operands of the step they are, of which 0 is y; None for no such term. tf32: factors of float32 may be
    rounded. algorithm: how the library computes it, with so many bytes of workspace.
    """

    library: ClassVar[str] = "cublas"

    dtype: DType
    rows: int
    depth: int
    columns: int
    batch: int
    left_step: int
    right_step: int
    transposed: bool
    left: int
    right: int
    bias: int | None = None
    residual: int | None = None
    activation: str = "none"
    tf32: bool = False
    algorithm: bytes = b""
    workspace: int = 0

    @property
    def extents(self) -> Mapping[int, int]:
        """Bytes that are read of each operand, and written of y, by their numbers."""
        result, last = self.batch * self.rows * self.columns, self.batch - 1
        factors = {
            self.left: last * self.left_step + self.rows * self.depth,
            self.right: last * self.right_step + self.depth * self.columns,
        }
        return operand_bytes(self.dtype, factors, result, self.columns, self.bias, self.residual)

    def document(self) -> dict[str, Json]:
        """The product in JSON."""
        return {"library": self.library, **asdict(self), "dtype": self.dtype.name, "algorithm": self.algorithm.hex()}


def read_product(fields: Fields) -> Product:
    """The product that an object of JSON is.

    Raises:
        Refusal: it is none.
    """
    product = Product(
        dtype=DTYPES[fields.one_of("dtype", tuple(DTYPES))],
        rows=fields.number("rows", 1),
        depth=fields.number("depth", 1),
        columns=fields.number("columns", 1),
        batch=fields.number("batch", 1),
        left_step=fields.number("left_step", 0, MAX_SIZE),
        right_step=fields.number("right_step", 0, MAX_SIZE),
        transposed=fields.truth("transposed"),
        left=fields.operand("left"),
        right=fields.operand("right"),
        bias=fields.optional_operand("bias"),
        residual=fields.optional_operand("residual"),
        activation=fields.one_of("activation", ACTIVATIONS),
        tf32=fields.truth("tf32"),
        algorithm=_algorithm(fields),
        workspace=fields.number("workspace", 0, MAX_SIZE),
    )
    fields.require_different(product.left, product.right, product.bias, product.residual)
    return product


def _algorithm(fields: Fields) -> bytes:
    digits = fields.text("algorithm")
    try:
        algorithm = bytes.fromhex(digits)
    except ValueError:
        refuse(f"{fields.where}.algorithm", "hexadecimal digits", digits)
    if len(algorithm) != ALGORITHM_BYTES:
        refuse(f"{fields.where}.algorithm", f"{ALGORITHM_BYTES} bytes", f"{len(algorithm)} bytes")
    return algorithm
