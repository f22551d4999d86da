"""Broker `http`: events posted straight to subscribers."""
