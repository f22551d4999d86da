"""Transport `http`: Go Micro's HTTP/1.1 message pipe."""
