# SPDX-License-Identifier: GPL-3.0-or-later
"""The way out of a desk's network: its proxy, and the authorities that it trusts beside the system's own.

An address and what opens it go separate ways. ``proxy`` is a dictionary with ``http``, ``https`` (addresses without
user and password) and ``no_proxy`` (a list), and may be shown; ``credentials`` has ``http`` and ``https`` as
``user:password``, percent-encoded, and is never shown.
"""

from __future__ import annotations

# Every worker of a run reads this file: what asks the network itself is imported where it does so.
import base64
import hashlib
import json
import os
import re
import socket
import threading
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit

PAGE = "docs/proxies.md"
KINDS = ("http", "https")
PORTS = {"http": 80, "https": 443}
LOOPBACK = ("localhost", "127.0.0.1", "::1", "0.0.0.0")
"""What never goes through a proxy: the page talks to Ollama, and this collection to both, on loopback; the last is how
``ollama`` itself calls its server in the container, after ``OLLAMA_HOST``."""

ARGUMENTS: dict[str, Any] = {
    "proxy": {
        "type": "dict",
        "options": {
            "http": {"type": "str"},
            "https": {"type": "str"},
            "no_proxy": {"type": "list", "elements": "str"},
        },
    },
    "proxy_credentials": {"type": "dict", "no_log": True},
}
"""The options of a module that goes through the desk's proxy."""

_NAME = re.compile(r"[\w.*:/\[\]-]+$")
_REFUSED = re.compile(r"\b407\b|Proxy Authentication Required", re.IGNORECASE)
_USERINFO = re.compile(r"(\w+://)[^\s/@'\"]+(?::[^\s/'\"]*)?@")

# --- What is wanted -------------------------------------------------------------------------------------------------


def settings(given: Any) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """Return proxy, credentials, and what is wrong with them, one sentence each, out of the variable ``desk_proxy``.

    One address stands for both kinds of traffic. What is wrong is left out of the first two.
    """
    if not given:
        return {}, {}, []
    if not isinstance(given, dict):
        return {}, {}, [_wrong("is no mapping with http, https and no_proxy")]
    errors = [_wrong(f"has {name!r}, and only http, https and no_proxy are known") for name in _unknown(given)]
    proxy: dict[str, Any] = {}
    credentials: dict[str, str] = {}
    for kind in KINDS:
        address = given.get(kind)
        if not address:
            continue
        try:
            proxy[kind], opened = split(str(address))
        except ValueError as error:
            errors.append(_wrong(f"{kind}: {error}"))
            continue
        if opened:
            credentials[kind] = opened
    for kind, other in (("http", "https"), ("https", "http")):
        if not given.get(kind) and other in proxy:
            proxy[kind] = proxy[other]
            credentials.update({kind: credentials[other]} if other in credentials else {})
    if not any(given.get(kind) for kind in KINDS):
        errors.append(_wrong("names no proxy: give http, https, or both"))
    direct = given.get("no_proxy") or []
    names = [str(name) for name in (re.split(r"[,\s]+", direct.strip()) if isinstance(direct, str) else direct)]
    errors += [_wrong(f"no_proxy: {name!r} is no host, domain or network") for name in names if not _NAME.match(name)]
    if proxy:
        proxy["no_proxy"] = [name for name in names if _NAME.match(name)]
    return proxy, credentials, errors


def split(address: str) -> tuple[str, str]:
    """Return an address without user and password, and these as ``user:password``; empty where there are none.

    :raises ValueError: it is no proxy's address; the text does not repeat it, for it may hold a password.
    """
    scheme, found, _rest = address.partition("://")
    if not found or not scheme:
        raise ValueError("the address has to begin with http://, as http://proxy.example.com:3128 does")
    if scheme.lower() not in KINDS:
        raise ValueError(
            f"{scheme[:12]} is no kind of proxy that apt, Docker and Python have in common; name an HTTP proxy"
        )
    encode = (
        "host or port cannot be read. Special characters in a password are written percent-encoded: @ as %40, / as "
        "%2F, # as %23, : as %3A"
    )
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(encode) from None
    if not host or parts.path.strip("/") or parts.query or parts.fragment or re.search(r"[^\w.:-]", host):
        raise ValueError(encode)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if re.search(r"\s", user + password):
        raise ValueError("user and password may have no blank, which apt cannot read")
    plain = f"{scheme.lower()}://{f'[{host}]' if ':' in host else host}:{port or PORTS[scheme.lower()]}"
    return plain, f"{quote(user, safe='')}:{quote(password, safe='')}" if user else ""


