# SPDX-License-Identifier: GPL-3.0-or-later
"""What a registry says of a model before anything is pulled: whether it is there, which bytes, how many.

Facts measured on registry.ollama.ai and docker-registry 2.8: without the Accept header a plain registry answers 400;
the sha256 of the body is the digest that a server from 0.19 on lists for a model it has pulled.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from ansible_collections.llmdesk.workstation.plugins.module_utils import model_manifest, model_name, network
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_manifest import Manifest

LONGEST = 4 * 1024 * 1024  # No manifest is longer; a page of a captive portal might be.
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_Answer = TypeVar("_Answer")


class RegistryError(Exception):
    """A registry did not give a manifest.

    :param reason: ``not_found``, ``unauthorized``, ``rate_limited``, ``registry_error``, ``unreachable`` or
        ``not_a_registry``.
    :param wait: seconds after which it may be asked again, None where that helps nothing.
    """

    def __init__(self, message: str, reason: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.wait = wait


def manifest(name: str, timeout: float, insecure: bool = False) -> Manifest:
    """Return the manifest under a name.

    :param timeout: seconds that the registry may be silent; a name server that says nothing counts with it.
    :param insecure: true for a registry that speaks plain http, as Ollama understands the word.
    :raises RegistryError: it was not to be had.
    """
    host, namespace, model, tag = model_name.parts(name)
    url = f"{'http' if insecure else 'https'}://{host}/v2/{namespace}/{model}/manifests/{tag}"
    body = in_time(lambda: _get(host, url, name, timeout), host, timeout)
    try:
        return model_manifest.parse(body)
    except model_manifest.NotAManifest as error:
        raise RegistryError(
            f"{host} answers, but not as a registry does; sign in first if this network wants that",
            "not_a_registry",
        ) from error


def _get(host: str, url: str, name: str, timeout: float) -> bytes:
    headers = {"Accept": model_manifest.MEDIA_TYPE}
    try:
        return _fetch(url, headers, timeout)
    except urllib.error.HTTPError as error:
        if error.code != 401:
            raise refusal(error, host, name) from error
        opened = token(error.headers.get("WWW-Authenticate") or "", host, timeout)
        if not opened:
            raise refusal(error, host, name) from error
    try:
        return _fetch(url, dict(headers, Authorization=f"Bearer {opened}"), timeout)
    except urllib.error.HTTPError as error:
        raise refusal(error, host, name) from error


def _fetch(url: str, headers: dict[str, str], timeout: float) -> bytes:
    with network.opener().open(urllib.request.Request(url, headers=headers), timeout=timeout) as response:
        body = bytes(response.read(LONGEST))
        if response.length:
            raise http.client.IncompleteRead(body, response.length)
        return body


def token(challenge: str, host: str, timeout: float) -> str:
    """Return the token that a registry has for everybody, empty where it has none."""
    asked = dict(_CHALLENGE.findall(challenge))
    realm = asked.pop("realm", "")
    # A registry that sends people elsewhere for a token may send them anywhere; Ollama refuses that as well.
    if urllib.parse.urlsplit(realm).hostname != urllib.parse.urlsplit("//" + host).hostname:
        return ""
    try:
        answer: Any = json.loads(_fetch(f"{realm}?{urllib.parse.urlencode(asked)}", {}, timeout))
        return str(answer.get("token") or answer.get("access_token") or "")
    except (OSError, ValueError, AttributeError, http.client.HTTPException):
        return ""


def refusal(error: urllib.error.HTTPError, host: str, name: str) -> RegistryError:
    """Return what a registry's answer about a model means."""
    if error.code == 407:
        return RegistryError(network.refused("407", *network.in_use()) or f"a proxy refuses {host}", "unreachable")
    if error.code == 404:
        return RegistryError(f"{host} has no such model; its tags stand at {model_name.tags(name)}", "not_found")
    if error.code in (401, 403):
        return RegistryError(f"{host} gives {name} only to people it knows (HTTP {error.code})", "unauthorized")
    if error.code == 429:
        wait = retry_after(error.headers.get("Retry-After"), error.headers.get("Date"))
        return RegistryError(f"{host} asks to come back in {wait:g} s: too many requests", "rate_limited", wait)
    again = 1.0 if error.code >= 500 else None
    return RegistryError(f"{host} answers with HTTP {error.code} {error.reason}", "registry_error", again)


def retry_after(said: str | None, date: str | None = None) -> float:
    """Return the seconds that a ``Retry-After`` header asks for (RFC 9110: seconds, or a date); 5 without one."""
    try:
        return max(0.0, float(said or 5))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(said or "") - parsedate_to_datetime(date or "")).total_seconds())
    except (TypeError, ValueError):
        return 5.0


def in_time(work: Callable[[], _Answer], host: str, timeout: float) -> _Answer:
    """Return what the work returns, or give up: a name server may be silent for longer than any socket's time-out."""
    ended: list[_Answer] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            ended.append(work())
        except BaseException as error:  # handed over to the thread that waits
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(timeout * 2)
    if ended:
        return ended[0]
    if not failed:
        raise RegistryError(f"{host} did not answer within {timeout:g} s", "unreachable")
    raise unreachable(failed[0], host, timeout)


def unreachable(error: BaseException, host: str, timeout: float) -> BaseException:
    """Return what a line that broke means, and any other error as it is."""
    cause = getattr(error, "reason", error) if isinstance(error, urllib.error.URLError) else error
    if isinstance(error, RegistryError) or not isinstance(error, (OSError, http.client.HTTPException)):
        return error
    if isinstance(cause, (socket.timeout, TimeoutError)):
        return RegistryError(f"{host} did not answer within {timeout:g} s", "unreachable")
    if isinstance(cause, ssl.SSLCertVerificationError):
        return RegistryError(
            f"{host} cannot be reached: its certificate is not one that this machine trusts "
            f"({cause.verify_message}). Name its authority's in desk_ca_certificates ({network.PAGE})",
            "unreachable",
        )
    refused = network.refused(str(cause), *network.in_use())
    if refused:
        return RegistryError(refused, "unreachable")
    # Who has answered and broken off may answer again.
    again = 1.0 if isinstance(cause, (ConnectionResetError, http.client.HTTPException)) else None
    return RegistryError(f"{host} cannot be reached: {getattr(cause, 'strerror', None) or cause}", "unreachable", again)
