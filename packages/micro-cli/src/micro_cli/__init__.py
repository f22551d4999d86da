"""The `micro` command."""
