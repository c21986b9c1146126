# SPDX-License-Identifier: GPL-3.0-or-later
"""What the pages of docs/ show agrees with the code: examples, and the words that a failure has."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from ansible_collections.llmdesk.workstation.plugins.module_utils import fit
from ansible_collections.llmdesk.workstation.plugins.module_utils.gpu_plan import why_cpu
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_plan import declared, models_plan
from ansible_collections.llmdesk.workstation.plugins.module_utils.network import files, refused, settings
from ansible_collections.llmdesk.workstation.plugins.module_utils.nvidia_plan import nvidia_runtime_plan
from ansible_collections.llmdesk.workstation.plugins.module_utils.wsl_gpu import both_sides

from llmdesk.events import REBOOT
from llmdesk.run import HOST_FAILED, INTERRUPTED, REBOOT_NEEDED
from tests.unit import test_wsl_gpu as in_wsl
from tests.unit.test_gpu_plan import TOOLKIT, nvidia
from tests.unit.test_packaging import COLLECTION, ROOT, documentation, read

PAGE = (ROOT / "docs" / "models.md").read_text()
EXAMPLES = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)]
MODULE = documentation("modules", "ollama_model")
TYPES: dict[str, Any] = {
    "str": str,
    "bool": bool,
    "path": str,
    "dict": dict,
    "list": list,
    "int": int,
    "float": (int, float),
}


def unknown(given: dict[str, Any], options: dict[str, Any], where: str) -> list[str]:
    """Return what the module would not take."""
    found = [f"{where}{name}" for name in given if name not in options]
    for name, value in given.items():
        option = options.get(name, {})
        if option and not isinstance(value, TYPES[option["type"]]):
            found.append(f"{where}{name}: {value!r} is no {option['type']}")
        below = option.get("suboptions")
        for entry in value if below and isinstance(value, list) else [value] if below else []:
            found += unknown(entry, below, f"{where}{name}.")
    return found


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: yaml.safe_dump(example)[:60])
def test_an_example_of_models_is_one_that_the_role_takes(example: dict[str, Any]) -> None:
    role = read(COLLECTION / "roles" / "ollama_models" / "meta" / "argument_specs.yml")
    assert set(example) <= set(role["argument_specs"]["main"]["options"])
    options = MODULE["DOCUMENTATION"]["options"]
    entries = [declared(entry) for entry in example["ollama_models"]]
    assert [word for entry in entries for word in unknown(entry, options, f"{entry['name']}: ")] == []
    bare = {"ollama": {"models": []}, "record": {"models": {}}}
    planned = models_plan(bare, {"models": example["ollama_models"]})["models"]
    assert [entry["name"] for entry in planned] == [e["name"] for e in entries if e["state"] != "absent"]


def test_every_reason_of_a_failure_is_explained() -> None:
    _general, *said = MODULE["RETURN"]["reason"]["description"]
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) == set(re.findall(r"V\((\w+)\)", " ".join(said)))


FIT = (ROOT / "docs" / "fit.md").read_text()


def test_every_verdict_is_explained_from_the_best_to_the_worst() -> None:
    assert re.findall(r"^\| `([\w-]+)` \|", FIT, re.MULTILINE) == [*fit.VERDICTS, "unknown"]


def test_the_numbers_of_the_formula_are_those_of_the_code() -> None:
    words = [
        f"{fit.PROGRAM // fit.MIB} MiB, and {fit.TOKEN} bytes for every token",
        f"CUDA takes {fit.DRIVER // fit.MIB} MiB",
        "1 GiB stays free" if fit.MARGIN == fit.GIB else "the margin is another",
        f"memory {fit.SYSTEM // fit.GIB} GiB are for the system",
        f"capability {fit.OLDEST}",
        f"{fit.CORE / fit.GB} GB for each of up to four cores" if fit.CORES == 4 else "the cores are others",
        *(str(context) for _least, context in fit.CONTEXTS),
        *(f"{least // fit.GIB} GiB" for least, _context in fit.CONTEXTS[:2]),
        *(str(batch) for _above, batch in fit.BATCHES),
    ]
    text = " ".join(FIT.split())
    assert [word for word in words if word not in text] == []


PROXIES = (ROOT / "docs" / "proxies.md").read_text()


def test_an_example_of_proxies_is_one_that_the_roles_take() -> None:
    shown = re.findall(r"^```yaml\n(.*?)^```|<< 'END'\n(.*?)^END$", PROXIES, re.MULTILINE | re.DOTALL)
    examples = [yaml.safe_load(block or typed) for block, typed in shown]
    known: dict[str, Any] = {}
    for role in ("desk", "open_webui"):
        known |= read(COLLECTION / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]
    for example in examples:
        assert {name for name in example if not name.startswith("vault_")} <= set(known), example
        for name in known.keys() & example.keys():
            assert isinstance(example[name], TYPES[known[name]["type"]])
        for source in example.get("open_webui_image_sources", []):
            assert set(source) <= set(known["open_webui_image_sources"]["options"])
        proxy = example.get("desk_proxy", {})
        if "{{" not in str(proxy):
            assert settings(proxy)[2] == []
    assert {"desk_proxy", "desk_ca_certificates", "open_webui_image_mirrors"} <= {name for e in examples for name in e}


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("family", ["debian", "redhat", "suse"])
def test_the_page_names_every_file_that_a_proxy_is_written_to(family: str, opened: bool) -> None:
    proxy = {"http": "http://proxy:1", "https": "http://proxy:1"}
    credentials = {"http": "u:p", "https": "u:p"} if opened else {}
    for file in files(family, proxy, credentials, "/etc/llmdesk"):
        assert f"`{file.path}`" in PROXIES


def test_the_page_explains_what_is_said_of_a_proxy() -> None:
    for opened in (False, True):
        said = refused("407", "http://proxy:1", opened)
        words = said.split(" (HTTP 407)")[0].split("proxy:1 ")[1].split(" of desk_proxy")[0]
        assert words in PROXIES


GPU_PAGE = (ROOT / "docs" / "gpu.md").read_text()


@pytest.mark.parametrize("example", re.findall(r"^```yaml\n(.*?)^```", GPU_PAGE, re.MULTILINE | re.DOTALL))
def test_an_example_about_the_gpu_is_one_that_the_roles_take(example: str) -> None:
    roles = [read(COLLECTION / "roles" / name / "meta" / "argument_specs.yml") for name in ("desk", "open_webui")]
    options = {name: given for role in roles for name, given in role["argument_specs"]["main"]["options"].items()}
    for name, value in yaml.safe_load(example).items():
        assert isinstance(value, TYPES[options[name]["type"]])
        assert "choices" not in options[name] or value in options[name]["choices"]
        for entry in value if options[name].get("elements") == "dict" else []:
            assert set(entry) <= set(options[name]["options"])


def test_every_reason_of_a_cpu_that_answers_is_explained() -> None:
    table = GPU_PAGE[GPU_PAGE.index("| it says | do |") :]
    nothing: dict[str, Any] = {"inside": None, "size": 2, "vram": None, "free": None}
    for seen, words in (
        (
            {"inside": {"code": 255, "said": "Failed to initialize NVML: Unknown Error"}},
            "the container has lost its GPU",
        ),
        ({"inside": {"code": 18, "said": "NVML: version mismatch"}}, "the driver was updated under the container"),
        ({"inside": {"code": 1, "said": ""}}, "the container was not given the GPU"),
        ({"vram": 1}, "the largest GPU has"),
        ({"vram": 4, "free": 1}, "of the GPU's memory"),
        ({}, "Ollama did not take the GPU"),
    ):
        assert words in why_cpu({**nothing, **seen})
        assert words in table


def test_everything_that_is_said_of_a_card_under_wsl_is_explained() -> None:
    section = GPU_PAGE[GPU_PAGE.index("## Under WSL") : GPU_PAGE.index("## AMD")]
    said = re.findall(r"^\| (?!it says|---)([^|]+) \|", section, re.MULTILINE)
    gone = dict(in_wsl.CDI, cdi_missing="X")
    facts = [
        (in_wsl.distro(), [in_wsl.GEFORCE]),
        (in_wsl.distro(gpu_nodes={"dxg": False}), [in_wsl.GEFORCE]),
        (in_wsl.distro(nvidia("one.csv")), [dict(in_wsl.GEFORCE, driver="32.0.15.6603")]),
        (in_wsl.distro(wsl=dict(in_wsl.WSL, linux_driver=["X"])), None),
    ]
    sentences = [sentence for desk, gpus in facts for sentence in both_sides(desk, gpus)]
    for desk in (
        in_wsl.distro(nvidia("old-driver.csv")),
        in_wsl.distro(nvidia("one.csv"), docker=gone, toolkit=TOOLKIT),
    ):
        sentences.append(nvidia_runtime_plan(desk, {})["reason"])
    assert len(said) == len(sentences)
    for row, sentence in zip(said, sentences, strict=True):
        words = [part for part in re.split(r"…|, and Windows has one", row) if part.strip(" ,")]
        assert all(word.strip(" ,").lower() in sentence.lower() for word in words), (row, sentence)


TROUBLES = (ROOT / "docs" / "troubleshooting.md").read_text()


def test_every_exit_code_of_our_own_is_explained() -> None:
    codes = set(re.findall(r"^\| ([\d, ]+) \|", TROUBLES, re.MULTILINE))
    assert {str(REBOOT_NEEDED), str(INTERRUPTED), str(HOST_FAILED), "0", "4"} <= codes
    assert f"| {REBOOT} |" in TROUBLES
