"""Node sets fed by registry watches and shared by all callers."""
