"""Students' functions, run where they can reach nothing: see docs/isolation.md.

Nothing is imported here: the program inside is part of this package too.
"""
