"""Selector `rendezvous`: equal keys to the same node."""
