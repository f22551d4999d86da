"""Transport `memory`: calls within one process."""
