"""The lab's own certificate authority, and what its desks trust."""

from __future__ import annotations

import datetime
import re
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lab import cache

SYSTEM_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
YEAR = datetime.timedelta(days=365)


def authority(called: str = "llmdesk lab", file: str = "ca") -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """Return an authority's certificate and key, made at the first call and kept in the cache."""
    certificate_file, key_file = cache.folder("lab") / f"{file}.crt", cache.folder("lab") / f"{file}.key"
    if not certificate_file.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, called)])
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        builder = _builder(name, name, key, 10 * YEAR).add_extension(x509.BasicConstraints(True, None), True)
        certificate = builder.add_extension(usage, True).sign(key, hashes.SHA256())
        _keep(key_file, _pem(key))
        certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    kept = serialization.load_pem_private_key(key_file.read_bytes(), None)
    assert isinstance(kept, ec.EllipticCurvePrivateKey)
    return x509.load_pem_x509_certificate(certificate_file.read_bytes()), kept


def certificate(host: str) -> tuple[bytes, bytes]:
    """Return a certificate and its key for one host name, in PEM.

    Like those of many companies it has no Authority Key Identifier, which Python asks for from 3.13 on, and hardly
    anybody else does.
    """
    issuer, issuer_key = authority()
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    builder = _builder(name, issuer.subject, key, YEAR)
    signed = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), False).sign(
        issuer_key, hashes.SHA256()
    )
    return signed.public_bytes(serialization.Encoding.PEM), _pem(key)


def trusted() -> bytes:
    """Return what a desk trusts: everything this machine trusts, and the lab's authority."""
    own = authority()[0].public_bytes(serialization.Encoding.PEM)
    return (SYSTEM_BUNDLE.read_bytes() if SYSTEM_BUNDLE.exists() else b"") + own


def missing(wanted: bytes, present: bytes) -> list[bytes]:
    """Return the certificates of one bundle that another has not."""
    block = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)
    known = {found.strip() for found in block.findall(present)}
    return [found for found in block.findall(wanted) if found.strip() not in known]


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, life: datetime.timedelta
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + life)
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _keep(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
