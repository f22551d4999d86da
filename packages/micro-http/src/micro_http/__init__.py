"""HTTP/1.1 connections, framing, limits and the connection pool."""
