"""Gathering rows of a constant that lies as a product wants it."""
