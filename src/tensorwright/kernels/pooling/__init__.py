"""The problem of pooling in plain numbers."""
