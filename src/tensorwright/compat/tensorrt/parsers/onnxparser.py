"""The parser of ONNX models."""

from __future__ import annotations

import os

from tensorwright.api.logger import SHARED_LOGGER, ILogger, Severity
from tensorwright.api.network import NetworkDefinition as ApiNetwork
from tensorwright.api.onnx_parser import OnnxParser as ApiOnnxParser
from tensorwright.compat.tensorrt.facade import Facade
from tensorwright.compat.tensorrt.network import NetworkDefinition
from tensorwright.tensor.dtype import FLOAT32, DType


class OnnxConfig:
    """What to parse and how much to say of it."""

    def __init__(self) -> None:
        self._file = ""
        self._dtype: DType = FLOAT32
        self._verbosity = 0
        self._print_layer_info = False

    def set_model_file_name(self, onnx_filename: str | os.PathLike[str]) -> None:
        """The path of the model."""
        self._file = os.fspath(onnx_filename)

    def get_model_file_name(self) -> str:
        """The path of the model."""
        return self._file

    set_model_filename = set_model_file_name
    get_model_filename = get_model_file_name

    def set_model_dtype(self, data_type: DType) -> None:
        """Kept; the network has the types that the model says."""
        self._dtype = data_type

    def get_model_dtype(self) -> DType:
        """What was set."""
        return self._dtype

    def set_print_layer_info(self, print_layer_info: bool) -> None:
        """Whether `report_parsing_info` lists the layers."""
        self._print_layer_info = bool(print_layer_info)

    def get_print_layer_info(self) -> bool:
        """What was set."""
        return self._print_layer_info

    def set_verbosity_level(self, verbosity: int) -> None:
        """How much to say."""
        self._verbosity = int(verbosity)

    def get_verbosity_level(self) -> int:
        """How much to say."""
        return self._verbosity

    def add_verbosity(self) -> None:
        """Say more."""
        self._verbosity += 1

    def reduce_verbosity(self) -> None:
        """Say less."""
        self._verbosity -= 1

    def report_parsing_info(self) -> None:
        """Log what is to be parsed."""
        SHARED_LOGGER.adopt(None, "OnnxConfig").log(Severity.INFO, f"model '{self._file}', {self._dtype}")

    def destroy(self) -> None:
        """Nothing: the object goes when nobody refers to it."""


class LegacyOnnxParser(Facade[ApiOnnxParser]):
    """Reads the model of a configuration into a network of its own, with explicit batch."""

    def __init__(self, config: OnnxConfig) -> None:
        super().__init__(ApiOnnxParser(ApiNetwork(explicit_batch=True)))
        self._config = config

    def parse(self, onnx_filename: str | os.PathLike[str] | None = None, data_type: object = FLOAT32) -> bool:
        """Read a file, that of the configuration without a name. False if it fails, for reasons that are logged."""
        del data_type
        self.inner.logger = SHARED_LOGGER.adopt(None, "OnnxParser")
        return self.inner.parse_from_file(onnx_filename or self._config.get_model_file_name())

    def convert_to_trtnetwork(self) -> bool:
        """Whether there is a network: `parse` has made it."""
        return self.inner.network.num_outputs > 0

    def get_trtnetwork(self) -> NetworkDefinition:
        """The network."""
        return NetworkDefinition(self.inner.network)

    convert_to_trt_network = convert_to_trtnetwork
    get_trt_network = get_trtnetwork

    def report_parsing_info(self) -> None:
        """Log what the network has become."""
        layers = list(self.inner.network) if self._config.get_print_layer_info() else []
        lines = [
            f"{self.inner.network.num_layers} layers",
            *(f"  {layer.type.name} '{layer.name}'" for layer in layers),
        ]
        self.inner.logger.log(Severity.INFO, "\n".join(lines))


class OnnxParser(Facade[ApiOnnxParser]):
    """Reads ONNX models into a network with explicit batch: the interface of the later versions."""

    def __init__(self, network: NetworkDefinition, logger: ILogger | None = None) -> None:
        super().__init__(ApiOnnxParser(network.inner, logger))


def create_onnxconfig() -> OnnxConfig:
    """A configuration."""
    return OnnxConfig()


def create_onnxparser(config: OnnxConfig) -> LegacyOnnxParser:
    """A parser of the model of a configuration."""
    return LegacyOnnxParser(config)
