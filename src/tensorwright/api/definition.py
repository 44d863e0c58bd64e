"""What every network definition does, whatever layers there are: hold layers, compute values, make graphs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from tensorwright.api.checks import as_integer, data_type, dimension, text
from tensorwright.api.checks import index as checked_index
from tensorwright.api.dimensions import (
    IMPLICIT_BATCH,
    InputRange,
    assumed_symbols,
    open_symbol,
    range_of,
    settled_symbols,
)
from tensorwright.api.enums import LayerType
from tensorwright.api.layer import Formula, Layer
from tensorwright.api.tensor import UNKNOWN, Tensor
from tensorwright.base.errors import NetworkError, ShapeError
from tensorwright.base.text import unused_name
from tensorwright.graph.graph import Graph, Value, apply, input_value
from tensorwright.graph.substitute import with_dims
from tensorwright.ops.elementwise import Cast
from tensorwright.tensor.dim import Atom, Dim, Symbol, expression, linear_part, substitute, symbols_of
from tensorwright.tensor.dtype import DType
from tensorwright.tensor.type import Shape, TensorType

AnyLayer = TypeVar("AnyLayer", bound=Layer)
_Item = TypeVar("_Item")


def _converted(value: Value, dtype: DType | None) -> Value:
    return value if dtype in (None, value.type.dtype) else apply(Cast(dtype), value, name=value.name)


class InputLayer(Layer):
    """Where an input of the network comes from; not counted among its layers."""

    type = LayerType.INPUT
    call = "add_input"
    is_input = True

    def __init__(self, network: Definition, name: str, tensor_type: TensorType) -> None:
        super().__init__(network, name, ())
        self.tensor_type = tensor_type

    def lower(self, *inputs: Value) -> Sequence[Value]:
        return (input_value(self.name, self.tensor_type),)

    def substitute(self, replacements: Mapping[Atom, Dim]) -> None:
        """Put other dimensions in place of symbols."""
        shape = tuple(substitute(dim, replacements) for dim in self.tensor_type.shape)
        self.tensor_type = TensorType(self.tensor_type.dtype, shape)


class Definition:
    """Layers that stay editable until a build turns them into an immutable graph.

    Args:
        explicit_batch: whether shapes are complete. Otherwise every tensor has a batch dimension in front that shapes
            and axes do not mention.
        name: what the network is called in plans and messages.
    """

    def __init__(self, explicit_batch: bool = True, name: str = "network") -> None:
        self.name = name
        self.has_implicit_batch_dimension = not explicit_batch
        self.output_dimensions_formulas: dict[LayerType, Formula] = {}
        self._inputs: list[InputLayer] = []
        self._layers: list[Layer] = []
        self._marked: list[Tensor] = []
        self._values: dict[Layer, tuple[Value, ...]] = {}
        self._numbers: dict[LayerType, int] = {}

    def set_output_dimensions_formula(self, type: LayerType, formula: Formula | None) -> None:
        """Let a function say the spatial extents of the outputs of all layers of a type; None for the usual ones.

        Padding after the input is chosen to that end.
        """
        if type not in (LayerType.CONVOLUTION, LayerType.DECONVOLUTION, LayerType.POOLING):
            raise NetworkError(f"set_output_dimensions_formula: expected a type of layers with windows, found {type!r}")
        self.output_dimensions_formulas.pop(type, None)
        if formula is not None:
            self.output_dimensions_formulas[type] = formula
        for layer in self._layers:
            if layer.type is type:
                self.invalidate(layer)

    def add_input(self, name: str, dtype: object, shape: Sequence[object]) -> Tensor:
        """An input of the engine.

        Args:
            name: what callers of the engine call it.
            dtype: its element type.
            shape: an int, a symbolic dimension or -1 for each axis. The range of -1 is said later, by an optimization
                profile or `max_batch_size`.
        """
        where = f"add_input '{text('name', name)}'"
        if any(layer.name == name for layer in self._inputs):
            raise NetworkError(f"{where}: the network has an input of this name; choose another name")
        try:
            element = data_type("dtype", dtype)
            dims = self._input_shape(name, shape)
        except NetworkError as error:
            raise NetworkError(f"{where}: {error}") from None
        self._require_one_range(where, dims)
        layer = InputLayer(self, name, TensorType(element, dims))
        self._inputs.append(layer)
        return layer.get_output()

    def mark_output(self, tensor: Tensor) -> None:
        """Make a tensor an output of the engine, under the tensor's name. It is never optimised away."""
        self._require_own("mark_output", tensor)
        if self.is_output(tensor):
            raise NetworkError(f"mark_output: tensor '{tensor.name}' is an output already; mark it once")
        self._marked.append(tensor)

    def unmark_output(self, tensor: Tensor) -> None:
        """Take back `mark_output`."""
        self._require_own("unmark_output", tensor)
        if not self.is_output(tensor):
            raise NetworkError(f"unmark_output: tensor '{tensor.name}' is no output")
        self._marked = [other for other in self._marked if other is not tensor]

    def remove_tensor(self, tensor: Tensor) -> None:
        """Remove what a tensor comes from, an input or a layer. Nothing may read it, it may not be an output.

        Layers that lead nowhere need not be removed: they vanish when the network is built.
        """
        self._require_own("remove_tensor", tensor)
        layer = self._producer(tensor)
        readers = [other.name for other in self._layers if any(self._producer(i) is layer for i in other.inputs)]
        if readers or any(self.is_output(output) for output in layer.outputs):
            by = f"read by {', '.join(map(repr, readers))}" if readers else "an output"
            raise NetworkError(f"remove_tensor: tensor '{tensor.name}' is {by}; use set_input or unmark_output first")
        self._inputs = [other for other in self._inputs if other is not layer]
        self._layers = [other for other in self._layers if other is not layer]
        self._values.pop(layer, None)

    @property
    def num_inputs(self) -> int:
        return len(self._inputs)

    @property
    def num_outputs(self) -> int:
        return len(self._marked)

    @property
    def num_layers(self) -> int:
        return len(self._layers)

    def get_input(self, index: int) -> Tensor:
        return _item([layer.get_output() for layer in self._inputs], index, "input")

    def get_output(self, index: int) -> Tensor:
        return _item(self._marked, index, "output")

    def get_layer(self, index: int) -> Layer:
        return _item(self._layers, index, "layer")

    def find_tensor(self, name: str) -> Tensor:
        """The tensor of a name; the latest, if there are several."""
        for layer in reversed([*self._inputs, *self._layers]):
            for tensor in layer.outputs:
                if tensor.name == name:
                    return tensor
        raise NetworkError(f"find_tensor: the network has no tensor '{name}'")

    def __len__(self) -> int:
        return len(self._layers)

    def __getitem__(self, index: int) -> Layer:
        return self.get_layer(index)

    def __iter__(self) -> Iterator[Layer]:
        return iter(list(self._layers))

    def to_graph(self, profile: Mapping[str, InputRange] | None = None, max_batch_size: int | None = None) -> Graph:
        """The network as it is now. Layers that no output needs are not in it.

        Args:
            profile: ranges of shapes by input name.
            max_batch_size: the largest batch, for unknown first dimensions.

        Raises:
            NetworkError: no output is marked, two have one name, or a layer does not accept its inputs.
        """
        return self._settled(self._graph(), profile, max_batch_size)

    def symbol_ranges(
        self, profile: Mapping[str, InputRange], max_batch_size: int | None = None
    ) -> Mapping[str, tuple[int, int, int]]:
        """The ranges that `to_graph` gives to the dimensions of unknown size, by name.

        Raises:
            NetworkError: the profile does not fit the inputs or contradicts itself.
        """
        settled = settled_symbols(self._input_shapes(), profile, (self.batch_symbol, max_batch_size))
        return {symbol.name: range_of(dim) for symbol, dim in settled.items() if isinstance(symbol, Symbol)}

    def to_measured_graph(
        self, profile: Mapping[str, InputRange] | None = None, max_batch_size: int | None = None
    ) -> Graph:
        """As `to_graph`, with all tensors of floats on the way to its outputs as outputs; names are made unique."""
        graph = self._graph()
        outputs = tuple(self._floats(graph).items())
        return self._settled(Graph(graph.inputs, outputs, graph.name), profile, max_batch_size)

    def to_graph_and_tensors(
        self, profile: Mapping[str, InputRange] | None = None, max_batch_size: int | None = None
    ) -> tuple[Graph, Mapping[str, Value]]:
        """As `to_graph`, with the graph's inputs and the outputs of `to_measured_graph`, which are values of it."""
        graph = self._graph()
        outputs = (*graph.outputs, *self._floats(graph).items())
        settled = self._settled(Graph(graph.inputs, outputs, graph.name), profile, max_batch_size)
        count = len(graph.outputs)
        tensors = dict((*settled.inputs, *settled.outputs[count:]))
        return Graph(settled.inputs, settled.outputs[:count], settled.name), tensors

    def dynamic_ranges(self) -> Mapping[str, float]:
        """The larger magnitudes of the dynamic ranges that were set, by the names of `to_graph_and_tensors`."""
        inputs = {layer.name: layer.get_output() for layer in self._inputs}
        ranges = {
            name: tensor.dynamic_range for name, tensor in {**inputs, **self._float_tensors(self._graph())}.items()
        }
        return {name: max(map(abs, found)) for name, found in ranges.items() if found is not None}

    def _floats(self, graph: Graph) -> dict[str, Value]:
        """All values of floats on the way to the outputs, by unique names."""
        return {name: self.value_of(tensor) for name, tensor in self._float_tensors(graph).items()}

    def _float_tensors(self, graph: Graph) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        needed, taken = set(graph.order()), {name for name, _ in graph.inputs}
        for layer in self._layers:
            for tensor in layer.outputs:
                value = self.value_of(tensor)
                if value in needed and value.inputs and value.type.dtype.is_float:
                    found[unused_name(tensor.name, {*taken, *found})] = tensor
        return found

    def precisions(self) -> Mapping[str, DType]:
        """The types that layers on the way to the outputs are to be computed in, by their names."""
        needed = {value.name for value in self._graph().order()}
        asked = {layer.name: layer.precision for layer in self._layers if layer.name in needed}
        return {name: dtype for name, dtype in asked.items() if dtype is not None}

    def _graph(self) -> Graph:
        if not self._marked:
            raise NetworkError(f"network '{self.name}' has no outputs; call network.mark_output(tensor)")
        names = [tensor.name for tensor in self._marked]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise NetworkError(
                f"network '{self.name}' has several outputs named {', '.join(map(repr, twice))}; set tensor.name"
            )
        inputs = tuple((layer.name, self.value_of(layer.get_output())) for layer in self._inputs)
        outputs = tuple((tensor.name, self.value_of(tensor)) for tensor in self._marked)
        return Graph(inputs, outputs, self.name)

    def _settled(self, graph: Graph, profile: Mapping[str, InputRange] | None, max_batch_size: int | None) -> Graph:
        settled = settled_symbols(self._input_shapes(), profile or {}, (self.batch_symbol, max_batch_size))
        return with_dims(graph, settled)

    def assumed_ranges(
        self, profile: Mapping[str, InputRange] | None = None, max_batch_size: int | None = None
    ) -> tuple[Symbol, ...]:
        """The dimensions whose range nobody said, with the ranges that `to_graph` gives them."""
        return assumed_symbols(self._input_shapes(), profile or {}, (self.batch_symbol, max_batch_size))

    def _input_shapes(self) -> list[tuple[str, Shape]]:
        return [(layer.name, layer.tensor_type.shape) for layer in self._inputs]

    @property
    def batch_symbol(self) -> str | None:
        """The name of the implicit batch dimension, None in networks with explicit batch."""
        return IMPLICIT_BATCH if self.has_implicit_batch_dimension else None

    def add(self, layer: AnyLayer) -> AnyLayer:
        """Take a layer in. Layers that nothing set later can repair are checked now."""
        for tensor in layer.inputs:
            self.value_of(tensor)
        self._layers.append(layer)
        if layer.settled:
            try:
                self._evaluate(layer, at_call=True)
            except NetworkError:
                self._layers.pop()
                raise
        return layer

    def value_of(self, tensor: Tensor) -> Value:
        """The value of a tensor, computed anew where something has changed."""
        layer = self._producer(tensor)
        for one in self._missing(layer):
            self._evaluate(one)
        return self._values[layer][tensor.index]

    def invalidate(self, layer: Layer) -> None:
        """The values of the layer, and of all that follow from them, have to be computed anew."""
        if layer not in self._values:
            return
        gone = {layer}
        size = 0
        while size < len(gone):
            size = len(gone)
            gone.update(one for one in self._layers if any(self._producer(tensor) in gone for tensor in one.inputs))
        for one in gone:
            self._values.pop(one, None)

    def is_output(self, tensor: Tensor) -> bool:
        return any(tensor is other for other in self._marked)

    def default_name(self, type: LayerType) -> str:
        """A name for a layer that was given none."""
        number = self._numbers.get(type, 0)
        self._numbers[type] = number + 1
        return f"{type.name.lower()}_{number}"

    def change_input(self, tensor: Tensor, *, dtype: object = None, shape: object = None) -> None:
        """Give an input another element type or shape. A symbol of the old shape takes its new value everywhere."""
        layer = self._producer(tensor)
        if not isinstance(layer, InputLayer):
            raise NetworkError(
                f"tensor '{tensor.name}': only inputs of the network have a type that can be set; this one follows "
                f"from layer '{layer.name}'"
            )
        try:
            element = layer.tensor_type.dtype if dtype is None else data_type("dtype", dtype)
            old = layer.tensor_type.shape
            dims = old if shape is None else self._input_shape(layer.name, shape)
        except NetworkError as error:
            raise layer.error(str(error)) from None
        layer.tensor_type = TensorType(element, dims)
        replaced: dict[Atom, Dim] = {}
        for before, after in zip(old, dims, strict=False):
            linear = linear_part(before)
            if linear is not None and before != after:
                symbol, factor, rest = linear
                replaced[symbol] = (after - rest) // factor
        self._replace_symbols(replaced)
        self._values.clear()

    def _replace_symbols(self, replacements: Mapping[Atom, Dim]) -> None:
        for layer in (*self._inputs, *self._layers):
            layer.substitute(replacements)

    def _evaluate(self, layer: Layer, *, at_call: bool = False) -> None:
        values = [self._values[self._producer(tensor)][tensor.index] for tensor in layer.inputs]
        try:
            made = enumerate(layer.lower(*values))
            self._values[layer] = tuple(_converted(value, layer.output_types.get(index)) for index, value in made)
        except NetworkError as error:
            place = "" if at_call else f" (added at {layer.added_at})"
            kind = ShapeError if isinstance(error, ShapeError) else NetworkError
            raise kind(f"{layer.where}: {error}{place}") from None

    def _missing(self, layer: Layer) -> list[Layer]:
        """The layers without values that a layer needs, and itself, operands first."""
        order: list[Layer] = []
        state: dict[Layer, bool] = {}
        stack = [layer]
        while stack:
            current = stack[-1]
            if current in self._values or state.get(current):
                stack.pop()
                continue
            before = [self._producer(tensor) for tensor in current.inputs]
            waiting = [one for one in before if one not in self._values and not state.get(one)]
            if current in state and waiting:
                raise NetworkError(f"{current.where}: its output leads back to its input; cut the cycle with set_input")
            if waiting:
                state[current] = False
                stack += waiting
            else:
                state[current] = True
                order.append(stack.pop())
        return order

    def _producer(self, tensor: Tensor) -> Layer:
        assert isinstance(tensor.producer, Layer)
        return tensor.producer

    def _require_own(self, call: str, tensor: object) -> None:
        if not isinstance(tensor, Tensor):
            advice = "; pass layer.get_output(0)" if isinstance(tensor, Layer) else ""
            raise NetworkError(f"{call}: expected a tensor, found {type(tensor).__name__}{advice}")
        if tensor.network is not self:
            raise NetworkError(f"{call}: tensor '{tensor.name}' belongs to another network")

    def _input_shape(self, name: str, shape: object) -> Shape:
        """The full shape of an input, with the implicit batch."""
        found = input_shape(name, shape, self.has_implicit_batch_dimension)
        return (expression(open_symbol(IMPLICIT_BATCH)), *found) if self.has_implicit_batch_dimension else found

    def _require_one_range(self, where: str, shape: Shape) -> None:
        known = {s.name: s for i in self._inputs for dim in i.tensor_type.shape for s in symbols_of(dim)}
        for symbol in (s for dim in shape for s in symbols_of(dim)):
            other = known.setdefault(symbol.name, symbol)
            if other != symbol:
                raise NetworkError(
                    f"{where}: dimension '{symbol.name}' has the range {_show(symbol)} here and {_show(other)} before; "
                    "use one symbol for both"
                )


def input_shape(name: str, shape: object, is_implicit: bool) -> tuple[Dim, ...]:
    """The shape of an input as users say it: -1 becomes a dimension of open range, called ``<name>_<axis>``.

    Args:
        name: of the input.
        shape: an int, a symbolic dimension or -1 for each axis, or a single one of these.
        is_implicit: whether a batch that `shape` does not mention stands in front.

    Raises:
        NetworkError: it is no such shape.
    """
    if as_integer(shape) is not None:
        shape = (shape,)
    if isinstance(shape, str) or not isinstance(shape, Sequence):
        raise NetworkError(f"shape: expected a sequence of dimensions, found {shape!r}")
    return tuple(
        expression(open_symbol(f"{name}_{axis}")) if as_integer(one) == UNKNOWN else dimension("shape", one)
        for axis, one in enumerate(shape, int(is_implicit))
    )


def _show(symbol: Symbol) -> str:
    return f"(min {symbol.min}, opt {symbol.opt}, max {symbol.max})"


def _item(items: Sequence[_Item], index: int, what: str) -> _Item:
    return items[checked_index(what, index, -len(items), len(items))]
