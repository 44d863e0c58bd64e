"""Times single products and convolutions, each tactic and element type beside the others, on the GPU of this machine:
``python -m benchmarks.gpu.products --seconds 45 --json rows.json``.

Shapes are those of ResNet-50 and BERT-base, a cube of 8192, and some whose tiles fill the last wave badly. Of every
tactic the most promising configs are timed, with cold constants as in a network, and the fastest counts; some rows of
its result are compared with NumPy's.
``--types float32 --windows 3`` are the 3×3 convolutions in float32, where Winograd's algorithm takes part.
With ``--libraries cublas cudnn`` those that call a library of NVIDIA take part.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tensorwright.codegen.cuda.pool import CudaCompilerPool
from tensorwright.codegen.cuda.targets import CudaTarget, cuda_target_for
from tensorwright.devices.cuda.context import Context
from tensorwright.devices.cuda.libraries.calls import Libraries
from tensorwright.devices.cuda.library import driver
from tensorwright.graph.graph import Value, apply, constant_value, input_value, is_constant
from tensorwright.graph.region import Region, region_of
from tensorwright.kernels.cuda.fragments.tactic import FragmentProduct, SplitFragments, Tf32Fragments
from tensorwright.kernels.cuda.libraries.catalogue import library_tactics
from tensorwright.kernels.cuda.libraries.kernel import CallKernel
from tensorwright.kernels.cuda.tiles.tactic import (
    SpecialisedProduct,
    SplitProduct,
    StreamProduct,
    Tf32Product,
    TiledProduct,
)
from tensorwright.kernels.cuda.winograd.tactic import WinogradConvolution
from tensorwright.kernels.tactic import AnyTactic, Kernel
from tensorwright.ops.activation import Gelu, Relu
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.float8 import Float8Product, encoded
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.quantization import Dequantize, Quantize
from tensorwright.tensor.dtype import FLOAT8, FLOAT16, FLOAT32, UINT8, DType
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of
from tensorwright.tune.cuda.bench import CudaBench

CONTENDERS: tuple[AnyTactic[CudaTarget], ...] = (
    TiledProduct(),
    SpecialisedProduct(),
    StreamProduct(),
    FragmentProduct(),
    SplitProduct(),
    SplitFragments(),
    Tf32Product(),
    Tf32Fragments(),
    WinogradConvolution(),
)
TYPES = (FLOAT16, UINT8, FLOAT8, FLOAT32)
SELDOM = (FLOAT32,)
"""Types that have to be asked for."""
FEW_FLOPS = 6e9
"""Of shapes that fragments are tried for."""
COLD_BYTES = 32 << 20
SOME = (1 << 20) + 1
"""Random numbers that large operands repeat."""
CHECKED_ROWS = 4
"""Of results; of images one."""
Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Shape:
    """A product of rows by depth by columns, or the convolution of an image of a batch with a window.

    tail: what follows a product: "gelu", "add" for a residual sum, or nothing.
    """

    rows: int
    depth: int
    columns: int
    image: int = 0
    batch: int = 1
    window: int = 1
    stride: int = 1
    tail: str = ""

    @property
    def name(self) -> str:
        if not self.image:
            return f"{self.rows}x{self.depth}x{self.columns} {self.tail}".rstrip()
        return f"b{self.batch} {self.depth}->{self.columns} {self.window}x{self.window}/{self.stride} of {self.image}"

    @property
    def flops(self) -> float:
        rows = self.rows if not self.image else self.batch * (self.image // self.stride) ** 2
        return 2.0 * rows * self.depth * self.columns * self.window**2


def products() -> Iterator[Shape]:
    """Those of BERT-base for 128, 1024 and 16384 rows, and the large cube."""
    yield Shape(8192, 8192, 8192)
    for rows in (1024, 128, 16384):
        for depth, columns in ((768, 2304), (768, 768), (768, 3072), (3072, 768)):
            yield Shape(rows, depth, columns)
        for depth, columns, tail in ((768, 768, "add"), (768, 3072, "gelu"), (3072, 768, "add")):
            yield Shape(rows, depth, columns, tail=tail)


def uneven_products() -> Iterator[Shape]:
    """Of tiles of 128 by 256 outputs a little more than 132 or 264; the last two are of ViT-Base, for 8 images."""
    yield Shape(1152, 8192, 4096)
    yield Shape(2304, 4096, 4096)
    yield Shape(1576, 768, 3072, tail="gelu")
    yield Shape(1576, 768, 2304)


def convolutions() -> Iterator[Shape]:
    """Those that ResNet-50 has most of."""
    for batch in (128, 8, 1):
        for image, depth, columns, window, stride in (
            (56, 64, 64, 3, 1), (56, 64, 256, 1, 1), (28, 128, 128, 3, 1), (28, 512, 128, 1, 1), (14, 256, 256, 3, 1),
            (14, 256, 1024, 1, 1), (14, 1024, 256, 1, 1), (7, 512, 512, 3, 1), (7, 512, 2048, 1, 1),
        ):  # fmt: skip
            yield Shape(0, depth, columns, image, batch, window, stride)


def _region(shape: Shape, dtype: DType, rng: np.random.Generator) -> Region:
    """With bias and, for convolutions, the maximum with 0; bytes become bytes again, numbers of 8 bits float32."""
    if shape.image:
        extents: tuple[int, ...] = (shape.batch, shape.depth, shape.image, shape.image)
        right_shape: tuple[int, ...] = (shape.columns, shape.depth, shape.window, shape.window)
        column: tuple[int, ...] = (shape.columns, 1, 1)
    else:
        extents, right_shape, column = (shape.rows, shape.depth), (shape.depth, shape.columns), (shape.columns,)
    given, depth = UINT8 if dtype == FLOAT8 else dtype, shape.depth * shape.window**2
    x = input_value("x", TensorType(given, extents))
    right: Array
    if dtype == UINT8:
        right = rng.integers(-128, 128, right_shape).astype(np.int8)
    elif dtype == FLOAT8:
        right = encoded(rng.standard_normal(right_shape, dtype=np.float32))
    else:
        right = (rng.standard_normal(right_shape, dtype=np.float32) * depth**-0.5).astype(dtype.numpy)
    pad = (shape.window // 2,) * 2
    op = Convolution((shape.stride,) * 2, pad, pad, (1, 1)) if shape.image else MatMul()
    anchor = apply(Float8Product(op) if dtype == FLOAT8 else op, x, _constant(right))
    values = [anchor]
    if dtype == UINT8:
        scale = rng.uniform(0.5, 1.0, column).astype(np.float32) / np.float32(75 * depth**0.5)
        values.append(apply(Dequantize(), anchor, _constant(scale)))
    bias = rng.standard_normal(column).astype(np.float32 if dtype.size == 1 else dtype.numpy)
    values.append(apply(Binary("add"), values[-1], _constant(bias)))
    if shape.image:
        values.append(apply(Relu(), values[-1]))
    if shape.tail == "gelu":
        values.append(apply(Gelu(), values[-1]))
    if shape.tail == "add":
        values.append(apply(Binary("add"), values[-1], input_value("y", values[-1].type)))
    if dtype == UINT8:
        limits = _constant(np.float32(0.03)), _constant(np.uint8(0 if shape.image else 128))
        values.append(apply(Quantize(UINT8), values[-1], *limits))
    return region_of(values, anchor)


def _constant(array: npt.NDArray[np.generic] | np.generic) -> Value:
    return constant_value(weights_of(np.asarray(array)))


@dataclass(frozen=True)
class Row:
    """microseconds of the fastest config, all: of every one that was timed, as they are offered; error:
    of some rows of products, or an image of float32, relative to the largest number.
    """

    shape: str
    dtype: str
    tactic: str
    config: str
    microseconds: float
    tflops: float
    error: float | None
    all: dict[str, float]


@dataclass(frozen=True)
class Expected:
    """Some rows of a result, the last one among them, or the last image, by the definition in higher precision."""

    chosen: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]

    @classmethod
    def of(cls, region: Region, arrays: Sequence[Array]) -> Expected:
        rows = next(len(array) for value, array in zip(region.inputs, arrays, strict=True) if not is_constant(value))
        chosen = np.linspace(rows - 1, 0, CHECKED_ROWS if region.output.type.rank == 2 else 1).astype(np.int64)
        known = {
            value: array if is_constant(value) else array[chosen]
            for value, array in zip(region.inputs, arrays, strict=True)
        }
        for value in region.values:
            known[value] = value.op.reference(*(_exact(known[operand]) for operand in value.inputs))
        return cls(chosen, known[region.output].astype(np.float64))

    def error(self, output: Array) -> float:
        """Relative to the largest number."""
        found = output[self.chosen].astype(np.float64)
        return float(np.abs(found - self.values).max() / np.abs(self.values).max())


@dataclass(frozen=True)
class Race:
    """Times shapes on a GPU. most: configs of each tactic; without: names of tactics that are left out.

    cubins: where machine code is kept. libraries: names of those that take part.
    """

    context: Context
    target: CudaTarget
    compiler: CudaCompilerPool
    most: int
    without: Sequence[str]
    cubins: Path
    libraries: Sequence[str] = ()

    @cached_property
    def opened(self) -> Libraries:
        return Libraries(self.context)

    @cached_property
    def contenders(self) -> tuple[AnyTactic[CudaTarget], ...]:
        return (*CONTENDERS, *library_tactics(self.opened, self.libraries))

    @cached_property
    def bench(self) -> CudaBench:
        return CudaBench(self.target, lambda: self.context, open_libraries=lambda: self.opened)

    def kernels(self, shape: Shape, region: Region) -> dict[str, list[tuple[str, Kernel]]]:
        """Of each tactic configs with their kernels, which begin to be compiled."""
        found = dict[str, list[tuple[str, Kernel]]]()
        for tactic in self.contenders:
            if tactic.name in self.without or ("fragment" in tactic.name and shape.flops > FEW_FLOPS):
                continue
            for config in tactic.configs(region, self.target)[: self.most]:
                kernel = tactic.emit(region, config, self.target)
                found.setdefault(tactic.name, []).append((repr(config.options), kernel))
                if not (self.cubins / kernel.name).exists():
                    self.compiler.submit(kernel.name, kernel.code)
        return found

    def compiled(self, kernel: Kernel) -> bytes:
        path = self.cubins / kernel.name
        if not path.exists():
            path.write_bytes(self.compiler.compile(kernel.name, kernel.code))
        return path.read_bytes()

    def rows(self, shape: Shape, dtype: DType, rng: np.random.Generator) -> Iterator[Row]:
        region = _region(shape, dtype, rng)
        kernels, arrays = (
            self.kernels(shape, region),
            [_filled(value, rng, has_numbers=dtype == FLOAT8) for value in region.inputs],
        )
        is_checked = region.output.type.rank == 2 or region.output.type.dtype == FLOAT32
        expected = Expected.of(region, arrays) if is_checked else None
        for name, own in kernels.items():
            found = zip(self._timed(region, own, arrays, expected), own, strict=True)
            timed = [(*one, config) for one, (config, _) in found]
            seconds, error, config = min(timed, key=lambda one: one[0])
            worst = max((one[1] for one in timed if one[1] is not None), default=error)
            times = {config: seconds * 1e6 for seconds, _, config in timed}
            yield Row(shape.name, str(dtype), name, config, seconds * 1e6, shape.flops / seconds / 1e12, worst, times)

    def _timed(
        self, region: Region, own: Sequence[tuple[str, Kernel]], arrays: Sequence[Array], expected: Expected | None
    ) -> Iterator[tuple[float, float | None]]:
        """Seconds and errors of a tactic's kernels, which want their operands alike if they are no calls."""
        bench, first = self.bench, own[0][1]
        prepared = bench.prepare(region, first, self.compiled(first), arrays, {}, {})
        for _, kernel in own:
            if isinstance(kernel, CallKernel):
                one = bench.prepare(region, kernel, b"", arrays, {}, {})
            else:
                loaded = bench.loaded(kernel, self.compiled(kernel))
                one = replace(prepared, loaded=loaded, workspace=prepared.memory.workspace(kernel))
            (seconds,) = bench.race([[one]], [COLD_BYTES])
            yield seconds, expected.error(one.run()) if expected else None


