"""Registry `memory`: services of one process."""