def redacted(text: str) -> str:
    """Return a text without the user and the password of any address in it."""
    return _USERINFO.sub(r"\1", text)


def _unknown(given: dict[str, Any]) -> list[str]:
    return sorted(str(name) for name in given if name not in (*KINDS, "no_proxy"))


def _wrong(what: str) -> str:
    return f"desk_proxy {what}. Nothing was changed; {PAGE} has examples."


# --- How each part takes it -----------------------------------------------------------------------------------------


def address(proxy: dict[str, Any] | None, credentials: dict[str, str] | None, kind: str) -> str:
    """Return a proxy's whole address, empty where there is none."""
    plain = (proxy or {}).get(kind) or ""
    opened = (credentials or {}).get(kind)
    return plain.replace("://", f"://{opened}@", 1) if plain and opened else plain


def environment(
    proxy: dict[str, Any] | None, credentials: dict[str, str] | None = None, names: tuple[str, ...] = ()
) -> dict[str, str]:
    """Return the variables that programs go by, in both cases, since some read only one.

    :param names: more names that are reached without the proxy.
    """
    if not proxy:
        return {}
    direct = dict.fromkeys((*LOOPBACK, *names, *(proxy.get("no_proxy") or [])))
    found = {"no_proxy": ",".join(filter(None, direct))}
    found.update({f"{kind}_proxy": address(proxy, credentials, kind) for kind in KINDS})
    return {name: value for low, value in sorted(found.items()) if value for name in (low, low.upper())}


def shell(variables: dict[str, str], export: bool = False) -> str:
    """Return variables as lines that a shell and systemd (``EnvironmentFile``) both read."""
    return "".join(f"{'export ' if export else ''}{name}='{value}'\n" for name, value in sorted(variables.items()))


def daemon_proxies(proxy: dict[str, Any]) -> dict[str, str]:
    """Return the key ``proxies`` of Docker's daemon.json."""
    variables = environment(proxy)
    return {f"{name}-proxy": variables[f"{name}_proxy"] for name in ("http", "https", "no")} if variables else {}


def same_host(one: str, other: str) -> bool:
    """Return whether two addresses of proxies mean the same one, whoever opens it."""
    try:
        return bool(one) and bool(other) and urlsplit(one)[1].split("@")[-1] == urlsplit(other)[1].split("@")[-1]
    except ValueError:
        return False


class File(NamedTuple):
    """A file of the desk.

    :param private: whether only root may read it.
    :param block: what the file is of somebody else's, where only a block of lines is ours: the line that it follows,
        empty for the end of the file; None where the whole file is ours.
    """

    path: str
    text: str
    private: bool = False
    block: str | None = None


def files(
    family: str,
    proxy: dict[str, Any] | None,
    credentials: dict[str, str] | None,
    config_dir: str,
    names: tuple[str, ...] = (),
) -> list[File]:
    """Return the files that bring a proxy to a desk's package manager, to Docker and to the container.

    :param family: the distribution's, as the desk facts have it.
    :param names: of the container and its desk, which are reached without the proxy.
    """
    if not proxy:
        return []
    found = [
        File(os.path.join(config_dir, "docker.env"), shell(environment(proxy, credentials)), private=True),
    ]
    if credentials:
        # Bash reads it before the script that it runs, so that no password stands in the container's configuration.
        variables = environment(proxy, credentials, names)
        found.append(File(container_file(config_dir), shell(variables, export=True) + OLLAMA_LOG, private=True))
    return found + _PACKAGE_MANAGERS.get(family, _nothing)(proxy, credentials or {})


