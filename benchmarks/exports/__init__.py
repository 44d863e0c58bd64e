"""Networks as PyTorch exports them, built here and compared with ONNX Runtime: ``python -m benchmarks.exports``.

Needs torch, torchvision, transformers, diffusers and onnxscript beside the project; weights are random, nothing is
downloaded.
"""
