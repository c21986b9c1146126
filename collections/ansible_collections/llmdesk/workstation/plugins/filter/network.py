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
positional: certificates, mirror
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
  mirror:
    description: The LAN's mirror, C(desk_mirror), which is reached without the proxy and trusted by its certificate.
    type: str
    default: ""
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

from typing import Any

from ansible_collections.llmdesk.workstation.plugins.module_utils import network as networks
from ansible_collections.llmdesk.workstation.plugins.plugin_utils.mirrors import authority


class FilterModule:
    """What the way out of a desk's network needs."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by their names."""
        return {
            "network": network,
            "container_network": networks.container_network,
        }


def network(proxy: Any, certificates: list[str] | None = None, mirror: str = "") -> dict[str, Any]:
    """Return proxy, credentials and certificates, and what is wrong with them."""
    plain, credentials, errors = networks.settings(proxy)
    found: dict[str, str] = {}
    for entry in [certificates] if isinstance(certificates, str) else certificates or []:
        # Not before it is needed: every worker of a run would pay the tenth of a second that cryptography takes.
        from ansible_collections.llmdesk.workstation.plugins.plugin_utils.certificates import read

        try:
            found.update(read(str(entry)))
        except ValueError as error:
            errors.append(f"desk_ca_certificates: {error}. Nothing was changed; {networks.PAGE} has examples.")
    kept = authority(mirror)
    if kept:
        from ansible_collections.llmdesk.workstation.plugins.plugin_utils.certificates import read

        found.update(read(kept))
    if mirror and plain and mirror not in plain["no_proxy"]:
        plain["no_proxy"] = [*plain["no_proxy"], mirror]
    return {
        "proxy": plain,
        "credentials": credentials,
        "certificates": list(found.values()),
        "fingerprints": sorted(found),
        "errors": errors,
    }