# Ollama begins its log with its whole environment, and Docker keeps the log.
OLLAMA_LOG = """ollama() { command ollama "$@" 2>&1 | sed -u 's#://[^/@[:space:]]*@#://#g'; }
"""


def container_file(config_dir: str) -> str:
    """Return the path of the file that a container's shell reads, where the proxy has a password."""
    return os.path.join(config_dir, "container", "proxy.sh")


def _apt(proxy: dict[str, Any], credentials: dict[str, str]) -> list[File]:
    lines = [f'Acquire::{kind}::Proxy "{proxy[kind]}";' for kind in KINDS]
    exact = [name for name in proxy.get("no_proxy") or [] if re.match(r"[\w-][\w.-]*$", name)]
    lines += [f'Acquire::{kind}::Proxy::{name} "DIRECT";' for name in exact for kind in KINDS]
    found = [File("/etc/apt/apt.conf.d/95llmdesk-proxy", _ours("//") + "\n".join(lines) + "\n")]
    machines = {proxy[kind]: credentials[kind].split(":", 1) for kind in KINDS if kind in credentials}
    if machines:
        text = "".join(
            f"machine {host} login {unquote(user)} password {unquote(password)}\n"
            for host, (user, password) in machines.items()
        )
        found.append(File("/etc/apt/auth.conf.d/llmdesk-proxy.conf", text, private=True))
    return found


def _dnf(proxy: dict[str, Any], credentials: dict[str, str]) -> list[File]:
    lines = [f"proxy={proxy['https']}"]
    if "https" in credentials:
        user, password = credentials["https"].split(":", 1)
        lines += [f"proxy_username={unquote(user)}", f"proxy_password={unquote(password)}"]
    text = "\n".join(lines) + "\n"
    return [File("/etc/dnf/dnf.conf", text, private="https" in credentials, block="[main]")]


def _zypper(proxy: dict[str, Any], credentials: dict[str, str]) -> list[File]:
    variables = environment(proxy, credentials)
    wanted = {name: variables[name] for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")}
    return [
        File("/etc/sysconfig/proxy", shell({"PROXY_ENABLED": "yes", **wanted}), private=bool(credentials), block="")
    ]


def _nothing(proxy: dict[str, Any], credentials: dict[str, str]) -> list[File]:
    return []


_PACKAGE_MANAGERS: dict[str, Callable[[dict[str, Any], dict[str, str]], list[File]]] = {
    "debian": _apt,
    "redhat": _dnf,
    "suse": _zypper,
}

BEGIN, END = "# llmdesk: begin", "# llmdesk: end"


def _ours(comment: str) -> str:
    return f"{comment} Written by llmdesk out of desk_proxy; what is changed here is lost.\n"


def with_block(text: str, block: str, after: str) -> str:
    """Return a text with our lines in it, or without them where there are none.

    :param after: the line that they follow; the end of the text when empty, or where there is no such line.
    """
    bare = re.sub(rf"^{re.escape(BEGIN)}\n.*?^{re.escape(END)}\n", "", text, flags=re.MULTILINE | re.DOTALL)
    if not block:
        return bare
    bare = bare if not bare or bare.endswith("\n") else bare + "\n"
    ours = f"{BEGIN}\n{block}{END}\n"
    found = re.search(rf"^{re.escape(after)}[ \t]*\n", bare, re.MULTILINE) if after else None
    if found is None:
        return bare + (f"{after}\n" if after else "") + ours
    return bare[: found.end()] + ours + bare[found.end() :]


# --- Authorities ----------------------------------------------------------------------------------------------------

TRUST_STORES = (
    ("/usr/local/share/ca-certificates", ".crt", "update-ca-certificates"),  # Debian and its kin
    ("/etc/pki/trust/anchors", ".pem", "update-ca-certificates"),  # openSUSE
    ("/etc/pki/ca-trust/source/anchors", ".pem", "update-ca-trust"),  # Fedora and the RHEL family
    ("/etc/ca-certificates/trust-source/anchors", ".crt", "update-ca-trust"),  # Arch
)
"""Folder of more authorities, how their files end, and the program that takes them in."""

BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
)
"""Where systems keep everything that they trust, in one file."""

