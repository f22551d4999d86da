"""Extension `accesslog`: one log line per call, stream and event."""
