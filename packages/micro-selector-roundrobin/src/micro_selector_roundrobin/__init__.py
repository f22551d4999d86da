"""Selector `roundrobin`: each node in turn."""
