"""What no plan exceeds: the builder refuses to make what the reader would refuse to load."""

MAX_THREADS = 1024
MAX_SIZE = 1 << 46
"""Bytes of anything, and values of any dimension."""
MAX_MANIFEST = 32 << 20
MAX_RANK = 64
MAX_COUNT = 1 << 16
"""Bindings, symbols, steps, tables, sizes; slices of one step."""
MAX_DEPTH = 16
MAX_TERMS = 1 << 10
"""Of a sum: as many pieces of unknown extents may be put together."""
MAX_CORNERS = 8
"""Symbols whose extremes are tried in all combinations."""
MAX_PROFILES = 64
"""Profiles of one plan."""
