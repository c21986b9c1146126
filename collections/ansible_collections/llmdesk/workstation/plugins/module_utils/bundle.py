# SPDX-License-Identifier: GPL-3.0-or-later
"""What a bundle is: a folder with everything that a room without a network needs, and who needs what of it.

``bundle.json`` comes last: without it, a folder is no bundle. ``SHA256SUMS`` has the same sums for people.

    images/    the images, in the layout that OCI has for them
    models/    the models, laid out as Ollama's store is, and the demo model's file where it stands in for one
    packages/  a folder of Debian packages for each system, with an index that apt reads
    wheels/    what llmdesk itself is made of besides
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.llmdesk.workstation.plugins.module_utils.demo_model import DEMO
from ansible_collections.llmdesk.workstation.plugins.module_utils.image_source import with_mirrors
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_choice import is_auto
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_name import BadName, canonical, parts
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_plan import declared

CONTENT = "bundle.json"
SUMS = "SHA256SUMS"
DEMO_FILE = f"models/{DEMO['sha256']}.gguf"

# Whose packages a bundle can have: the name that a person types, the suite, and the Python that llmdesk runs on there.
SYSTEMS = {
    "debian-12": ("bookworm", "3.11"),
    "debian-13": ("trixie", "3.13"),
    "ubuntu-22.04": ("jammy", "3.11"),
    "ubuntu-24.04": ("noble", "3.12"),
}
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class NoBundle(Exception):
    """The folder has no whole bundle in it; the text is a sentence that says what to do."""


def machine() -> str:
    """Return this machine's architecture as dpkg says it."""
    return ARCHITECTURES.get(platform.machine(), platform.machine())


def system_name(codename: str, architecture: str) -> str:
    """Return what a system is called in a bundle, such as ``debian-13-amd64``; empty for one whose packages none has.

    :param codename: of the suite that its packages come from.
    :param architecture: as the kernel or as dpkg says it.
    """
    name = next((name for name, (suite, _python) in SYSTEMS.items() if suite == codename), "")
    return f"{name}-{ARCHITECTURES.get(architecture, architecture)}" if name else ""


COUNTED = ("open_webui_image_sources", "open_webui_image_mirrors", "ollama_models")
"""The variables of a desk that say what has to be in a bundle for it."""


def wanted(desks: Sequence[Mapping[str, Any]], defaults: dict[str, Any], systems: list[str]) -> dict[str, Any]:
    """Return what has to be in a bundle for desks.

    :param desks: the variables of each, with what it said of itself where it answered: codename and architecture.
    :param defaults: of the variables that count.
    :param systems: what was named, each with or without its architecture; what the desks say where it is empty.
    :returns: ``images``, a list of sources each, ``models``, declared models in full, ``systems``, ``silent``, the
        desks whose systems nobody knows, and ``errors``.
    """
    images: list[Any] = []
    models: list[Any] = []
    found: list[str] = []
    silent: list[str] = []
    errors: list[str] = []
    for desk in desks:
        given = {name: desk[name] if name in desk else defaults[name] for name in COUNTED}
        host = desk["inventory_hostname"]
        sources = with_mirrors(given["open_webui_image_sources"], given["open_webui_image_mirrors"])
        images += [sources] * (sources not in images)
        for entry in given["ollama_models"]:
            if is_auto(entry):
                errors.append(
                    f"{host} chooses its model by itself (ollama_models: auto), which nobody can bring along "
                    "beforehand. Name one: --model NAME, or './llmdesk fit' on a desk says which."
                )
                continue
            whole = declared(entry)
            errors += _unkept(host, whole)
            models += [whole] * (whole["state"] != "absent" and whole not in models)
        said = str(desk.get("__bundle_said", {}).get("stdout") or "").split()
        if len(said) != 2:
            silent.append(host)
        elif not systems:
            name = system_name(*said)
            if not name:
                errors.append(
                    f"{host} has a system whose packages no bundle has. Install Docker and python3-requests "
                    f"there before, and name the systems of the other desks ({_known()}), or none: --system none."
                )
            found += [name] * (bool(name) and name not in found)
    for given_name in systems:
        name = given_name if given_name.count("-") > 1 else f"{given_name}-amd64"
        if given_name != "none" and name.rpartition("-")[0] not in SYSTEMS:
            errors.append(f"{given_name} is no system whose packages a bundle has: {_known()}.")
        found += [name] * (given_name != "none" and name not in found)
    if len({name.rpartition("-")[2] for name in found}) > 1:
        errors.append(f"A bundle is for machines of one kind, and these are {', '.join(found)}: make one for each.")
    if not systems and not found and not errors:
        errors.append(
            "No desk has answered, so nobody knows which packages they need. Name their systems: --system debian-13 "
            f"({_known()})."
        )
    return {
        "images": images,
        "models": models,
        "systems": found,
        "silent": [] if systems else silent,
        "errors": list(dict.fromkeys(errors)),
    }


