"""What goes wrong while a model is read, and the one report of everything that is not supported."""

from __future__ import annotations


class Unsupported(Exception):
    """A node is legal, but cannot be expressed; collected, to be reported together with the others."""
