"""The layers of network definitions, one file for each family."""
