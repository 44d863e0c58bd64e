"""Inputs made hostile: models, plans, caches and tables changed by chance, and what judges how they are taken."""
