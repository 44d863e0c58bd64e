"""The regions that every tactic of every device is tested on.

The modules of this folder list theirs in `EXAMPLES`; `collection` finds them, `rigs` runs kernels for them, `checking`
compares results with the reference.
"""
