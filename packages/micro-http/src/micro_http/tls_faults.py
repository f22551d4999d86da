"""Why a TLS connection did not come about, in words for people."""

from __future__ import annotations

import ssl

_VERIFY = {
    3: "there is no revocation list of its CA in the file of tls_ca, which holds one of another",
    9: "its certificate is not valid yet; check the clocks of both machines",
    10: "its certificate has expired",
    11: "the revocation list in the file of tls_ca is not valid yet",
    12: "the revocation list in the file of tls_ca is out of date; put a new one there",
    18: "its certificate is self-signed, and is not one of tls_ca",
    19: "its certificate was issued by a CA that tls_ca does not hold",
    20: "its certificate was issued by a CA that tls_ca does not hold",
    21: "its certificate was issued by a CA that tls_ca does not hold",
    23: "its certificate has been revoked",
    26: "its certificate is not meant for a server",
}
"""What OpenSSL's numbers of `X509_V_ERR_` mean (x509_vfy.h)."""

_MISMATCH = (62, 64)

_ALERTS = {
    "CERTIFICATE_REQUIRED": "it demands a certificate, and this side showed none: set tls_cert and tls_key",
    "UNKNOWN_CA": "it does not know the CA of this side's certificate",
    "BAD_CERTIFICATE": "it refused this side's certificate",
    "CERTIFICATE_EXPIRED": "it refused this side's certificate, which has expired or is not valid yet",
    "CERTIFICATE_REVOKED": "it refused this side's certificate, which has been revoked",
    "CERTIFICATE_UNKNOWN": "it refused this side's certificate",
    "UNSUPPORTED_CERTIFICATE": "it refused this side's certificate, which is not meant for a client",
    "ACCESS_DENIED": "it refused this side's certificate",
    "HANDSHAKE_FAILURE": "it accepts none of the ways to encrypt that this side offers, or demands a certificate",
    "PROTOCOL_VERSION": "it speaks no TLS of version 1.2 or later",
    "NO_APPLICATION_PROTOCOL": "it speaks neither HTTP/2 nor HTTP/1.1",
    "UNRECOGNIZED_NAME": "it has no certificate for that name",
}
"""Alerts of the peer (RFC 8446 §6.2), each sent before it has read anything else."""

_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL")


def why_not(error: BaseException, name: str) -> str:
    """Why no connection came about; `name` is what the peer's certificate must hold."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _MISMATCH:
            return f"its certificate is not for {name!r} (tls_identity says what is verified)"
        return _VERIFY.get(error.verify_code, f"its certificate cannot be verified: {error.verify_message}")
    if isinstance(error, ssl.SSLEOFError) or not isinstance(error, ssl.SSLError):
        return "it closed the connection during the TLS handshake"
    if (error.reason or "") in _NO_TLS:
        return "it does not speak TLS"
    said = (error.reason or str(error)).replace("_", " ").lower()
    return refused_by_peer(error) or f"the TLS handshake failed: {said}"


def refused_by_peer(error: BaseException | None) -> str | None:
    """What the peer said about this side before it read anything else; None for any other error.

    Under TLS 1.3 a client has finished its handshake, and may have sent a call, before the server looks at its
    certificate. A server that says one of these has not read that call.
    """
    if not isinstance(error, ssl.SSLError) or "ALERT" not in (error.reason or ""):
        return None
    told = (error.reason or "").partition("ALERT_")[2]
    return _ALERTS.get(told)
