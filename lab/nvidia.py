"""A machine with an NVIDIA card that is not there: the real container toolkit, and a stand-in for the driver.

The programs of the toolkit are NVIDIA's own. The card is one shell script that answers as nvidia-smi does, and a CDI
specification that hands it to containers. Nothing here computes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from docker.models.containers import Container

from lab import desk, golang

VERSION = "1.20.2"
MODULE = "github.com/NVIDIA/nvidia-container-toolkit"
PROGRAMS = ("nvidia-ctk", "nvidia-container-runtime", "nvidia-container-runtime-hook", "nvidia-cdi-hook")
UUID = "GPU-1ab00000-0000-4000-8000-00000000cafe"
DRIVER = "570.86.15"
LOST = "Failed to initialize NVML: Unknown Error"

SMI = f"""#!/bin/sh
# The lab's card.
[ ! -e /etc/nvml-lost ] || {{ echo '{LOST}'; exit 255; }}
[ ! -e /run/nvidia-smi-hangs ] || exec sleep 60
case "$*" in
*--query-gpu=*) echo "0, {UUID}, NVIDIA Lab Card, 24576, 24000, {DRIVER}, 8.9, [N/A]" ;;
*) echo "GPU 0: NVIDIA Lab Card (UUID: {UUID})" ;;
esac
"""
CDI = f"""cdiVersion: 0.5.0
kind: nvidia.com/gpu
devices:
- name: "0"
  containerEdits: &edits
    env:
    - LAB_CARD={UUID}
    mounts:
    - hostPath: /opt/lab-card/nvidia-smi
      containerPath: /usr/bin/nvidia-smi
      options: [ro, nosuid, nodev, bind]
- name: {UUID}
  containerEdits: *edits
- name: all
  containerEdits: *edits
"""
# NVIDIA's hook calls this program, which is C and no Go module has, with the container's root as its last word.
CLI = """#!/bin/sh
# The lab's nvidia-container-cli.
for root; do :; done
echo "$*" >> /var/log/nvidia-container-cli
mkdir -p "$root/usr/bin" && cp /opt/lab-card/nvidia-smi "$root/usr/bin/nvidia-smi"
"""
# What a driver for Windows has for WSL: the parts that the toolkit looks for (its pkg/nvcdi/driver-wsl.go).
STORE = [
    "libcuda.so.1.1",
    "libcuda_loader.so",
    "libnvdxgdmal.so.1",
    "libnvidia-ml.so.1",
    "libnvidia-ml_loader.so",
    "libnvidia-ptxjitcompiler.so.1",
    "nvcubins.bin",
    "nvidia-smi",
]
# Just large enough to run a shell; the file /etc/nvml-lost in a container is how a test takes its card away.
IMAGE = "lab-card:1"
MAKE_IMAGE = f"""
set -e
cd /
files=$(ldd /bin/sh /bin/ls | grep -o '/[^ ]*lib[^ ]*\\.so[^ ]*' | sort -u)
tar -ch bin/sh bin/ls bin/sleep bin/touch bin/rm $files etc/passwd 2> /dev/null | docker import - {IMAGE} > /dev/null
"""


def program(name: str, say: Callable[[str], None]) -> Path:
    """Return a program of the toolkit, made at the first call (minutes).

    :param say: called with a line before anything that takes long.
    """
    link = f"-s -w -X {MODULE}/internal/info.version={VERSION}"
    return golang.program(name, f"{MODULE}/cmd/{name}@v{VERSION}", link, say, with_c=True)


def card(container: Container) -> None:
    """Give a desk the stand-in for a card and its driver."""
    for path in ("/usr/bin/nvidia-smi", "/opt/lab-card/nvidia-smi"):
        desk.run(container, f"mkdir -p {Path(path).parent}")
        desk.put(container, path, SMI.encode(), 0o755)


def toolkit(container: Container, say: Callable[[str], None], *names: str) -> None:
    """Give a desk the toolkit's programs, all where none is named."""
    for name in names or PROGRAMS:
        desk.put(container, f"/usr/bin/{name}", program(name, say).read_bytes(), 0o755)


def command_line(container: Container) -> None:
    """Give a desk what NVIDIA's hook calls: it is there for Docker's own ``--gpus``."""
    desk.put(container, "/usr/bin/nvidia-container-cli", CLI.encode(), 0o755)


def specification(container: Container) -> None:
    """Describe the card to CDI: the toolkit itself would ask the driver's library, which is not there."""
    desk.run(container, "mkdir -p /etc/cdi")
    desk.put(container, "/etc/cdi/nvidia.yaml", CDI.encode())


