# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    """The options of ``network.ARGUMENTS``, which modules share that go through the desk's proxy."""

    DOCUMENTATION = r"""
options:
  proxy:
    description: The proxy that the desk goes through, without user and password; empty for none.
    type: dict
    suboptions:
      http:
        description: Address for plain traffic, such as C(http://proxy.example.com:3128).
        type: str
      https:
        description: Address for TLS.
        type: str
      no_proxy:
        description: Hosts, domains and networks that are reached without it.
        type: list
        elements: str
  proxy_credentials:
    description: User and password as C(user:password), percent-encoded, under C(http) and C(https).
    type: dict
"""
