"""The operators, one file per family. An operator states its types, its reference and its mathematics, once."""
