"""HTTP/2 (RFC 9113): many calls on one connection.

Without I/O: `fields`, `encoder` and `decoder` compress heads, `frames` knows the bytes, `sending`, `streams` and `link`
are the layers of one end, `ends` its two roles. With it: `driver` feeds a link from a wire, `channel` makes messages of
DATA, `server`, `served` and `client` are what a listener and a client hold.
"""
