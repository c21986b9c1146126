# SPDX-License-Identifier: GPL-3.0-or-later
"""What a desk needs, decided over its facts.

Every function takes the desk facts and what is wanted, and returns a dictionary with ``act``, whether anything has
to be done, ``do``, what, and ``reason``, one sentence.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ansible_collections.llmdesk.workstation.plugins.module_utils import daemon_config, docker_settings, wsl_inside
from ansible_collections.llmdesk.workstation.plugins.module_utils.gpu_plan import gpu_plan

GIB = 1024**3

# Measured: the image built on the spot is 1 GB and takes 5 GB of tools and sources while it is made; upstream's image
# is 6 GB unpacked and is downloaded beside it.
IMAGE_SPACE = 12 * GIB
MODEL_SPACE = 3 * GIB


def config_hash(config: dict[str, Any]) -> str:
    """Return the sha256 of a configuration, the same for the same content in any order."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def preflight(desk: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Return what stands in the way, one sentence each, before anything is touched.

    :param wanted: ``port``, ``ollama_port``, and ``remove_conflicting``, whether what conflicts with Docker may go.
    """
    errors = [*filter(None, [wsl_inside.refusal(desk)]), *_strangers(desk, wanted)]
    for port, option, variable in (
        (wanted["port"], "--port", "desk_port"),
        (wanted["ollama_port"], "", "desk_ollama_port"),
    ):
        taken = desk["ports"].get(str(port))
        container = desk["container"]
        # A container of that name holds the port now and gives it up when it is replaced.
        if (
            taken
            and not taken["ours"]
            and not (container and container["state"] == "running" and _held(container, port))
        ):
            way = f"'./llmdesk up {option} {port + 80}'" if option else f"-e {variable}={port + 1}"
            errors.append(
                f"Port {port} is taken by {taken['owner']}. Stop it, or choose another port with {way} "
                f"(variable {variable})."
            )
    needed = (0 if desk["image"] else IMAGE_SPACE) + (0 if desk["ollama"]["models"] else MODEL_SPACE)
    disk = desk["disk"][0]
    if disk["available"] < needed:
        errors.append(
            f"{disk['mount']} has {disk['available'] / GIB:.1f} GiB free, and image and model need "
            f"{needed / GIB:.0f} GiB under {disk['path']}. Free some space, or move Docker's data-root."
        )
    settings = desk["docker"]["daemon_json"]
    if settings["state"] == "invalid":
        errors.append(
            f"{settings['path']} is not valid JSON: {settings['error']}. Docker would not start with it. Mend that "
            "line; nothing was changed."
        )
    if desk["docker"]["state"] == "denied":
        errors.append(
            "Docker's socket may not be opened by this user. Run with become (-K asks for the sudo password), or add "
            "the user to the group docker."
        )
    if desk["docker"]["state"] == "unknown":
        errors.append(
            f"Docker is there and does not answer: {desk['docker']['error']}. Restart it ('systemctl restart docker') "
            "and run again."
        )
    return errors


def _held(container: dict[str, Any], port: int) -> bool:
    return any(entry["host_port"] == port for entry in container["published"])


def _strangers(desk: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Return which program stands in Docker's place, or beside it."""
    docker = desk["docker"]
    off = "switch its integration of this distro off (Settings, Resources, WSL integration)"
    if docker.get("desktop_client") and docker.get("engine"):
        return [
            "This distro has both a Docker Engine (dockerd) and Docker Desktop's integration (/usr/bin/docker leads "
            f"into /mnt/wsl/docker-desktop), and they get in each other's way. Remove the Engine's packages, or {off}."
        ]
    if docker.get("desktop_client") and docker["state"] != "running":
        return [
            "/usr/bin/docker leads to Docker Desktop, which does not run. Start Docker Desktop in Windows, or "
            f"{off}, so that an Engine can be installed here."
        ]
    if (docker.get("podman_client") or docker.get("edition") == "podman") and not wanted.get("remove_conflicting"):
        return [
            "The command docker is Podman's here (package podman-docker), which does not do all that a desk needs. "
            "Remove that package, or let this run do it with -e docker_remove_conflicting=true; Podman itself stays."
        ]
    return []


