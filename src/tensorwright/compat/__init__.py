"""The module names that existing scripts import: `tensorrt`, `uff` and `pycuda`. Names only.

They are not installed. ``python -m tensorwright.compat script.py arguments...`` runs a script with them; inside a
program `activate` makes them importable and `deactivate` takes them back.
"""

from tensorwright.compat.finder import activate, deactivate

__all__ = ["activate", "deactivate"]
