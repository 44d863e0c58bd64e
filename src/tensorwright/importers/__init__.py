"""The importers, one folder per foreign format; they know nothing of each other."""
