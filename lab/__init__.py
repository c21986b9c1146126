"""Real parts on one machine: desks with systemd and a Docker of their own, and a registry with TLS, as containers."""
