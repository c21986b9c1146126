"""Real parts on one machine: desks with systemd and a Docker of their own, and a registry with TLS, as containers."""

import sys
from pathlib import Path

# The image is built by the collection's own code, and a collection is no installed package.
sys.path.append(str(Path(__file__).resolve().parents[1] / "collections"))
