"""What TensorFlow itself answers: run where it is installed, the answers are kept in expected.npz.

``python tests/tensorflow_oracle.py`` writes that file anew; PYTHONPATH must hold `src` and `tests`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

EXPECTED = Path(__file__).parent / "importers" / "tensorflow" / "expected.npz"


def run(data: bytes, inputs: dict[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
    """The outputs of a graph."""
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef.FromString(data)
    _complete(graph)
    with tf.Graph().as_default() as imported:
        tf.import_graph_def(graph, name="")
        with tf.compat.v1.Session(graph=imported) as session:
            fed = {f"{name}:0": array for name, array in inputs.items()}
            return session.run([name if ":" in name else f"{name}:0" for name in outputs], fed)


def _complete(graph) -> None:
    """Add the attributes that say counts and types of inputs, which the cases leave out."""
    from tensorflow.python.framework import op_def_registry

    types = {node.name: node.attr["dtype"].type for node in graph.node if "dtype" in node.attr}
    for node in graph.node:
        position, sources = 0, [name for name in node.input if not name.startswith("^")]
        arguments = op_def_registry.get(node.op).input_arg
        for argument in arguments:
            count = 1
            if argument.number_attr:
                count = node.attr[argument.number_attr].i or len(sources) - position - len(arguments) + 1
                node.attr[argument.number_attr].i = count
            if argument.type_list_attr:
                count = len(sources) - position
                node.attr[argument.type_list_attr].list.type.extend(types[s] for s in sources[position:])
            if argument.type_attr and argument.type_attr not in node.attr:
                node.attr[argument.type_attr].type = types[sources[position]]
            position += count


def write() -> None:
    """Write the answers to all cases that the installed TensorFlow still has."""
    from tensorflow_cases import CASES, REMOVED

    answers = {}
    for case in CASES:
        if case.operator in REMOVED:
            continue
        graph, inputs, outputs = case.build()
        found = run(graph.bytes(), inputs, outputs)
        answers |= {f"{case.name}/{name}": np.asarray(array) for name, array in zip(outputs, found, strict=True)}
    np.savez_compressed(EXPECTED, **answers)


if __name__ == "__main__":
    write()