IN_CONTAINER = "/etc/ssl/certs/ca-certificates.crt"


def trust_store(is_folder: Callable[[str], bool], program: Callable[[str], Any]) -> tuple[str, str, str] | None:
    """Return the trust store of a system, None where it has none that is known."""
    return next((store for store in TRUST_STORES if is_folder(store[0]) and program(store[2])), None)


# --- A proxy that does not want us ----------------------------------------------------------------------------------


def refused(text: str, plain: str, opened: bool) -> str:
    """Return one sentence where a text tells of a proxy that wants another user or password, empty otherwise.

    :param plain: the proxy's address without user and password.
    :param opened: whether it was given any.
    """
    if not plain or not _REFUSED.search(text):
        return ""
    scheme, host = plain.split("://", 1)
    host = host.rstrip("/")
    if opened:
        return (
            f"the proxy {host} does not take the user and the password of desk_proxy (HTTP 407): see that they are "
            f"right, and that special characters are percent-encoded ({PAGE})"
        )
    return (
        f"the proxy {host} wants a user and a password (HTTP 407): write them into desk_proxy, as "
        f"{scheme}://USER:PASSWORD@{host} ({PAGE})"
    )


def blame(proxy: dict[str, Any] | None, credentials: dict[str, str] | None, text: str) -> str:
    """Return a text, or the sentence that says which proxy is behind it; never a password."""
    sentence = refused(text, (proxy or {}).get("https") or "", "https" in (credentials or {}))
    return sentence or redacted(text)


SLOW = "no answer yet"


def tunnel(address: str, host: str, port: int, timeout: float) -> str:
    """Ask a proxy for a way to a host and return what it says against it, empty where it makes one.

    Its answer begins with the HTTP status where it has given one, and is :data:`SLOW` where it gives none in time.

    :raises OSError: the proxy itself does not answer.
    """
    import http.client

    parts = urlsplit(address)
    if parts.scheme != "http":  # What it is asked goes through TLS, which is left to the programs that use it.
        socket.create_connection((parts.hostname or "", parts.port or 443), timeout).close()
        return ""
    headers = {}
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Proxy-Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=timeout)
    connection.set_tunnel(host, port, headers)
    try:
        connection.connect()
    except http.client.HTTPException as error:
        return f"it does not answer as a proxy does ({type(error).__name__})"
    except OSError as error:
        if isinstance(error, socket.timeout) and connection.sock is not None:
            return SLOW  # It is there, and looks for the host.
        found = re.search(r"Tunnel connection failed: (.*)", str(error))
        if not found:
            raise
        return found.group(1).strip()
    finally:
        connection.close()
    return ""


def in_time(work: Callable[[], str], seconds: float) -> str | None:
    """Return what the work returns, or the text of its OSError; None where it takes longer.

    A name server may be silent for longer than any time-out of a socket.
    """
    ended: list[str] = []

    def run() -> None:
        try:
            ended.append(work())
        except OSError as error:
            ended.append(str(error.strerror or error) or type(error).__name__)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return ended[0] if ended else None


def bundle(exists: Callable[[str], bool]) -> str | None:
    """Return the file with everything that a system trusts, None where it is not known."""
    return next(filter(exists, BUNDLES), None)


def in_use() -> tuple[str, bool]:
    """Return the proxy that this process goes through, without user and password, and whether it was given any."""
    from urllib.request import getproxies

    try:
        plain, opened = split(getproxies().get("https", ""))
    except ValueError:
        return "", False
    return plain, bool(opened)


