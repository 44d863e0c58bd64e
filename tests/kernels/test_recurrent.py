"""Recurrent layers: every tiling against the reference, and whole networks on teams of threads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given as drawn_by
from hypothesis import settings
from hypothesis import strategies as st

from cases.case import Array, assert_close
from graphs import network
from recurrent_layers import LAYERS, OF_GRU, OF_LSTM, Given, expected
from targets import SINGLE
from tensorwright.backends.cpu import CpuBackend
from tensorwright.base.errors import ShapeError
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.codegen.cpu.compile import compile_object
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.codegen.target import Target
from tensorwright.devices.cpu.host import best_instruction_set
from tensorwright.graph.region import Region
from tensorwright.kernels.cpu.catalogue import tactics
from tensorwright.kernels.cpu.recurrent.tactic import Recurrent
from tensorwright.kernels.cpu.recurrent.tiling import RecurrentOptions
from tensorwright.kernels.tactic import Config
from tensorwright.ops.recurrent import GRU, LSTM, RNN, Recurrence
from tensorwright.runtime.engine import Engine
from tensorwright.tensor.dim import Dim, symbol
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32, FLOAT64
from tensorwright.tensor.type import TensorType
from tensorwright.tune.cpu.kernel_runner import LoadedKernel, prepare, run_kernel

ERRORS = {FLOAT64: 1e-6, FLOAT32: 1e-5, FLOAT16: 4e-3, BFLOAT16: 3e-2}
"""Relative to the largest magnitude; the narrow types round the state in every step."""


def check(given: Given, target_name: str, rng: np.random.Generator, most: int | None = None) -> None:
    """Every config of a layer, or so many of them, gives what the reference gives."""
    target, arrays = TARGETS[target_name], given.draw(rng)
    region, wanted = given.region(arrays), expected(given.op, arrays)
    configs = Recurrent().configs(region, target)
    assert configs
    for config in configs[:most]:
        kernel = Recurrent().emit(region, config, target)
        found = run_kernel(region, kernel, target, list(arrays.values()))
        assert_close(found, wanted, ERRORS[given.dtype])


@pytest.mark.parametrize("target_name", SINGLE)
@pytest.mark.parametrize("name", LAYERS)
def test_every_tiling_equals_the_reference(name: str, target_name: str, rng: np.random.Generator) -> None:
    check(Given(LAYERS[name]), target_name, rng)


@settings(max_examples=10)
@drawn_by(
    name=st.sampled_from(sorted(LAYERS)),
    steps=st.integers(1, 5),
    batch=st.integers(1, 9),
    size=st.integers(1, 70),
    constant=st.booleans(),
    only=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_extents(name: str, steps: int, batch: int, size: int, constant: bool, only: bool, seed: int) -> None:
    given = Given(LAYERS[name], steps, batch, size, FLOAT32, constant, only)
    check(given, best_instruction_set(), np.random.default_rng(seed), 2)


@pytest.mark.parametrize("dtype", [FLOAT64, FLOAT16, BFLOAT16])
@pytest.mark.parametrize("name", ["lstm both", "gru both lengths", "gru linear"])
def test_other_element_types(name: str, dtype, rng: np.random.Generator) -> None:
    check(Given(LAYERS[name], dtype=dtype), best_instruction_set(), rng, 2)


def test_one_kernel_for_all_numbers_of_steps_and_sequences(rng: np.random.Generator) -> None:
    given = Given(LAYERS["lstm both"], symbol("t", 1, 4, 90), symbol("n", 0, 3, 70), 21)
    target = TARGETS[best_instruction_set()]
    region = given.region(given.draw(rng, {"t": 1, "n": 1}))
    recurrence = region.inputs[1].op.weights.array
    for config in Recurrent().configs(region, target)[:2]:
        kernel = Recurrent().emit(region, config, target)
        for t, n in ((1, 1), (90, 2), (7, 13), (2, 0)):
            symbols = {"t": t, "n": n}
            arrays = {**given.draw(rng, symbols), "recurrence": recurrence}
            found = run_kernel(region, kernel, target, list(arrays.values()), symbols)
            assert_close(found, expected(given.op, arrays), 1e-5)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_waves_have_equally_many_tasks(target: Target, rng: np.random.Generator) -> None:
    """Also as an expression; layers with one step or two phases in a step have none."""
    t = symbol("t", 1, 4, 90)

    def waves(name: str, steps: Dim) -> set[bool]:
        given = Given(LAYERS[name], steps)
        region = given.region(given.draw(rng, {"t": 4}))
        configs = Recurrent().configs(region, target)
        kernels = [Recurrent().emit(region, config, target) for config in configs]
        assert all(kernel.tasks_of_wave * kernel.waves == kernel.tasks for kernel in kernels)
        return {config.options.waves for config in configs}

    assert waves("lstm", t) == waves("lstm", 2 * t) == waves("lstm", t + 1) == waves("gru linear", 4) == {False, True}
    assert waves("gru", 4) == waves("lstm", 1) == {False}


def test_a_large_layer_with_one_sequence_is_split_into_waves(rng: np.random.Generator) -> None:
    """Otherwise one thread would do all."""
    target = TARGETS[best_instruction_set()]

    def first(op, batch: int, size: int) -> bool:
        given = Given(op, 4, batch, size)
        config, *_ = Recurrent().configs(given.region(given.draw(rng)), target)
        return config.options.waves

    assert first(LSTM(OF_LSTM), 1, 256)
    assert not first(LSTM(OF_LSTM, "bidirectional"), 1, 256)
    assert not first(LSTM(OF_LSTM), 32, 256)
    assert not first(LSTM(OF_LSTM), 1, 32)


def test_tasks_of_a_wave_depend_on_waves_before_alone(rng: np.random.Generator) -> None:
    """They run backwards within each wave; shares keep their cells."""
    target, given = TARGETS[best_instruction_set()], Given(LAYERS["lstm both"], 5, 9, 70)
    arrays = given.draw(rng)
    region = given.region(arrays)
    for config in Recurrent().configs(region, target):
        kernel = Recurrent().emit(region, config, target)
        operands, loaded = prepare(region, kernel, list(arrays.values()), {}), LoadedKernel(kernel, target)
        *start, _, tasks = operands.arguments
        each = kernel.tasks_of_wave
        for wave in range(tasks // each):
            for task in reversed(range(each)):
                loaded.call(*start, wave * each + task, wave * each + task + 1)
        found = operands.output.reshape(6, 9, 2, 70)
        assert_close(found, expected(given.op, arrays), 1e-5)


def without_r(arrays: dict[str, Array]) -> dict[str, Array]:
    """The inputs of a network of one layer."""
    return {role: array for role, array in arrays.items() if role != "recurrence"}


class Waves(Recurrent):
    """With waves wherever that is possible."""

    def configs(self, region: Region, target: Target) -> list[Config[RecurrentOptions]]:
        found = super().configs(region, target)
        return [config for config in found if config.options.waves] or list(found)


WAVES = CpuBackend((Waves(), *(tactic for tactic in tactics() if tactic.name != "recurrent")))


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("backend", [None, WAVES], ids=["usual", "waves"])
def test_networks_on_teams(backend: CpuBackend | None, threads: int, rng: np.random.Generator) -> None:
    """Two layers, of which neither needs the other."""
    t = symbol("t", 1, 6, 40)
    layers = [Given(op, t, 2, 40) for op in (LSTM(OF_LSTM), RNN((OF_LSTM[1],), "reverse"))]
    weights = [layer.draw(rng, {"t": 6})["recurrence"] for layer in layers]
    values = [layer.value({"recurrence": r}, str(n)) for n, (layer, r) in enumerate(zip(layers, weights, strict=True))]
    plan = build(network(*values), BuildConfig(level=0, threads=threads, timing_cache=""), backend)
    with Engine(plan, threads=threads) as engine:
        for steps in (6, 1, 40):
            arrays = [
                {**layer.draw(rng, {"t": steps}), "recurrence": r} for layer, r in zip(layers, weights, strict=True)
            ]
            inputs = {f"{n}{role}": a for n, drawn in enumerate(arrays) for role, a in drawn.items()}
            found = engine(
                {binding.name: inputs[binding.name] for binding in engine.bindings if binding.name in inputs}
            )
            for number, (layer, drawn) in enumerate(zip(layers, arrays, strict=True)):
                assert_close(found[f"out{number}"], expected(layer.op, drawn), 1e-5)


@pytest.mark.parametrize("threads", [2, 3])
def test_waves_under_stress(threads: int, rng: np.random.Generator) -> None:
    """Every step needs all of the one before, whoever did which share."""
    given = Given(LSTM(OF_LSTM), 50, 1, 96)
    drawn = given.draw(rng)
    plan = build(network(given.value(drawn)), BuildConfig(level=0, threads=threads, timing_cache=""), WAVES)
    wanted = expected(given.op, drawn)
    with Engine(plan, threads=threads) as engine:
        for _ in range(50):
            (found,) = engine(without_r(drawn)).values()
            assert_close(found, wanted, 1e-5)


@pytest.mark.parametrize("level", [1, 3])
def test_networks_with_it_are_tuned(level: int, rng: np.random.Generator) -> None:
    given = Given(LAYERS["lstm both"], 3, 2, 20)
    drawn = given.draw(rng)
    plan = build(network(given.value(drawn)), BuildConfig(level=level, threads=2, timing_cache=""))
    with Engine(plan) as engine:
        (found,) = engine(without_r(drawn)).values()
    assert_close(found, expected(given.op, drawn), 1e-5)


def test_layers_that_amplify_roundings_are_tuned_all_the_same(rng: np.random.Generator) -> None:
    """Weights so large that no two ways to add give results alike after many steps."""
    given = Given(RNN((OF_LSTM[1],)), 60, 1, 64)
    drawn = given.draw(rng)
    drawn["recurrence"] *= 60
    build(network(given.value(drawn)), BuildConfig(level=3, threads=1, timing_cache=""))


@pytest.mark.parametrize(
    ("op", "changes", "message"),
    [
        (LSTM(OF_LSTM), {"recurrence": (1, 4, 12)}, r"input recurrence: expected shape \[1, 4, 16\]"),
        (LSTM(OF_LSTM), {"gates": (3, 2, 15)}, "input gates: expected last extent 16, found 15"),
        (LSTM(OF_LSTM), {"gates": (0, 2, 16)}, "input gates: expected at least one step"),
        (GRU(OF_GRU), {"hidden": (1, 3, 4)}, r"input hidden: expected \[1, 2 or 1, 4\], found \[1, 3, 4\]"),
        (LAYERS["rnn reverse lengths"], {"lengths": (3,)}, r"input lengths: expected shape \[2\]"),
        (LAYERS["lstm both"], {"peepholes": (2, 12)}, r"input peepholes: expected shape \[2, 3, 4\]"),
    ],
)
def test_what_does_not_fit(op: Recurrence, changes: dict[str, tuple[int, ...]], message: str) -> None:
    types = Given(op, 3, 2, 4).types
    for role, shape in changes.items():
        types[role] = TensorType(types[role].dtype, shape)
    with pytest.raises(ShapeError, match=message):
        op.infer(list(types.values()))


def test_types_that_do_not_fit() -> None:
    types = Given(LSTM(OF_LSTM), dtype=FLOAT16).types
    types["cells"] = TensorType(FLOAT16, types["cells"].shape)
    with pytest.raises(ShapeError, match="input cells: expected float32, found float16; cast it"):
        LSTM(OF_LSTM).infer(list(types.values()))
    types["hidden"] = TensorType(FLOAT32, types["hidden"].shape)
    types["cells"] = TensorType(FLOAT32, types["cells"].shape)
    with pytest.raises(ShapeError, match="input hidden: expected float16 as in gates"):
        LSTM(OF_LSTM).infer(list(types.values()))


def test_only_its_own_tactic_computes_it(rng: np.random.Generator) -> None:
    given = Given(LAYERS["lstm both"], 2, 2, 5)
    region = given.region(given.draw(rng))
    for target in TARGETS.values():
        assert [tactic.name for tactic in tactics() if tactic.configs(region, target)] == ["recurrent"]
        config = Recurrent().configs(region, target)[0]
        assert compile_object(Recurrent().emit(region, config, target).code, target)
