"""Selector `least-requests`: the less busy of two."""
