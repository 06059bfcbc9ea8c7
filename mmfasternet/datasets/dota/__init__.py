"""DOTA: raw labels, cutting images into tiles, and a check of the tiles."""
