"""Tactics that call libraries: what they ask and what they compute, on an emulated GPU and on a real one."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from cublas_fake import FakeCublas, with_cublas
from cuda_emulator import EmulatedLibrary, emulated
from cudnn_fake import FakeCudnn, with_cudnn
from regions.checking import Trial, applicable
from regions.collection import EXAMPLES
from regions.convolutions import Window
from regions.example import Example, examples
from regions.library_rig import LibraryRig
from regions.products import Product, linear
from regions.sampling import every
from tensorwright.backends import cuda
from tensorwright.base.errors import ExecutionError
from tensorwright.devices.cuda.context import Context
from tensorwright.devices.cuda.library import driver
from tensorwright.kernels.cuda.catalogue import tactics as cuda_tactics
from tensorwright.kernels.tactic import offers
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16
from tensorwright.tensor.layout import Layout
from tensorwright.tune.tuner import HOPELESS

BATCH = symbol("batch", 1, 2, 5)
PRODUCTS = examples(
    "library",
    {
        "finished": linear((3, 24, 64), 48, "columns add gelu-tanh", FLOAT16),
        "residual": linear((40, 72), 64, "add columns relu", BFLOAT16),
        "two": Product((2, 3, 24, 32), (2, 3, 32, 40), tail="columns relu", dtype=FLOAT16),
        "two-shared": Product((5, 24, 32), (40, 32), transpose_b=True, tail="add", dtype=FLOAT16),
        "one-batch": Product((1, 1, 16, 64), (1, 1, 64, 24), dtype=FLOAT16),
    },
)
REFUSED: Mapping[str, object] = {
    "open": linear((BATCH, 64), 32, dtype=FLOAT16),
    "exact gelu": linear((16, 64), 32, "gelu", FLOAT16),
    "something behind the activation": linear((16, 64), 32, "relu columns", FLOAT16),
    "two residuals": linear((16, 64), 32, "add add", FLOAT16),
    "a number for each row": linear((16, 64), 32, "rows", FLOAT16),
    "batches at uneven distances": Product((2, 1, 8, 32), (2, 3, 32, 24), dtype=FLOAT16),
    "open window": Window((BATCH, 64, 8, 8), 32, (3, 3), dtype=FLOAT16),
    "few channels": Window((1, 3, 8, 8), 32, (3, 3), dtype=FLOAT16),
    "groups": Window((1, 64, 8, 8), 64, (3, 3), groups=64, dtype=FLOAT16),
    "window with a hard swish": Window((1, 64, 8, 8), 32, (3, 3), tail="hardswish", dtype=FLOAT16),
}
CONVOLUTIONS = examples(
    "library",
    {
        "window": Window((2, 16, 9, 7), 24, (3, 3), (2, 1), (1, 1), tail="bias add relu", dtype=FLOAT16),
        "even": Window((1, 24, 8, 8), 16, (2, 2), begin=(1, 0), end=(0, 1), tail="bias add", dtype=BFLOAT16),
        "pointwise": Window((3, 40, 5, 5), 8, (1, 1), tail="relu", dtype=FLOAT16),
        "dilated": Window((1, 8, 12, 12), 8, (3, 3), begin=(2, 2), dilations=(2, 2), tail="bias"),
    },
)
CHOSEN: Mapping[str, list[Example]] = {
    "cublas": [*PRODUCTS, *(example for example in EXAMPLES.values() if "product" in example.name)],
    "cudnn": [*CONVOLUTIONS, *(example for name, example in EXAMPLES.items() if "tensor-cores-window" in name)],
}
NEEDED = frozenset(example.name for example in (*PRODUCTS, *CONVOLUTIONS))
PAIRS = [(name, example) for name, some in CHOSEN.items() for example in some]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> EmulatedLibrary:
    return emulated(monkeypatch, tmp_path, size=16 << 20)


@pytest.fixture
def cublas(monkeypatch: pytest.MonkeyPatch, gpu: EmulatedLibrary) -> FakeCublas:
    return with_cublas(monkeypatch, gpu)


@pytest.fixture
def cudnn(monkeypatch: pytest.MonkeyPatch, gpu: EmulatedLibrary) -> FakeCudnn:
    return with_cudnn(monkeypatch, gpu)


@pytest.fixture
def rig(cublas: FakeCublas, cudnn: FakeCudnn) -> LibraryRig:
    return LibraryRig(cuda._open(0), ["cublas", "cudnn"])


@pytest.mark.parametrize(("name", "example"), PAIRS, ids=repr)
def test_every_config_equals_the_reference(
    name: str, example: Example, rig: LibraryRig, cublas: FakeCublas, cudnn: FakeCudnn, rng: np.random.Generator
) -> None:
    count = Trial(example, rig, rng).check("sm_90", every)
    assert len(cublas.products if name == "cublas" else cudnn.executed) == count
    assert count or example.name not in NEEDED
    gc.collect()
    assert not cublas.open
    assert not cudnn.open


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_library_cannot_do_is_left_to_others(name: str, rig: LibraryRig, rng: np.random.Generator) -> None:
    assert not list(applicable(rig, REFUSED[name].region(rng), "sm_90"))


def test_what_is_asked_of_the_library(rig: LibraryRig, cublas: FakeCublas, rng: np.random.Generator) -> None:
    """Sums in float32 of operands at multiples of 16 bytes, in bounded workspace; constant columns in both orders."""
    region = linear((24, 64), 40, "columns add relu", FLOAT16).region(rng)
    ((tactic, configs),) = applicable(rig, region, "sm_90")
    assert tactic.name == "cublas product"
    assert [(one.options.rank, one.options.turned) for one in configs] == [(0, True), (0, False), (1, True), (1, False)]
    turned, plain = cublas.asked
    for asked in (turned, plain):
        assert asked["product"]["created"] == (68, 0)
        assert (asked["product"][7], asked["product"][8] % 16, asked["product"][8] % 32) == (2 | 4, 0, 16)
        assert asked["b"]["created"] == (2, 64, 24, 64)
        assert asked["c"]["created"] == asked["d"]["created"] == (2, 40, 24, 40)
        assert asked["preference"] == {"created": (), 1: 32 << 20, 3: 2, 5: 16, 6: 16, 7: 16, 8: 16}
    assert (turned["product"][3], turned["a"]["created"]) == (1, (2, 64, 40, 64))
    assert (plain["product"][3], plain["a"]["created"]) == (0, (2, 40, 64, 40))
    tactic.configs(region, rig.targets["sm_90"])
    assert len(cublas.asked) == 2


@pytest.mark.parametrize(
    "spec",
    [linear((16384, 768), 3072, "columns", FLOAT16), linear((1, 64), 64, "", FLOAT16), linear((4096, 512), 512)],
    ids=["large", "small", "float32"],
)
def test_estimates_are_near_enough_to_be_timed(spec: Product, rig: LibraryRig, rng: np.random.Generator) -> None:
    """What is estimated at many times the best estimate of all tactics is not timed at all."""
    region, target = spec.region(rng), rig.targets["sm_90"]
    roofline = cuda.CUDA_ROOFLINE
    times = {
        offer.name: min(roofline.estimate(region, offer, one, rank) for rank, one in enumerate(configs))
        for offer in offers((*rig.tactics, *cuda_tactics()), target)
        if not offer.joins and not offer.rounding and (configs := offer.configs(region))
    }
    own = min(time for name, time in times.items() if "cublas" not in name)
    assert HOPELESS**-0.5 < times["cublas product"] / own < HOPELESS**0.5


def test_float32_is_rounded_by_a_tactic_of_its_own(
    rig: LibraryRig, cublas: FakeCublas, rng: np.random.Generator
) -> None:
    found = {tactic.name: tactic for tactic, _ in applicable(rig, linear((24, 64), 40).region(rng), "sm_90")}
    assert {name: tactic.rounding > 0 for name, tactic in found.items()} == {
        "cublas product": False,
        "cublas tf32 product": True,
    }
    assert {asked["product"]["created"] for asked in cublas.asked} == {(68, 0), (77, 0)}


def test_a_library_that_refuses_offers_nothing(rig: LibraryRig, cublas: FakeCublas, rng: np.random.Generator) -> None:
    cublas.fail["cublasLtMatmulAlgoGetHeuristic"] = 15
    assert not list(applicable(rig, PRODUCTS[0].region(rng), "sm_90"))
    assert not cublas.open


def test_tensors_of_convolutions_have_their_channels_innermost(
    rig: LibraryRig, cudnn: FakeCudnn, rng: np.random.Generator
) -> None:
    region = CONVOLUTIONS[0].region(rng)
    ((tactic, configs),) = applicable(rig, region, "sm_90")
    assert tactic.name == "cudnn convolution"
    assert [one.options.rank for one in configs] == [0, 1]
    assert configs[0].output == Layout(24)
    assert sorted(layout.block for layout in configs[0].inputs) == [1, 1, 16, 24]
    kernel = tactic.emit(region, configs[1], rig.targets["sm_90"])
    assert (kernel.call.engine, kernel.call.knobs, kernel.workspace) == (1, ((7, 10),), 512)


@pytest.mark.parametrize(
    ("notes", "names"),
    [
        ([(1,)], {"cudnn tf32 convolution"}),
        ([(0, 4)], {"cudnn tf32 convolution"}),
        ([(5,), (3, 0), (2,), (8,)], set()),
        ([(5,), (4,)], {"cudnn convolution", "cudnn tf32 convolution"}),
    ],
)
def test_engines_that_round_differently_are_left_out(
    notes: list[tuple[int, ...]], names: set[str], rig: LibraryRig, cudnn: FakeCudnn, rng: np.random.Generator
) -> None:
    cudnn.notes = notes
    region = next(one for one in CONVOLUTIONS if one.name == "library-dilated").region(rng)
    assert {tactic.name for tactic, _ in applicable(rig, region, "sm_90")} == names


def test_tensor_cores_read_factors_of_two_bytes_as_they_are(
    rig: LibraryRig, cudnn: FakeCudnn, rng: np.random.Generator
) -> None:
    cudnn.notes = [(0,), (1, 0)]
    ((_, configs),) = applicable(rig, CONVOLUTIONS[0].region(rng), "sm_90")
    assert len(configs) == 1


def test_engines_that_the_library_does_not_have_after_all_are_left_out(
    rig: LibraryRig, cudnn: FakeCudnn, rng: np.random.Generator
) -> None:
    cudnn.workspace = 1 << 40
    assert not list(applicable(rig, CONVOLUTIONS[0].region(rng), "sm_90"))
    cudnn.fail["cudnnBackendFinalize"] = 3000
    assert not list(applicable(rig, CONVOLUTIONS[1].region(rng), "sm_90"))
    assert not cudnn.open


@pytest.fixture(scope="module")
def real_rigs() -> Callable[[str], LibraryRig]:
    """By the name of a library; skips the test where there is none."""

    @cache
    def opened(name: str) -> LibraryRig | str:
        try:
            return LibraryRig(Context(driver()), [name])
        except ExecutionError as error:
            return str(error)

    def found(name: str) -> LibraryRig:
        rig = opened(name)
        return pytest.skip(rig) if isinstance(rig, str) else rig

    return found


@pytest.mark.cuda
@pytest.mark.parametrize(("name", "example"), PAIRS, ids=repr)
def test_libraries_compute_what_the_reference_does(
    name: str, example: Example, real_rigs: Callable[[str], LibraryRig], rng: np.random.Generator
) -> None:
    if not Trial(example, real_rigs(name), rng).check("sm_90", every):
        pytest.skip("the library offers nothing for it")
