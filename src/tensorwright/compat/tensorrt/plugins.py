"""Plugins and their factories."""

from __future__ import annotations

from collections.abc import Sequence


class Plugin:
    """A layer of one's own."""

    def destroy(self) -> None:
        """Nothing: the plugin goes when nobody refers to it."""


class PluginFactory:
    """Makes plugins for layers that a parser does not know; subclass it."""

    def is_plugin(self, layer_name: str) -> bool:
        """Whether the factory makes a plugin for a layer."""
        raise NotImplementedError(f"{type(self).__name__} must implement is_plugin(layer_name)")

    def create_plugin(self, layer_name: str, *arguments: Sequence[object]) -> Plugin | None:
        """The plugin for a layer, from its weights or from the bytes in a plan."""
        raise NotImplementedError(f"{type(self).__name__} must implement create_plugin(layer_name, ...)")


def init_libnvinfer_plugins(logger: object = None, namespace: str = "") -> bool:
    """True: there is no library of plugins to load."""
    del logger, namespace
    return True
