"""The commands: options and tables, no logic."""
