# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands: each is a playbook and a screen, in a module of its name."""