def docker_plan(desk: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Decide whether Docker has to be installed, started or set.

    :param wanted: ``edition``, ``version``, ``users`` and ``remove_conflicting``, and what
        :func:`docker_settings.settings` takes; all may be left out.
    :returns: also ``config``, what daemon.json has to hold, ``configure``, whether it does not yet, ``users``, who
        is not yet in the group docker, ``moves``, whether Docker would leave its data behind, and ``refused``, why
        nothing of this can be done.
    """
    docker = desk["docker"]
    there = docker["daemon_json"].get("config") or {}
    config = docker_settings.settings(wanted, docker["version"])
    holds = docker.get("holds") or {}
    root = (config.get("data-root") or "").rstrip("/")
    plan = {
        **_engine_plan(desk, wanted),
        "config": config,
        "configure": bool(docker["daemon_json"].get("cut_off")) or not daemon_config.holds(there, config),
        "users": [user for user in wanted.get("users") or [] if user not in (docker.get("group") or [])],
        "moves": bool(root and root != docker.get("root", root).rstrip("/") and any(holds.values())),
    }
    plan["refused"] = "\n".join(filter(None, [*_refusals(desk, wanted, plan), *_strangers(desk, wanted)]))
    if plan["do"] == "nothing" and plan["configure"]:
        keys = [key for key, value in config.items() if not daemon_config.holds(there, {key: value})]
        why = f"{', '.join(keys)} in daemon.json is not as wanted" if keys else "a run that set it was cut off"
        plan.update(do="configure", reason=f"{plan['reason']}, and {why}")
    plan["act"] = plan["do"] != "nothing" or bool(plan["users"] or plan["refused"])
    return plan


def _refusals(desk: dict[str, Any], wanted: dict[str, Any], plan: dict[str, Any]) -> list[str]:
    docker = desk["docker"]
    refused = [docker_settings.refusal(wanted, docker["version"])]
    if plan["do"] == "install" and wanted.get("edition") == "present":
        refused.append(f"{plan['reason'][0].upper()}{plan['reason'][1:]}, and docker_edition=present installs none.")
        if (desk.get("wsl") or {}).get("docker_desktop"):
            refused.append(
                "Docker Desktop runs on this PC and does not serve this distro: switch its integration on (Settings, "
                "Resources, WSL integration)."
            )
    if plan["do"] == "install" and docker["state"] == "running" and docker.get("edition") == "desktop":
        refused.append(
            f"Docker is Docker Desktop's here, and an Engine beside it would get in its way ({plan['reason']}). Docker "
            "Desktop updates itself: leave docker_version and docker_edition away."
        )
    if plan["configure"] and docker.get("edition") == "desktop":
        refused.append(
            "Docker is Docker Desktop's here. Set the same in its window under Docker Engine, and leave the variables "
            f"of the role docker away: {json.dumps(daemon_config.redacted(plan['config']))}"
        )
    return refused


def _engine_plan(desk: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    docker = desk["docker"]
    edition, version = wanted.get("edition") or "auto", str(wanted.get("version") or "")
    if docker["state"] == "running":
        answers = f"Docker {docker['version']} answers"
        if docker.get("edition") == "podman" or docker.get("podman_client"):
            return {"act": True, "do": "install", "reason": "the command docker is Podman's"}
        if edition in ("ce", "distribution") and docker.get("edition") in ({"ce", "distribution"} - {edition}):
            return {"act": True, "do": "install", "reason": f"{answers}, and it is not the edition {edition}"}
        if version and edition != "present" and not is_version(docker["version"], version):
            return {"act": True, "do": "install", "reason": f"{answers}, and {version} is wanted"}
        return {"act": False, "do": "nothing", "reason": answers}
    if docker["state"] == "stopped":
        return {"act": True, "do": "start", "reason": "Docker is installed and does not run"}
    if docker["state"] in ("denied", "unknown"):
        # There is one; a second beside it would break both.
        return {"act": True, "do": "start", "reason": f"Docker is there and does not answer: {docker['error']}"}
    client = " (a client alone is no engine)" if docker["client"] else ""
    return {"act": True, "do": "install", "reason": f"there is no Docker Engine{client}"}


def is_version(version: str, wanted: str) -> bool:
    """Return whether a version is the wanted one, of which only the first numbers may be given."""
    return version == wanted or (version.startswith(wanted) and not version[len(wanted)].isdigit())


def background_tasks(desk: dict[str, Any], wanted: str | bool, gpu: dict[str, Any] | None = None) -> bool:
    """Return whether the page may ask the model for titles, tags and follow-up questions.

    :param wanted: ``auto`` (only with a GPU), or a truth value as YAML or an inventory spells it.
    :param gpu: what is wanted of the GPU, as :func:`gpu_plan` takes it.
    """
    if str(wanted).lower() == "auto":
        return bool(gpu_plan(desk, gpu or {})["path"] != "cpu")
    return str(wanted).lower() in ("true", "yes", "1")


def container_plan(desk: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Decide what the container needs.

    :param wanted: ``config_hash``, which covers the image as well.
    """
    container = desk["container"]
    if desk["container_aside"]:
        return {"act": True, "do": "adopt", "reason": "a run that took over a container was cut off"}
    if container is None:
        return {"act": True, "do": "create", "reason": "there is no container yet"}
    if not container["managed"]:
        return {"act": True, "do": "adopt", "reason": "a container of this name was started by hand"}
    if container["config_hash"] != wanted["config_hash"]:
        return {"act": True, "do": "replace", "reason": "its configuration or image has changed"}
    if container.get("gpu_lost"):
        return {"act": True, "do": "replace", "reason": f"it has lost its GPU ({container['gpu_lost']})"}
    if container["state"] != "running":
        return {"act": True, "do": "start", "reason": f"it is {container['state']}"}
    if container["health"] == "unhealthy":
        return {"act": True, "do": "restart", "reason": "it is unhealthy"}
    if desk["page"]["state"] != "ready":
        return {"act": True, "do": "wait", "reason": "it is still starting"}
    if desk["ollama"]["state"] == "silent":
        return {"act": True, "do": "restart", "reason": "the page runs, but Ollama has died in it"}
    return {"act": False, "do": "nothing", "reason": "it runs as configured"}


def settings_plan(desk: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Decide whether the running page has to be held to its settings.

    :param wanted: ``config``, the settings, and ``always``, true to hold them although nothing has changed.
    :returns: also ``identity``, the hash of everything that the settings depend on.
    """
    identity = config_hash(
        {
            "container": (desk["container"] or {}).get("config_hash"),
            "config": wanted["config"],
            "models": {model["name"]: model["digest"] for model in desk["ollama"]["models"]},
        }
    )
    plan = {"identity": identity}
    if desk["account"]["state"] != "managed":
        return dict(plan, act=False, reason=f"the account is {desk['account']['state']}")
    if wanted.get("always"):
        return dict(plan, act=True, reason="asked to hold them again")
    if (desk["record"]["settings"] or {}).get("identity") == identity:
        return dict(plan, act=False, reason="nothing has changed since they were last held")
    return dict(plan, act=True, reason="page or models have changed since they were last held")


def verify_plan(desk: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Decide whether the page has to be asked.

    :param wanted: ``model`` to ask, empty for the first that the desk was given, and ``ask``: ``changed``,
        ``always`` or ``never``.
    :returns: also ``model`` and ``identity``, the hash of everything the proof is about.
    """
    recorded = [entry["model"] for entry in (desk["record"]["models"] or {}).values() if entry.get("model")]
    present = {model["name"]: model["digest"] for model in desk["ollama"]["models"]}
    model = wanted.get("model") or next((name for name in recorded if name in present), next(iter(present), ""))
    container = desk["container"] or {}
    identity = config_hash(
        {
            "container": container.get("config_hash"),
            "settings": (desk["record"]["settings"] or {}).get("identity"),
            "model": model,
            "digest": present.get(model),
        }
    )
    plan = {"model": model, "identity": identity}
    if wanted["ask"] == "never":
        return dict(plan, act=False, reason="asked only to report")
    if wanted["ask"] == "always":
        return dict(plan, act=True, reason="asked to prove it now")
    if desk["account"]["state"] == "unmanaged":
        return dict(plan, act=False, reason="the page has accounts that llmdesk did not make")
    if (desk["record"]["proof"] or {}).get("identity") == identity:
        return dict(plan, act=False, reason="the last proof still holds")
    return dict(plan, act=True, reason="nothing was proved since the last change")


def image_plan(desk: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Decide whether an image has to be found.

    :param wanted: ``sources``, the ordered list, and ``upgrade``, true to look anew.
    """
    record = desk["record"]["image"]
    if wanted.get("upgrade"):
        return {"act": True, "do": "resolve", "reason": "asked to look for the image anew"}
    if record is None:
        return {"act": True, "reason": "no image was found yet"}
    if record.get("wanted") != wanted["sources"]:
        return {"act": True, "reason": "the list of sources has changed"}
    if desk["image"] is None:
        return {"act": True, "reason": f"the image {record.get('reference')} is gone"}
    return {"act": False, "reason": f"{record.get('reference')} is here"}


def account_plan(desk: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Decide whether the administrator has to be made, or made known.

    :param wanted: ``password_given``, whether the user named a password.
    """
    state = desk["account"]["state"]
    container = desk["container"]
    if state == "none":
        return {"act": True, "reason": "the page has no account yet"}
    if state == "unmanaged":
        return {"act": wanted["password_given"], "reason": "the page has accounts that llmdesk did not make"}
    if desk["record"]["account"] and desk["account"]["password_file_exists"]:
        return {"act": False, "reason": "the administrator was made by an earlier run"}
    if state == "unknown" and not (container and container["managed"]):
        # Ours is started only after its account was made; anybody else's says nothing.
        return {"act": True, "reason": "the data volume may have no account yet"}
    return {"act": False, "reason": "the administrator is known"}
