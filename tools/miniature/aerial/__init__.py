"""Aerial photographs: places, ways, structures and vehicles, seen from straight above."""