def opener() -> Any:
    """Return what opens addresses (an ``OpenerDirector``), through this process's proxy.

    It trusts what curl, apt, Docker and Ollama trust. From 3.13 on Python wants more of a certificate, extensions such
    as the Authority Key Identifier (``ssl.VERIFY_X509_STRICT``), and a proxy that re-signs TLS may leave them out.
    """
    import ssl
    import urllib.request

    context = ssl.create_default_context()
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    # Made anew: Python keeps the first that it has made, with the proxies of that time.
    return urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))


def use(proxy: dict[str, Any] | None, credentials: dict[str, str] | None) -> None:
    """Let this process, and all that it starts, go through a proxy."""
    os.environ.update(environment(proxy, credentials))


# --- What stands ----------------------------------------------------------------------------------------------------

STATE = "network.json"


def fingerprint(pem: str) -> str:
    """Return the sha256 of a certificate, in hex.

    :raises ValueError: the text is no certificate in PEM.
    """
    from ssl import PEM_cert_to_DER_cert

    return hashlib.sha256(PEM_cert_to_DER_cert(pem)).hexdigest()


def mark(text: str | None, block: str | None) -> str | None:
    """Return the sha256 of what is ours in a file's text, None where nothing is."""
    if text is None:
        return None
    if block is not None:
        found = re.search(rf"^{re.escape(BEGIN)}\n(.*?)^{re.escape(END)}\n", text, re.MULTILINE | re.DOTALL)
        if found is None:
            return None
        text = found.group(1)
    return hashlib.sha256(text.encode()).hexdigest()


def standing(kept: str | None, wanted: dict[str, Any], read: Callable[[str], str | None]) -> dict[str, Any]:
    """Return what is set on a desk, and whether it is what is wanted. Nothing of it is secret.

    :param kept: the text of the desk's own note, None where there is none.
    :param wanted: ``proxy``, ``credentials`` and ``certificates``, the fingerprints.
    :param read: returns a file's text, None where there is none.
    :returns: ``state``: ``none``, ``right`` or ``differs``, ``reason``, ``revision``, a word that is drawn anew at
        every change and tells nothing of it, ``proxy``, ``credentials``, whether there are any, and ``certificates``.
    """
    found: dict[str, Any] = {"revision": None, "proxy": None, "credentials": False, "certificates": []}
    asked = {
        "proxy": _filled(wanted.get("proxy")),
        "credentials": _filled(wanted.get("credentials")),
        "certificates": sorted(wanted.get("certificates") or []),
    }
    if kept is None:
        if not any(asked.values()):
            return dict(found, state="none", reason="desk_proxy and desk_ca_certificates are not set")
        return dict(found, state="differs", reason="desk_proxy or desk_ca_certificates were never set here before")
    try:
        note = json.loads(kept)
        stands = note["wanted"]
        found.update(
            revision=note["revision"],
            proxy=stands["proxy"] or None,
            credentials=bool(stands["credentials"]),
            certificates=stands["certificates"],
        )
        files = note["files"].items()
    except (ValueError, KeyError, TypeError, AttributeError):
        return dict(found, state="differs", reason="the note of what is set here cannot be read")
    for name, variable in (("proxy", "desk_proxy"), ("certificates", "desk_ca_certificates")):
        if stands[name] != asked[name]:
            return dict(found, state="differs", reason=f"{variable} has changed")
    if stands["credentials"] != asked["credentials"]:
        return dict(found, state="differs", reason="user or password of desk_proxy have changed")
    if not note.get("complete"):
        return dict(found, state="differs", reason="a run that set them was cut off")
    for path, entry in files:
        if mark(read(path), entry["block"]) != entry["sha256"]:
            return dict(found, state="differs", reason=f"{path} is not as it was written")
    return dict(found, state="right", reason="proxy and authorities are set as wanted")


def _filled(given: dict[str, Any] | None) -> dict[str, Any]:
    """Return a dictionary without what is empty, as modules hand over what was not given."""
    return {name: value for name, value in (given or {}).items() if value}


# --- Decisions ------------------------------------------------------------------------------------------------------


