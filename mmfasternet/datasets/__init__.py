"""Data sets of a config: find their files, read them, and check them."""
