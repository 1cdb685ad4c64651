"""Algorithms, one file each, read from top to bottom as the pseudocode of its lecture."""