def _unkept(host: str, model: dict[str, Any]) -> list[str]:
    """Return why a declared model cannot be kept in a bundle."""
    if model["state"] == "absent":
        return []
    name = (model.get("create") or {}).get("from") or model["name"]
    try:
        registry = parts(name)[0]
    except BadName as error:
        return [f"{host}: {error}"]
    if ":" not in registry:
        return []
    # exFAT takes no folder with a colon in its name.
    return [f"{host} wants {name}: declare it under a plain name, with that registry in sources."]


def _known() -> str:
    return ", ".join(SYSTEMS)


def read(folder: str) -> dict[str, Any]:
    """Return what is in a bundle.

    :raises NoBundle: there is none, or it is not whole.
    """
    path = os.path.join(folder, CONTENT)
    try:
        with open(path, encoding="utf-8") as file:
            content: dict[str, Any] = json.load(file)
    except (OSError, ValueError) as error:
        raise NoBundle(
            f"{folder} has no whole bundle in it ({CONTENT} is missing or damaged). Type './llmdesk bundle {folder}' "
            "on a machine with a network: it carries on from what is there."
        ) from error
    for name, file_ in content["files"].items():
        there = os.path.join(folder, name)
        size = os.path.getsize(there) if os.path.exists(there) else None
        if size != file_["size"]:
            what = "is missing" if size is None else f"has {size} bytes, and not {file_['size']}"
            raise NoBundle(f"{there} {what}. {again(folder)}")
    return content


def again(folder: str) -> str:
    """Return what mends a bundle."""
    return f"Type './llmdesk bundle {folder}' on a machine with a network: it brings what is wrong anew, and no more."