def card_of_windows(container: Container, store: str, say: Callable[[str], None]) -> None:
    """Give a desk the card as Windows hands it into WSL, in place of what it had of one before.

    The device, the libraries and nvidia-smi stand in; what asks them and writes the CDI specification is the toolkit.

    :param store: the folder of Windows' driver, which an update of the driver gives another name.
    """
    wsl = "/usr/lib/wsl"
    library = golang.library(Path(__file__).with_name("dxcore.c"), say)
    desk.run(container, f"rm -rf {wsl}/drivers/* && mkdir -p {wsl}/lib {wsl}/drivers/{store}")
    desk.run(container, "test -e /dev/dxg || mknod /dev/dxg c 1 3")
    desk.put(container, f"{wsl}/driver-store", f"{wsl}/drivers/{store}\n".encode())
    desk.put(container, f"{wsl}/lib/libdxcore.so", library.read_bytes())
    for name in STORE:
        desk.put(container, f"{wsl}/drivers/{store}/{name}", SMI.encode(), 0o755)


def image(container: Container) -> str:
    """Return an image, made in the desk's Docker, that is just large enough to run a shell."""
    desk.run(container, MAKE_IMAGE)
    return IMAGE


# --- A repository like NVIDIA's, in the desk itself -----------------------------------------------------------------

REPOSITORY = "http://127.0.0.1:8099"
PACKAGES = {
    "libnvidia-container1": ((), ""),
    "libnvidia-container-tools": ((), "libnvidia-container1 (>= {version})"),
    "nvidia-container-toolkit-base": (("nvidia-ctk", "nvidia-container-runtime", "nvidia-cdi-hook"), ""),
    "nvidia-container-toolkit": (
        ("nvidia-container-runtime-hook",),
        "nvidia-container-toolkit-base (= {version}), libnvidia-container-tools (>= {version})",
    ),
}
FOLDER = "/srv/nvidia/stable/deb/amd64"
MAKE_PACKAGE = """
set -e
cd /srv/packages/{name}-{version}
dpkg-deb -Znone --root-owner-group --build . {folder}/{name}_{version}_amd64.deb > /dev/null
cd {folder} && stat -c %s {name}_{version}_amd64.deb && sha256sum {name}_{version}_amd64.deb
"""
SIGN = """
set -e
export GNUPGHOME=/srv/keys && mkdir -p -m 700 $GNUPGHOME
gpg --batch --quiet --passphrase '' --quick-generate-key lab@lab.test default default never
gpg --armor --export lab@lab.test > /srv/nvidia/gpgkey
gpg --batch --yes --clearsign --output {folder}/InRelease {folder}/Release
systemd-run --quiet --unit=lab-repository python3 -m http.server 8099 --bind 127.0.0.1 --directory /srv/nvidia
timeout 20 sh -c 'until curl -fs -o /dev/null {url}/gpgkey; do sleep 0.1; done'
"""


def repository(container: Container, versions: list[str], say: Callable[[str], None]) -> str:
    """Serve the toolkit's four packages in every version, signed, and return the address.

    The programs in them are the real ones, whatever the version says; NVIDIA's library is an empty package.
    """
    desk.run(container, f"mkdir -p {FOLDER} && apt-get update -qq && apt-get install -y -qq gnupg > /dev/null 2>&1")
    index = ""
    for version in versions:
        for name, (programs, needs) in PACKAGES.items():
            folder = f"/srv/packages/{name}-{version}"
            # dpkg forgets a package without any file of its own.
            own = f"{folder}/usr/share/doc/{name}"
            desk.run(container, f"mkdir -p {folder}/usr/bin {folder}/DEBIAN {own} && touch {own}/lab")
            for each in programs:
                desk.put(container, f"{folder}/usr/bin/{each}", program(each, say).read_bytes(), 0o755)
            control = f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: lab <lab@lab.test>\n"
            control += f"Depends: {needs.format(version=version)}\n" if needs else ""
            control += "Description: stand-in of the lab\n"
            desk.put(container, f"{folder}/DEBIAN/control", control.encode())
            size, digest = desk.run(container, MAKE_PACKAGE.format(name=name, version=version, folder=FOLDER)).split()[
                :2
            ]
            index += f"{control}Filename: ./{name}_{version}_amd64.deb\nSize: {size}\nSHA256: {digest}\n\n"
    desk.put(container, f"{FOLDER}/Packages", index.encode())
    release = f"Origin: lab\nSHA256:\n {hashlib.sha256(index.encode()).hexdigest()} {len(index.encode())} Packages\n"
    desk.put(container, f"{FOLDER}/Release", release.encode())
    desk.run(container, SIGN.format(folder=FOLDER, url=REPOSITORY))
    return REPOSITORY
