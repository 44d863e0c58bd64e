"""Decision trees of ONNX's classical models: whoever follows their branches has to come to a leaf.

Their attributes: https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsemble.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

from onnx import NodeProto, helper

MOST_BRANCHES = 1 << 20
"""Of all trees, where branches that two nodes share count twice."""
Trees = Mapping[object, tuple[object, ...]]
"""The nodes below each node."""


def require_trees(node: NodeProto) -> None:
    """Refuse trees that have no end; does nothing for nodes without trees.

    Raises:
        ValueError: a node lies below itself, or nodes are shared so often that too many branches follow.
    """
    if not node.op_type.startswith("TreeEnsemble"):
        return
    below = dict(_below({a.name: helper.get_attribute_value(a) for a in node.attribute}))
    sizes = dict[object, int]()
    try:
        for found in TopologicalSorter(below).static_order():
            sizes[found] = min(1 + sum(sizes[one] for one in below.get(found, ())), MOST_BRANCHES)
    except CycleError as error:
        raise ValueError(f"node {error.args[1][0]} of a tree lies below itself") from None
    if max(sizes.values(), default=0) >= MOST_BRANCHES:
        raise ValueError(f"a tree has more than {MOST_BRANCHES} branches, as its nodes are shared")


def _below(given: Mapping[str, object]) -> Iterator[tuple[object, tuple[object, ...]]]:
    whens = [_list(given, f"nodes_{when}nodeids") for when in ("true", "false")]
    if "nodes_nodeids" in given:  # Before version 5: trees and nodes have numbers, leaves are nodes.
        names = zip(_list(given, "nodes_treeids"), _list(given, "nodes_nodeids"), strict=True)
        for (tree, node), mode, *ends in zip(names, _list(given, "nodes_modes"), *whens, strict=True):
            yield (tree, node), () if mode == b"LEAF" else tuple((tree, end) for end in ends)
    else:
        leaves = [_list(given, f"nodes_{when}leafs") for when in ("true", "false")]
        for node, (yes, no, yes_leaf, no_leaf) in enumerate(zip(*whens, *leaves, strict=True)):
            yield node, tuple(end for end, is_leaf in ((yes, yes_leaf), (no, no_leaf)) if not is_leaf)


def _list(given: Mapping[str, object], name: str) -> list[object]:
    found = given.get(name, [])
    return found if isinstance(found, list) else []
