"""A program of the time of TensorRT 3: trains a LeNet, converts the live graph, and asks the engine.

Arguments: a folder to write to, and PGM images of 28×28 that end with their digit.
"""

import os
import sys

import numpy as np
import pycuda.autoinit
import pycuda.driver as cuda
import tensorflow.compat.v1 as tf
import tensorrt as trt
from tensorrt.parsers import uffparser

try:
    import uff
except ImportError:
    raise ImportError("""Please install the UFF Toolkit""")

tf.disable_eager_execution()
MAX_BATCHSIZE = 1
MAX_WORKSPACE = 1 << 20
OUTPUT_NAMES = ["fc2/Relu"]
UFF_OUTPUT_FILENAME = os.path.join(sys.argv[1], "trained_lenet5.uff")


def testcases(files):
    for file in files:
        with open(file, "rb") as image:
            pixels = np.frombuffer(image.read()[-784:], np.uint8)
        yield pixels.reshape(28, 28, 1) / 255.0, int(os.path.basename(file)[-5])


def weights(name, shape):
    return tf.get_variable(name, shape, initializer=tf.glorot_uniform_initializer(seed=7))


def lenet5(images):
    with tf.variable_scope("conv1"):
        conv1 = tf.nn.bias_add(
            tf.nn.conv2d(images, weights("w", [5, 5, 1, 8]), [1, 1, 1, 1], "SAME"), weights("b", [8])
        )
        pool1 = tf.nn.max_pool(tf.nn.relu(conv1), [1, 2, 2, 1], [1, 2, 2, 1], "SAME")
    with tf.variable_scope("conv2"):
        conv2 = tf.nn.conv2d(pool1, weights("w", [5, 5, 8, 16]), [1, 1, 1, 1], "VALID") + weights("b", [16])
        pool2 = tf.nn.max_pool(tf.nn.relu(conv2), [1, 2, 2, 1], [1, 2, 2, 1], "VALID")
    flat = tf.reshape(pool2, [-1, 5 * 5 * 16], name="flatten/Reshape")
    with tf.variable_scope("fc1"):
        fc1 = tf.nn.relu(tf.matmul(flat, weights("w", [400, 64])) + weights("b", [64]))
    with tf.variable_scope("fc2"):
        scores = tf.matmul(fc1, weights("w", [64, 10])) + weights("b", [10])
        return scores, tf.nn.relu(scores, name="Relu")


def run_training(files):
    images, labels = (np.array(part) for part in zip(*testcases(files), strict=True))
    x = tf.placeholder(tf.float32, [None, 28, 28, 1], name="Placeholder")
    y = tf.placeholder(tf.int64, [None], name="labels")
    tf.set_random_seed(7)
    scores, answers = lenet5(x)
    loss = tf.losses.sparse_softmax_cross_entropy(y, scores)
    train = tf.train.AdamOptimizer(0.003).minimize(loss)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for _ in range(60):
            sess.run(train, {x: images, y: labels})
        assert (sess.run(answers, {x: images}).argmax(1) == labels).all()
        graphdef = tf.get_default_graph().as_graph_def()
        frozen_graph = tf.graph_util.convert_variables_to_constants(sess, graphdef, OUTPUT_NAMES)
        return tf.graph_util.remove_training_nodes(frozen_graph)


def infer(context, input_img, batch_size):
    engine = context.get_engine()
    assert engine.get_nb_bindings() == 2
    dims = engine.get_binding_dimensions(1).to_DimsCHW()
    elt_count = dims.C() * dims.H() * dims.W() * batch_size
    input_img = input_img.astype(np.float32)
    output = cuda.pagelocked_empty(elt_count, dtype=np.float32)
    d_input = cuda.mem_alloc(batch_size * input_img.size * input_img.dtype.itemsize)
    d_output = cuda.mem_alloc(batch_size * output.size * output.dtype.itemsize)
    bindings = [int(d_input), int(d_output)]
    stream = cuda.Stream()
    cuda.memcpy_htod_async(d_input, input_img, stream)
    context.enqueue(batch_size, bindings, stream.handle, None)
    cuda.memcpy_dtoh_async(output, d_output, stream)
    return output


def main():
    tf_model = run_training(sys.argv[2:])
    uff.from_tensorflow(graphdef=tf_model, output_filename=UFF_OUTPUT_FILENAME, output_nodes=OUTPUT_NAMES, text=True)
    uff_model = uff.from_tensorflow(tf_model, ["fc2/Relu"])
    parser = uffparser.create_uff_parser()
    parser.register_input("Placeholder", (1, 28, 28), 0)
    parser.register_output("fc2/Relu")
    G_LOGGER = trt.infer.ConsoleLogger(trt.infer.LogSeverity.INFO)
    engine = trt.utils.uff_to_trt_engine(G_LOGGER, uff_model, parser, MAX_BATCHSIZE, MAX_WORKSPACE)
    assert engine
    context = engine.create_execution_context()
    print("\n| TEST CASE | PREDICTION |")
    for img, label in testcases(sys.argv[2:]):
        out = infer(context, img, 1)
        print("|-----------|------------|")
        print("|     " + str(label) + "     |      " + str(np.argmax(out)) + "     |")


if __name__ == "__main__":
    main()
