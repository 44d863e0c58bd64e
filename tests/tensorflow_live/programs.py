"""What real programs compose."""

from __future__ import annotations

import numpy as np

from tensorflow_live.graph import A, Feed, case


@case("default-of-a-placeholder", A)
def _(net, x):
    tf = net.tf
    rate = tf.compat.v1.placeholder_with_default(np.float32(0.5), ())
    return x * rate


@case("dropout-at-inference", A)
def _(net, x):
    return net.tf.compat.v1.nn.dropout(x, rate=0.0) + 1.0


@case("classifier-of-programs", Feed((2, 12, 12, 1)), tolerance=3e-5)
def _(net, x):
    tf = net.tf
    y = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, net.variable(5, 5, 1, 6), 1, "SAME"), net.variable(6)))
    y = tf.nn.max_pool2d(y, 2, 2, "SAME")
    y = tf.nn.local_response_normalization(y, 4, 1.0, 0.001 / 9, 0.75)
    y = tf.reshape(y, [-1, int(np.prod(y.shape[1:]))])
    return tf.nn.softmax(tf.nn.relu(tf.matmul(y, net.variable(216, 20)) + net.variable(20)) @ net.variable(20, 10))


@case("layer-norm-and-attention", Feed((2, 6, 8)), tolerance=3e-5)
def _(net, x):
    tf = net.tf
    mean, variance = tf.nn.moments(x, -1, keepdims=True)
    y = (x - mean) * tf.math.rsqrt(variance + 1e-6) * net.variable(8) + net.variable(8)

    def heads(z):
        return tf.transpose(tf.reshape(z, (-1, 6, 2, 4)), (0, 2, 1, 3))

    q, k, v = (heads(tf.tensordot(y, net.variable(8, 8), 1)) for _ in range(3))
    scores = tf.nn.softmax(tf.matmul(q, k, transpose_b=True) / 2.0)
    return x + tf.reshape(tf.transpose(scores @ v, (0, 2, 1, 3)), (-1, 6, 8))


for _lowered in (False, True):

    @case(f"conditions-{'lowered' if _lowered else 'functions'}", A)
    def _(net, x, lowered=_lowered):
        v1 = net.tf.compat.v1
        training = v1.placeholder_with_default(np.bool_(False), ())
        (v1.disable_control_flow_v2 if lowered else v1.enable_control_flow_v2)()
        try:
            factor = v1.cond(training, lambda: net.tf.constant(2.0), lambda: net.tf.constant(3.0))
            y = v1.cond(training, lambda: v1.nn.dropout(x, rate=0.5), lambda: net.tf.nn.relu(x) + factor)
            return v1.cond(net.tf.logical_not(training), lambda: y * factor, lambda: y)
        finally:
            v1.enable_control_flow_v2()
