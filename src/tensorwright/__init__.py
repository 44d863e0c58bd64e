"""tensorwright: an inference optimizer and runtime. A model goes in, a plan comes out, the plan runs."""

__version__ = "0.1.0"
