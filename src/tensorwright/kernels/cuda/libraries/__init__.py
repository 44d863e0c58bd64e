"""Regions that a library of NVIDIA computes by one call: tactics of builds that were allowed to use it.

They are offered only where the library is open, since it says itself which algorithms it has for a region.
"""
