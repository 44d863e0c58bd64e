"""Caches: new rows among those that are there."""