def network_plan(desk: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Decide whether proxy and authorities have to be set, or taken away."""
    network = desk["network"]
    return {"act": network["state"] == "differs", "reason": network["reason"]}


def docker_way(desk: dict[str, Any]) -> str:
    """Return how Docker on a desk is told its proxy.

    ``daemon_json`` is its own key, from 23.0 on. A password goes into a file that only root can read instead, since
    everybody can read daemon.json: by a ``drop_in`` of systemd, or by the ``environment`` that it is started in.
    ``none`` where there is no proxy.
    """
    network = desk["network"]
    if not network["proxy"]:
        return "none"
    if not network["credentials"] and _major(desk["docker"]["version"]) >= 23:
        return "daemon_json"
    return "drop_in" if desk["service_manager"] == "systemd" else "environment"


def docker_proxy_plan(desk: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Decide whether Docker has to be told of the proxy, or of authorities, which it reads when it starts.

    :returns: also ``way``, of :func:`docker_way`, ``before``, the way of an earlier run, and ``proxies``, the key of
        daemon.json, empty where it has none.
    """
    network, told = desk["network"], desk["record"].get("network") or {}
    way, before = docker_way(desk), told.get("way") or "none"
    plan = {
        "way": way,
        "before": before,
        "proxies": daemon_proxies(network["proxy"]) if way == "daemon_json" else {},
    }
    # It may run on this PC and serve other distributions than this one.
    if desk["docker"].get("edition") == "desktop" or desk["docker"].get("desktop_client"):
        return dict(plan, act=False, reason="Docker Desktop has settings of its own for a proxy")
    if desk["docker"]["state"] != "running":
        return dict(plan, act=False, reason=f"Docker is {desk['docker']['state']}")
    if told.get("revision") != network["revision"]:
        return dict(plan, act=True, reason="proxy or authorities have changed since Docker was told of them")
    if way != before:
        return dict(plan, act=True, reason=f"this Docker is told by another way: {way}")
    if way != "none" and not same_host(network["proxy"]["https"], desk["docker"]["proxy"]["https"]):
        return dict(plan, act=True, reason="Docker does not go through the proxy")
    return dict(plan, act=False, reason="Docker knows them")


def container_network(network: dict[str, Any], config_dir: str, bundle: str | None, names: list[str]) -> dict[str, Any]:
    """Return what a container needs to go through the proxy and to trust what its desk trusts.

    :param bundle: the file with everything that the desk trusts.
    :param names: names of the container and its desk, which are reached without the proxy.
    :returns: ``environment`` and ``volumes``, and ``revision`` for the configuration's hash; empty without any.
    """
    if not network["revision"]:
        return {}
    variables: dict[str, str] = {}
    volumes = []
    if network["proxy"] and network["credentials"]:
        path = container_file(config_dir)
        variables["BASH_ENV"] = path
        # Its folder: in the place of a file that is gone, Docker would make a folder of that name.
        volumes.append(f"{os.path.dirname(path)}:{os.path.dirname(path)}:ro")
    elif network["proxy"]:
        variables.update(environment(network["proxy"], names=tuple(names)))
    if network["certificates"] and bundle:
        variables.update(SSL_CERT_FILE=IN_CONTAINER, REQUESTS_CA_BUNDLE=IN_CONTAINER)
        volumes.append(f"{bundle}:{IN_CONTAINER}:ro")
    return {"environment": variables, "volumes": volumes, "revision": network["revision"]}


def shell_proxy(desk: dict[str, Any], variables: dict[str, str], hostname: str) -> str:
    """Return a warning where a person's shell has a proxy and the desk, the same machine, has none; else empty."""
    given = next(
        (name for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy") if variables.get(name)), ""
    )
    if not given or (desk.get("network") or {}).get("proxy") or (desk.get("system") or {}).get("hostname") != hostname:
        return ""
    return (
        f"Your shell has {given}, and desk_proxy is not set: Docker, the container and Ollama do not use your shell's "
        f"proxy. Set desk_proxy if this network needs one ({PAGE})."
    )


def _major(version: str | None) -> int:
    found = re.match(r"\d+", version or "")
    return int(found.group()) if found else 0
