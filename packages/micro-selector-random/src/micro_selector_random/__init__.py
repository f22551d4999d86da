"""Selector `random`: an even random spread."""
