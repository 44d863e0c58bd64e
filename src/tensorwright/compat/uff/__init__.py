"""The converter from frozen TensorFlow graphs to UFF, as old programs import it: ``import uff``."""

from tensorwright.compat.uff.conversion import from_tensorflow, from_tensorflow_frozen_model

__version__ = "0.6.9"

__all__ = ["__version__", "from_tensorflow", "from_tensorflow_frozen_model"]
