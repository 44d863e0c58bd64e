"""Networks made with Keras, frozen and built, against Keras; run by ``make test-tensorflow``."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorwright as tw

if importlib.util.find_spec("tensorflow") is None:
    reason = "tensorflow not installed; `make test-tensorflow` sets it up and runs this"
    pytest.skip(reason, allow_module_level=True)

pytestmark = [pytest.mark.tensorflow, pytest.mark.filterwarnings("ignore")]


def convolutional(layers: Any, image: Any) -> Any:
    y = layers.Conv2D(16, 3, padding="same", use_bias=False)(image)
    y = layers.ReLU()(layers.BatchNormalization()(y))
    y = layers.MaxPooling2D()(y)
    y = layers.Conv2D(24, 3, strides=2, padding="same", activation="relu")(y)
    y = layers.Dropout(0.5)(y)
    y = layers.Dense(32, activation="relu")(layers.Flatten()(y))
    return layers.Dense(10, activation="softmax")(y)


def separable(layers: Any, image: Any) -> Any:
    """The blocks of MobileNetV2."""
    y = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(16, 3, strides=2, padding="same")(image)))
    for stride in (1, 2):
        z = layers.Conv2D(48, 1, use_bias=False)(y)
        z = layers.ReLU(6.0)(layers.BatchNormalization()(z))
        if stride == 2:
            z = layers.ZeroPadding2D(((0, 1), (0, 1)))(z)
        z = layers.DepthwiseConv2D(3, strides=stride, padding="same" if stride == 1 else "valid", use_bias=False)(z)
        z = layers.ReLU(6.0)(layers.BatchNormalization()(z))
        z = layers.BatchNormalization()(layers.Conv2D(16, 1, use_bias=False)(z))
        y = layers.Add()([y, z]) if stride == 1 else z
    y = layers.LeakyReLU()(layers.SeparableConv2D(24, 3, padding="same")(y))
    return layers.Dense(5)(layers.GlobalAveragePooling2D()(y))


def decoder(layers: Any, image: Any) -> Any:
    """Down and up again, with what was there joined in."""
    small = layers.Conv2D(12, 3, strides=2, padding="same", activation="elu")(image)
    deep = layers.Conv2D(16, 3, dilation_rate=2, padding="same", activation="swish")(small)
    up = layers.Conv2DTranspose(8, 3, strides=2, padding="same")(deep)
    wide = layers.UpSampling2D(2, interpolation="bilinear")(small)
    y = layers.Concatenate()([layers.PReLU(shared_axes=[1, 2])(up), wide, image])
    y = layers.Cropping2D(1)(layers.AveragePooling2D(2, padding="same")(y))
    return layers.Conv2D(1, 1, activation="sigmoid")(layers.LayerNormalization()(y))


def attention(layers: Any, image: Any) -> Any:
    y = layers.Reshape((36, 16))(layers.Conv2D(16, 4, strides=4)(image))
    y = layers.Add()([y, layers.MultiHeadAttention(2, 8)(y, y)])
    y = layers.Dense(32, activation="gelu")(layers.LayerNormalization()(y))
    return layers.Softmax()(layers.GlobalMaxPooling1D()(y))


NETWORKS = (convolutional, separable, decoder, attention)


def frozen(make: Any, folder: Path, rng: np.random.Generator) -> tuple[Path, Any, str]:
    """A network with random weights and statistics: its frozen graph, what calls it, and the name of its output."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    tf.keras.utils.set_random_seed(int(rng.integers(1 << 30)))
    image = tf.keras.Input((24, 24, 3), name="image")
    model = tf.keras.Model(image, make(tf.keras.layers, image))
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.3, 1.5, weights.shape) for weights in layer.get_weights()])
    function = tf.function(lambda image: model(image, training=False))
    concrete = function.get_concrete_function(tf.TensorSpec((None, 24, 24, 3), tf.float32, name="image"))
    constant = convert_variables_to_constants_v2(concrete)
    path = folder / f"{make.__name__}.pb"
    path.write_bytes(constant.graph.as_graph_def().SerializeToString())
    return path, model, constant.outputs[0].op.name


@pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)
def test_a_built_network_gives_what_keras_gives(make: Any, tmp_path: Path, rng: np.random.Generator) -> None:
    path, model, output = frozen(make, tmp_path, rng)
    engine = tw.build(path, level=0, threads=2, timing_cache="")
    for batch in (1, 3):
        image = rng.uniform(-1, 1, (batch, 24, 24, 3)).astype(np.float32)
        expected = model(image, training=False).numpy()
        found = engine({"image": image})[output]
        assert found.shape == expected.shape
        error = float(np.abs(found - expected).max() / max(1e-3, np.abs(expected).max()))
        assert error < 2e-5
