"""Client and server `rpc`: Go Micro's mucp."""
