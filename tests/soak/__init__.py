"""Threads that make, use, fork and drop engines, contexts, streams and events in all orders: ``make soak``."""
