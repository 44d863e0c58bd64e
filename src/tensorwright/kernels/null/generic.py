"""Any region as NumPy code, from the mathematics that its operators state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorwright.codegen.null.numpy_code import NumpyCode, dtype_text, shape_text
from tensorwright.graph.expression import Reduce, walk
from tensorwright.graph.region import Region
from tensorwright.kernels.tactic import NAME, Config, Kernel, Tactic, TacticOptions, plain_inputs
from tensorwright.tensor.layout import PLAIN


@dataclass(frozen=True)
class NullOptions(TacticOptions):
    """loops: whether reductions are loops."""

    loops: bool


class NullGeneric(Tactic[None, NullOptions]):
    """Reductions are axes of larger arrays, or loops: two configurations, so that there is something to choose.

    The function takes memory of the output, a list of memory of the inputs, and a tuple of the symbols' values.
    """

    name = "generic"
    general = NullOptions(loops=False)

    def configs(self, region: Region, target: None) -> Sequence[Config[NullOptions]]:
        if region.is_sequential:
            return []
        reduces = any(isinstance(node, Reduce) for node in walk(region.computation.body))
        loops = (False, True) if reduces else (False,)
        return [Config(plain_inputs(region), PLAIN, NullOptions(each)) for each in loops]

    def emit(self, region: Region, config: Config[NullOptions], target: None) -> Kernel:
        symbols = {symbol.name: f"s{number}" for number, symbol in enumerate(region.symbols)}
        code = NumpyCode(symbols, loops=config.options.loops)
        if symbols:
            code.lines.append(f"    {', '.join(symbols.values())}, = symbols")
        for number, type in enumerate(region.input_types):
            shape = shape_text(type.shape, symbols)
            code.lines.append(f"    x{number} = np.ndarray({shape}, {dtype_text(type.dtype)}, inputs[{number}])")
        type = region.output.type
        code.lines.append('    with np.errstate(all="ignore"):')
        result = NumpyCode(symbols, code.loops, code.lines, indent=2).computation(region.computation)
        code.lines.append(f"    y = np.ndarray({shape_text(type.shape, symbols)}, {dtype_text(type.dtype)}, output)")
        code.lines.append(f"    y[...] = {result}")
        return Kernel(
            text="\n".join([f"def {NAME}(output, inputs, symbols):", *code.lines, ""]),
            inputs=config.inputs,
            output=config.output,
            tasks=1,
            packings=(None,) * len(region.inputs),
            symbols=region.symbols,
        )


TACTICS = (NullGeneric(),)
