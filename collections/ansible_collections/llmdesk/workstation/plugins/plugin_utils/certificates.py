# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates of authorities, out of files of the controller or out of texts."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

HEAD = "-----BEGIN "


def read(entry: str) -> dict[str, str]:
    """Return the certificates of one entry, a path or a text: PEM by the sha256 in hex.

    :raises ValueError: it has none, or one that holds no longer.
    """
    if HEAD in entry:
        name, content = "a text", entry.encode()
    else:
        name = entry
        try:
            with open(os.path.expanduser(entry), "rb") as file:
                content = file.read()
        except OSError as error:
            raise ValueError(f"{name} cannot be read here: {error.strerror}") from None
    found = {}
    for certificate in parsed(name, content):
        if certificate.not_valid_after_utc < datetime.now(UTC):
            raise ValueError(
                f"{name} holds the certificate of {certificate.subject.rfc4514_string()}, which ended on "
                f"{certificate.not_valid_after_utc:%Y-%m-%d}; ask for the new one"
            )
        found[certificate.fingerprint(hashes.SHA256()).hex()] = certificate.public_bytes(Encoding.PEM).decode()
    return found


def parsed(name: str, content: bytes) -> list[x509.Certificate]:
    """Return the certificates of a file, in PEM or in DER."""
    if b"PRIVATE KEY" in content:
        raise ValueError(f"{name} holds a private key, which is nobody's business here; give the certificate alone")
    try:
        if HEAD.encode() in content:
            return x509.load_pem_x509_certificates(content)
        return [x509.load_der_x509_certificate(content)]
    except ValueError:
        raise ValueError(
            f"{name} is no certificate; it has to begin with '-----BEGIN CERTIFICATE-----' (PEM, which browsers and "
            "Windows export as Base-64)"
        ) from None
