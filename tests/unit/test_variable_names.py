# SPDX-License-Identifier: GPL-3.0-or-later
"""Misspelled variables: which are, which are somebody else's, and that the list of ours is up to date."""

from __future__ import annotations

import pytest
import yaml
from ansible_collections.llmdesk.workstation.plugins.module_utils import known_variables, variable_names

from tests.unit.test_packaging import COLLECTION, ROLES, read

FILE = COLLECTION / "plugins" / "module_utils" / "known_variables.py"


def names() -> list[str]:
    """Return the inputs of all roles."""
    found = set()
    for role in ROLES:
        specs = read(COLLECTION / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"]
        found |= {name for spec in specs.values() for name in spec.get("options") or {}}
        public = COLLECTION / "roles" / role / "vars" / "main.yml"
        if public.exists():
            found |= {name for name in yaml.safe_load(public.read_text()) or {} if not name.startswith("_")}
    return sorted(found)


def generated() -> str:
    """Return the text of the module with the names."""
    lines = "".join(f'    "{name}",\n' for name in names())
    return f'''# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables that roles read. Generated out of their meta/argument_specs.yml:

.venv/bin/python -m tests.unit.test_variable_names
"""

from __future__ import annotations

KNOWN = (
{lines})
'''


def test_the_list_is_that_of_the_roles() -> None:
    assert FILE.read_text() == generated(), "PYTHONPATH=collections .venv/bin/python -m tests.unit.test_variable_names"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("open_webi_environment", "open_webui_environment"),
        ("open_webui_enviroment", "open_webui_environment"),
        ("ollama_model", "ollama_models"),
        ("olama_models", "ollama_models"),
        ("desk_prot", "desk_port"),
        ("desk_listne", "desk_listen"),
        ("desk_prxoy", "desk_proxy"),
        ("docker_user", "docker_users"),
        ("ollama_models_exlusive", "ollama_models_exclusive"),
        ("open_webui_people_user", "open_webui_people_users"),
        ("verify_models", "verify_model"),
        ("OLLAMA_MODELS", None),
        ("desk_colour", None),
        ("open_webui_port", None),
    ],
)
def test_a_misspelled_name(name: str, meant: str | None) -> None:
    found = dict(variable_names.unknown([name, "ollama_models", "desk_state"]))
    assert found == ({name: meant} if name.islower() else {})


# What inventories of other people have: geerlingguy.docker, kubespray, node_exporter, and what Ansible itself sets.
STRANGERS = """
docker_edition docker_package docker_packages docker_packages_state docker_obsolete_packages
docker_service_manage docker_restart_handler_state docker_install_compose_plugin docker_compose_version
docker_daemon_options docker_add_repo docker_repo_url docker_apt_release_channel docker_yum_repo_enabled
docker_storage_options docker_bin_dir wsl_user wsl_enabled verify_ssl verify_certs ollama_version ollama_host
ollama_port nvidia_driver_version nvidia_driver_branch proxy proxy_env http_proxy https_proxy no_proxy port
ports listen models users people timezone ntp_servers admin_email desktop_environment desks_in_room
inventory_hostname group_names groups omit playbook_dir vault_windows_password ansible_host ansible_desk_port
__desk_anything hostvars environment node_exporter_version
"""


def test_the_variables_of_other_people_are_left_alone() -> None:
    ours = {"docker_edition", "docker_users"}
    found = variable_names.unknown(set(STRANGERS.split()) - ours)
    assert [(name, meant) for name, meant in found if meant] == []
    # Named like ours, and nothing of ours.
    assert [name for name, _meant in found] == ["desks_in_room"]


def test_no_name_of_ours_is_taken_for_another() -> None:
    assert variable_names.unknown(known_variables.KNOWN) == []


def test_a_misspelled_name_stops_a_run_and_a_strange_one_is_said() -> None:
    given = ["open_webi_environment", "desk_colour", "ollama_models", "docker_bin_dir"]
    assert variable_names.errors(given) == [
        "No role reads the variable open_webi_environment. Did you mean open_webui_environment? Correct it where it is "
        "set, or take it away."
    ]
    assert variable_names.warnings(given) == ["No role reads the variable desk_colour; see the roles' READMEs."]


if __name__ == "__main__":
    FILE.write_text(generated())
