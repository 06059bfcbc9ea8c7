"""Data sets: where the files of a config are, and what is wrong with them."""
