"""Codec `json`: application/json by msgspec."""
