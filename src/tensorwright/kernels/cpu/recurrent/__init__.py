"""Recurrent layers: the steps through time in one kernel."""
