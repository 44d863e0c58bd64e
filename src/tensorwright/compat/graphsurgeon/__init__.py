"""Changes TensorFlow graphs before they become UFF, as old preprocessors import it: ``import graphsurgeon``."""

from tensorwright.compat.graphsurgeon.dynamic_graph import DynamicGraph
from tensorwright.compat.graphsurgeon.nodes import create_node, create_plugin_node

__all__ = ["DynamicGraph", "create_node", "create_plugin_node"]
