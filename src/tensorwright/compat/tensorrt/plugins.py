"""Plugins and their factories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from tensorwright.api import plugin as api
from tensorwright.api.layers.plugin import PluginFunction, require_plugin
from tensorwright.api.logger import ILogger, Severity
from tensorwright.api.network import NetworkDefinition as ApiNetwork
from tensorwright.api.tensor import Tensor as ApiTensor
from tensorwright.compat.tensorrt.facade import unwrapped, wrapped
from tensorwright.compat.tensorrt.network import NetworkDefinition
from tensorwright.compat.tensorrt.weights import Weights
from tensorwright.importers.custom import CustomNode

NOT_ASKED = "the plugin factory is not asked: an engine contains what its plugins are made of"


class Plugin(api.Plugin):
    """A layer of one's own, made of other layers; subclass it and say them in ``add_layers(network, inputs, node)``.

    Dimensions and axes do not count the batch. Code for a GPU (`enqueue` and what belongs to it) is never called.
    """

    counts_batch: ClassVar[bool] = False

    def added(self, network: ApiNetwork, inputs: Sequence[ApiTensor], node: CustomNode) -> api.Made:
        """What `add_layers` returns, which has to do with the objects of this interface."""
        made = self.add_layers(NetworkDefinition(network), [wrapped(one) for one in inputs], node)  # type: ignore[arg-type, misc]
        return unwrapped(made)  # type: ignore[return-value]

    def destroy(self) -> None:
        """Nothing: the plugin goes when nobody refers to it."""


class PluginFactory:
    """Makes plugins for layers; subclass it. Parsers of Caffe ask for every layer, those of UFF for custom nodes."""

    def is_plugin(self, layer_name: str) -> bool:
        """Whether the factory makes a plugin for a layer."""
        raise NotImplementedError(f"{type(self).__name__} must implement is_plugin(layer_name)")

    def create_plugin(
        self, layer_name: str, weights: Sequence[Weights], fields: Mapping[str, object]
    ) -> PluginFunction | None:
        """The plugin for a layer: a `Plugin`, or a function of a node; the parameter `fields` may be left out."""
        raise NotImplementedError(f"{type(self).__name__} must implement create_plugin(layer_name, weights)")


class GivenFactory:
    """A factory of a script, as the parsers of tensorwright ask it."""

    def __init__(self, factory: PluginFactory) -> None:
        self._factory = factory

    def is_plugin(self, layer_name: str) -> bool:
        """Whether the factory makes a plugin for a layer."""
        return bool(self._factory.is_plugin(layer_name))

    def create_plugin(
        self, layer_name: str, weights: Sequence[object], fields: Mapping[str, object]
    ) -> PluginFunction | None:
        """The plugin for a layer."""
        given = [Weights(one) for one in weights]  # type: ignore[arg-type]
        made = api.with_accepted(self._factory.create_plugin, layer_name, given, fields)
        return require_plugin(f"{type(self._factory).__name__}.create_plugin('{layer_name}')", made)


def given_factory(factory: PluginFactory | None) -> GivenFactory | None:
    """A factory for the parsers of tensorwright; None for none."""
    return None if factory is None else GivenFactory(factory)


def tell_not_asked(factory: PluginFactory | None, logger: ILogger) -> None:
    """Say that a factory has nothing to do, if there is one."""
    if factory is not None:
        logger.log(Severity.INFO, NOT_ASKED)


def init_libnvinfer_plugins(logger: object = None, namespace: str = "") -> bool:
    """True: there is no library of plugins to load."""
    del logger, namespace
    return True
