"""A stand-in for cuBLASLt on the emulated GPU: keeps what descriptors say, and multiplies with NumPy."""

from __future__ import annotations

import ctypes
from functools import cache, partial
from typing import Any

import numpy as np
import pytest

from cuda_emulator import EmulatedLibrary
from tensorwright.backends import cuda
from tensorwright.devices.cuda.libraries.calls import Libraries
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32

NOT_SUPPORTED = 15
_TYPES = {0: FLOAT32.numpy, 2: FLOAT16.numpy, 14: BFLOAT16.numpy}
_KINDS = ("MatmulDesc", "MatrixLayout", "MatmulPreference")


def with_cublas(monkeypatch: pytest.MonkeyPatch, gpu: EmulatedLibrary, **options: Any) -> FakeCublas:
    """The emulated GPU with a stand-in for the library that this process finds."""
    fake = FakeCublas(gpu, **options)
    monkeypatch.setattr("tensorwright.devices.cuda.libraries.cublas.open_library", lambda library: fake)
    monkeypatch.setattr("tensorwright.backends.cuda._opened", cache(lambda number: Libraries(cuda._open(number))))
    return fake


class FakeCublas:
    """Algorithms are known by their first byte, `proposed` of them for every product; their second is the version.

    products: what was multiplied, by the attributes of all descriptors. open: descriptors that nobody has given back.
    """

    def __init__(self, gpu: EmulatedLibrary, version: int = 130100, proposed: int = 2, workspace: int = 256) -> None:
        self.gpu, self.version, self.proposed, self.workspace = gpu, version, proposed, workspace
        self.calls: list[str] = []
        self.fail: dict[str, int] = {}
        self.open: dict[int, dict[Any, Any]] = {}
        self.products: list[dict[str, Any]] = []
        self.asked: list[dict[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cublasLt"):
            raise AttributeError(name)

        def call(*arguments: Any) -> int:
            self.calls.append(name)
            return self.fail.get(name) or self._answer(name, *arguments) or 0

        return call

    def _answer(self, name: str, *arguments: Any) -> int | None:
        for kind in _KINDS:
            if name.startswith(f"cublasLt{kind}"):
                action = name.removeprefix(f"cublasLt{kind}")
                return {"Create": self._create, "Destroy": self._destroy, "SetAttribute": self._set}[action](*arguments)
        return int(getattr(self, f"on_{name}")(*arguments) or 0)

    def on_cublasLtGetVersion(self) -> int:  # noqa: N802
        return self.version

    def on_cublasLtCreate(self, handle: Any) -> None:  # noqa: N802
        handle._obj.value = self.gpu.handle()

    def on_cublasLtDestroy(self, handle: Any) -> None:  # noqa: N802
        pass

    def _create(self, place: Any, *arguments: int) -> None:
        place._obj.value = self.gpu.handle()
        self.open[place._obj.value] = {"created": arguments}

    def _destroy(self, descriptor: Any) -> None:
        del self.open[descriptor.value]

    def _set(self, descriptor: Any, number: int, place: Any, size: int) -> None:
        value = place._obj
        assert size == ctypes.sizeof(value)
        self.open[descriptor.value][number] = value.value or 0

    def _described(self, product: Any, *matrices: Any) -> dict[str, Any]:
        return {
            "product": dict(self.open[product.value]),
            **{name: dict(self.open[one.value]) for name, one in zip("abcd", matrices, strict=True)},
        }

    def on_cublasLtMatmulAlgoGetHeuristic(self, handle: Any, product: Any, *rest: Any) -> None:  # noqa: N802
        *matrices, preference, most, results, count = rest
        self.asked.append({**self._described(product, *matrices), "preference": dict(self.open[preference.value])})
        count._obj.value = min(most, self.proposed)
        for number in range(count._obj.value):
            ctypes.memmove(results[number].algorithm, self._algorithm(number), 64)
            results[number].workspace = self.workspace * number

    def _algorithm(self, number: int) -> bytes:
        return bytes([number, self.version // 100 % 100]).ljust(64, b"\0")

    def on_cublasLtMatmulAlgoCheck(self, handle: Any, product: Any, *rest: Any) -> int:  # noqa: N802
        *matrices, algorithm, result = rest
        self._described(product, *matrices)
        result._obj.workspace = self.workspace * algorithm[0]
        return 0 if algorithm == self._algorithm(algorithm[0]) and algorithm[0] < self.proposed else NOT_SUPPORTED

    def on_cublasLtMatmul(self, handle: Any, product: Any, *rest: Any) -> None:  # noqa: N802
        alpha, a, a_matrix, b, b_matrix, beta, c, c_matrix, d, d_matrix, algorithm, space, size, stream = rest
        assert alpha._obj.value == 1
        assert size == self.workspace * algorithm[0]
        self.gpu._inside(space, size)
        found = {
            **self._described(product, a_matrix, b_matrix, c_matrix, d_matrix),
            "addresses": (a, b, c, d),
            "beta": beta._obj.value,
            "algorithm": algorithm[0],
        }
        self.products.append(found)
        self.gpu.put(stream, partial(self._multiply, found))

    def _multiply(self, found: dict[str, Any]) -> None:
        a, b, c, d = (self._matrices(found[name], at) for name, at in zip("abcd", found["addresses"], strict=True))
        product = found["product"]
        left = np.swapaxes(a, 1, 2) if product.get(3) else a
        total = np.matmul(left.astype(np.float64), b.astype(np.float64)) + (found["beta"] and c.astype(np.float64))
        if product[7] & 4:
            size = d.shape[1] * d.dtype.itemsize
            bias = np.frombuffer(self.gpu._inside(product[8], size), d.dtype).astype(np.float64)
            total = total + bias[:, None]
        if product[7] & 2:
            total = np.maximum(total, 0)
        if product[7] & 32:
            total = total / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (total + 0.044715 * total**3)))
        d[:] = total

    def _matrices(self, matrix: dict[Any, Any], address: int) -> np.ndarray:
        """All matrices of a descriptor, as views of the device's memory."""
        type, rows, columns, step_of_columns = matrix["created"]
        dtype, batch, step = _TYPES[type], matrix.get(5, 1), matrix.get(6, 0)
        elements = (batch - 1) * step + (columns - 1) * step_of_columns + rows
        memory = np.frombuffer(self.gpu._inside(address, elements * dtype.itemsize), dtype)
        strides = (step * dtype.itemsize, dtype.itemsize, step_of_columns * dtype.itemsize)
        return np.lib.stride_tricks.as_strided(memory, (batch, rows, columns), strides)
