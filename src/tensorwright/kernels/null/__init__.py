"""The one tactic of the null device."""
