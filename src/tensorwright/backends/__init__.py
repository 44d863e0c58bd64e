"""Devices with both their halves: what makes code for them, and what runs it. One module or folder each."""
