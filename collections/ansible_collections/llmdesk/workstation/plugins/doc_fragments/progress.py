# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    """The option of modules that say how far they are."""

    DOCUMENTATION = r"""
options:
  progress_file:
    description: Where the module writes how far it is. Set by the action plugin.
    type: path
"""