def for_desk(bundle: dict[str, Any], desk: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """Return what one desk needs of a bundle.

    :param bundle: as :func:`read` returns it, or with ``error``, why there is none.
    :param desk: the desk facts.
    :param asked: ``sources`` and ``models``, as they are declared for the desk.
    :returns: ``packages``, the folder of its packages, empty where it needs none; ``files``, what it lacks, with size
        and sha256; ``errors``, what is wanted and not there, a sentence each.
    """
    if not bundle or bundle.get("error"):
        return {"packages": "", "files": {}, "errors": [bundle["error"]] if bundle else []}
    errors: list[str] = []
    names: list[str] = []
    architecture = _architecture(desk)
    image = _image(bundle, asked["sources"], architecture)
    if desk["image"] is None or (desk["record"]["image"] or {}).get("wanted") != asked["sources"]:
        names += image["files"] if image else []
        if not image and not any(source.get("archive") for source in asked["sources"]):
            errors.append(f"no image of this desk's sources for {architecture}")
    system = desk["system"]
    name = system_name(system.get("base_codename") or system.get("codename") or "", architecture)
    bare = desk["docker"]["state"] == "absent" or not desk["python"]["requests"]
    if bare and name not in bundle["systems"]:
        own = name or f"{system['distribution']} {system['version']}"
        errors.append(f"no packages for {own}, but for {', '.join(bundle['systems']) or 'no system'}")
    packages = f"packages/{name}" if bare else ""
    names += [file for file in bundle["files"] if packages and file.startswith(packages + "/")]
    present = {model["name"] for model in desk["ollama"]["models"]}
    for entry in map(declared, asked["models"]):
        try:
            model = canonical((entry.get("create") or {}).get("from") or entry["name"])
        except BadName:
            continue  # said where models are planned
        if entry["state"] == "absent" or model in present:
            continue
        if model in bundle["models"]:
            names += bundle["models"][model]["files"]
        elif not any(source.get("from_file") for source in entry["sources"]):
            errors.append(f"no model {model}")
    said = (
        f"The bundle is for other desks: it has {'; '.join(errors)}. Type './llmdesk bundle' again on a machine with a "
        "network, with the inventory and the options of this run (--system names a system): it adds what is missing."
    )
    return {
        "packages": packages,
        "files": {name: bundle["files"][name] for name in names},
        "errors": [said] if errors else [],
    }


def _architecture(desk: dict[str, Any]) -> str:
    said = str(desk["system"].get("architecture") or "x86_64")
    return ARCHITECTURES.get(said, said)


def _image(bundle: dict[str, Any], sources: list[dict[str, Any]], architecture: str) -> dict[str, Any] | None:
    found = [
        entry for entry in bundle["images"] if entry["wanted"] == sources and entry["architecture"] == architecture
    ]
    return found[0] if found else None


def model_sources(models: list[dict[str, Any]], bundle: dict[str, Any], folder: str) -> list[dict[str, Any]]:
    """Return declared models with a bundle in the place of every registry.

    :param models: as ``ollama_model`` takes them.
    :param bundle: as :func:`read` returns it, empty for none: then they stay as they are.
    :param folder: where its files are on the desk.
    """
    if not bundle:
        return models
    found = []
    for entry in models:
        if entry.get("state") == "absent":
            found.append(entry)
            continue
        name = canonical((entry.get("create") or {}).get("from") or entry["name"])
        kept = bundle["models"].get(name)
        own = [source for source in entry["sources"] if source.get("from_file")]
        carried = [{"demo": True} if kept["demo"] else {"store": f"{folder}/models"}] if kept else []
        # The latest is the one that was brought along.
        found.append({**entry, "state": "present", "sources": own + carried})
    return found


def image_sources(
    sources: list[dict[str, Any]], bundle: dict[str, Any], desk: dict[str, Any], folder: str
) -> list[dict[str, Any]]:
    """Return the sources of an image with a bundle in the place of every registry.

    :param sources: as they are declared for the desk, with its mirrors.
    :param bundle: as :func:`read` returns it, empty for none: then they stay as they are.
    :param desk: the desk facts.
    :param folder: where the bundle's files are on the desk.
    """
    if not bundle:
        return sources
    image = _image(bundle, sources, _architecture(desk))
    carried = (
        [{"archive": f"{folder}/images", "reference": image["reference"], "engine": image["engine"]}] if image else []
    )
    return [source for source in sources if source.get("archive")] + carried


def said(made: dict[str, Any], folder: str, predicted: bool, silent: Sequence[str] = ()) -> str:
    """Return what a person should know of a bundle that was just made.

    :param made: the result of the module ``bundle``.
    :param predicted: whether it was only looked at what would come.
    :param silent: the desks whose systems nobody knows.
    """
    content, size = made["bundle"], made["bytes"] / 1e9
    stands_in = [f"{model['source']}, for {name}" for name, model in content["models"].items() if model["demo"]]
    lines = [
        f"{entry['source']}: {entry['error']}; what comes after it in the list was taken" for entry in made["tried"]
    ] + [f"The demo model goes along: {text}" for text in stands_in]
    if silent:
        lines.append(
            f"{', '.join(silent)} did not answer: of packages, only those for {', '.join(content['systems'])} are "
            "here; where that is not the system, name it with --system."
        )
    kept = [
        *(f"the image {image['reference']}" for image in content["images"]),
        *(name for name, model in content["models"].items() if not model["demo"]),
        *(f"packages for {system}" for system in content["systems"]),
    ]
    if predicted:
        lines.append(f"Would bring {', '.join(kept)}: {size:.1f} GB of images and models are still to come.")
    else:
        lines.append(
            f"{folder} is whole: {', '.join(kept)}, {size:.1f} GB. In the room: './llmdesk up --bundle {folder}'; its "
            "README.txt says it as well."
        )
    return "\n".join(lines)


def readme(bundle: dict[str, Any]) -> str:
    """Return what a person should read who finds the folder."""
    total = sum(file["size"] for file in bundle["files"].values())
    models = ", ".join(f"{name} ({model['source']})" for name, model in sorted(bundle["models"].items())) or "none"
    return f"""This folder has everything that llmdesk needs in a room without a network.

  images    {", ".join(image["reference"] for image in bundle["images"]) or "none"}
  models    {models}
  systems   {", ".join(bundle["systems"]) or "none"}
  size      {total / 1e9:.1f} GB

On the machine that sets the desks up, in a terminal, with this folder's own place for /media/usb, and -K behind the
last where sudo wants a password:

  mkdir -p ~/llmdesk && tar -xzf /media/usb/llmdesk.tar.gz -C ~/llmdesk
  cd ~/llmdesk
  ./llmdesk up --bundle /media/usb                       # this machine is the desk
  ./llmdesk up --bundle /media/usb -i inventory/room.yml  # a room

'sha256sum --check --quiet {SUMS}' in this folder says whether every file is as it was. If one is not, type
'./llmdesk bundle' with this folder on a machine with a network: it brings that one anew.
"""
