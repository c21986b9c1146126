# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: network
short_description: The proxy and the authorities of a desk, checked and ready for its modules
version_added: 0.1.0
author:
  - llmdesk maintainers (@llmdesk)
description:
  - Parts the address of a proxy from user and password, so that only these are secret, and reads certificates from
    files of the controller. What is wrong is told, never raised.
positional: certificates
options:
  _input:
    description: C(desk_proxy), with C(http), C(https) and C(no_proxy).
    type: dict
    required: true
  certificates:
    description: C(desk_ca_certificates), paths of PEM files on the controller or PEM texts.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Say through which proxy the desk goes
  ansible.builtin.debug:
    msg: "{{ (desk_proxy | llmdesk.workstation.network).proxy.https }}"
"""

RETURN = r"""
_value:
  description: C(proxy), C(credentials), C(certificates) (PEM, one each), C(fingerprints) and C(errors).
  type: dict
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from ansible_collections.llmdesk.workstation.plugins.module_utils import network as networks
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

HEAD = "-----BEGIN "


class FilterModule:
    """What the way out of a desk's network needs."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by their names."""
        return {
            "network": network,
            "container_network": networks.container_network,
        }


def network(proxy: Any, certificates: list[str] | None = None) -> dict[str, Any]:
    """Return proxy, credentials and certificates, and what is wrong with them."""
    plain, credentials, errors = networks.settings(proxy)
    found: dict[str, str] = {}
    for entry in [certificates] if isinstance(certificates, str) else certificates or []:
        try:
            for certificate in read(str(entry)):
                found[certificate.fingerprint(hashes.SHA256()).hex()] = certificate.public_bytes(Encoding.PEM).decode()
        except ValueError as error:
            errors.append(f"desk_ca_certificates: {error}. Nothing was changed; {networks.PAGE} has examples.")
    return {
        "proxy": plain,
        "credentials": credentials,
        "certificates": list(found.values()),
        "fingerprints": sorted(found),
        "errors": errors,
    }


def read(entry: str) -> Iterator[x509.Certificate]:
    """Yield the certificates of one entry, a path or a text.

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
    for certificate in parsed(name, content):
        if certificate.not_valid_after_utc < datetime.now(UTC):
            raise ValueError(
                f"{name} holds the certificate of {certificate.subject.rfc4514_string()}, which ended on "
                f"{certificate.not_valid_after_utc:%Y-%m-%d}; ask for the new one"
            )
        yield certificate


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
