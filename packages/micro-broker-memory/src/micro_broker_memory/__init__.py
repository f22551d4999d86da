"""Broker `memory`: events within one process."""
