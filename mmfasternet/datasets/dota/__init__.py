"""DOTA: read raw labels, cut images into tiles, and check the tiles."""
