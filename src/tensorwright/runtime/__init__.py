"""Engines and contexts: run plans. Knows nothing of how plans are made."""