def _filled(value: Value, rng: np.random.Generator, *, has_numbers: bool) -> Array:
    known = getattr(value.op, "weights", None)
    if known is not None:
        found: Array = known.array
        return found
    shape = [extent for extent in value.type.shape if isinstance(extent, int)]
    if value.type.dtype == UINT8:
        codes = encoded(rng.standard_normal(SOME)) if has_numbers else rng.integers(0, 256, SOME, np.uint8)
        return np.resize(codes, shape)
    return np.resize(rng.standard_normal(SOME, dtype=np.float32).astype(value.type.dtype.numpy), shape)


def _exact(array: Array) -> Array:
    wider = {np.dtype(np.float16): np.float32, np.dtype(np.float32): np.float64}.get(array.dtype)
    return array if wider is None else array.astype(wider)


def _usual_types() -> list[str]:
    return [str(dtype) for dtype in TYPES if dtype not in SELDOM]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no shape after so many")
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--most", type=int, default=5, help="configs of each tactic")
    parser.add_argument("--without", nargs="*", default=[], help="tactics by name")
    parser.add_argument("--types", nargs="*", default=_usual_types(), help="element types by name")
    parser.add_argument("--windows", nargs="*", type=int, default=[], help="only convolutions of such windows")
    parser.add_argument("--shapes", nargs="*", default=[], help="only these, by name")
    parser.add_argument("--libraries", nargs="*", default=[], help="libraries whose tactics take part, by name")
    parser.add_argument("--cubins", type=Path, default=Path(".cubins"), help="where machine code is kept")
    parser.add_argument("--compile-only", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.cubins.mkdir(exist_ok=True)
    began, rows, context = time.perf_counter(), list[Row](), Context(driver())
    target, rng = cuda_target_for(context.properties.capability), np.random.default_rng(3)
    print(context.properties, flush=True)
    with CudaCompilerPool(target, options.processes) as compiler:
        race = Race(context, target, compiler, options.most, options.without, options.cubins, options.libraries)
        pairs = [
            (shape, dtype)
            for shape in _in_turn([*products(), *uneven_products()], [*convolutions()])
            for dtype in TYPES
            if str(dtype) in options.types
            and (not options.shapes or shape.name in options.shapes)
            and (not options.windows or (shape.image and shape.window in options.windows))
            and (dtype != FLOAT8 or not shape.image)
        ]
        if options.compile_only:
            for kernel in [
                one for pair in pairs for _, one in chain(*race.kernels(pair[0], _region(*pair, rng)).values())
            ]:
                if time.perf_counter() - began < options.seconds:
                    race.compiled(kernel)
            return
        for shape, dtype in pairs:
            if time.perf_counter() - began > options.seconds:
                return
            for row in race.rows(shape, dtype, rng):
                rows.append(row)
                print(
                    f"{row.shape:28} {row.dtype:8} {row.tactic:20} {row.microseconds:9.2f} us "
                    f"{row.tflops:7.1f} T/s  error {row.error}  {row.config}",
                    flush=True,
                )
            if options.json:
                options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


def _in_turn(first: Sequence[Shape], second: Sequence[Shape]) -> Iterator[Shape]:
    for number in range(max(len(first), len(second))):
        yield from first[number : number + 1]
        yield from second[number : number + 1]


if __name__ == "__main__":
    main()
