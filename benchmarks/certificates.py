"""An authority and a certificate of the service, made for one run."""

from __future__ import annotations

from pathlib import Path


def make(folder: Path) -> None:
    """Writes `ca.pem`, `service.pem` and `service.key`; nothing where trustme is not installed."""
    try:
        import trustme
    except ImportError:
        return
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    service = authority.issue_cert("bench", "localhost", "127.0.0.1")
    service.private_key_pem.write_to_path(folder / "service.key")
    for at, part in enumerate(service.cert_chain_pems):
        part.write_to_path(folder / "service.pem", append=at > 0)
