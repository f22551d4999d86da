"""Codec `bytes`: application/octet-stream, bytes as they are."""
