#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: docker_leaked_port
short_description: Lets Docker go of a port that it holds for no container
description:
  - A machine that loses its power while Docker starts a container may come back with a port that belongs to nobody.
    Docker has written down who got it and not yet who runs, takes the port for itself when it starts, and refuses it to
    every container from then on, with the words C(port is already allocated)
    (U(https://github.com/moby/libnetwork/issues/1790)). Another start of Docker sets it free.
  - This module restarts Docker for it, where that ends nothing for good. Containers survive where C(live-restore) is
    on, and are started again where they have a restart policy.
version_added: 0.1.0
author:
  - llmdesk maintainers (@llmdesk)
options:
  port:
    description: The port that Docker refused.
    type: int
    required: true
  timeout:
    description: Seconds after which a Docker that does not answer after its restart counts as failed.
    type: int
    default: 60
attributes:
  check_mode:
    support: full
    description: Fails where Docker may not be restarted, and says that it would be otherwise.
  diff_mode:
    support: none
    description: A restart leaves nothing to compare.
notes:
  - Nothing is restarted where a container has the port, where containers run that Docker would not start again, and
    where somebody else than this machine's service manager, or the role C(docker), has started Docker. The module fails
    then, and says what to do.
"""

EXAMPLES = r"""
- name: Run a container
  community.docker.docker_container:
    name: page
    image: nginx
    published_ports: ["8080:80"]
  register: page
  failed_when: page is failed and 'port is already allocated' not in page.msg

- name: Let Docker go of the port, after a power cut
  llmdesk.workstation.docker_leaked_port:
    port: 8080
  when: "'port is already allocated' in page.msg | default('')"
"""

RETURN = r"""
containers:
  description:
    - What the restart meant to the containers that ran, C(survived), C(started_again) and C(stopped), by names.
  returned: success
  type: dict
  sample: {survived: [], started_again: [database], stopped: []}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmdesk.workstation.plugins.module_utils.docker_daemon import Daemon, DaemonFailure
from ansible_collections.llmdesk.workstation.plugins.module_utils.leaked_port import refusal


def main() -> None:
    module = AnsibleModule(
        argument_spec={"port": {"type": "int", "required": True}, "timeout": {"type": "int", "default": 60}},
        supports_check_mode=True,
    )
    daemon = Daemon(module.run_command, module.params["timeout"])
    port, running = module.params["port"], daemon.containers()
    refused = refusal(port, daemon.owner, running, bool(daemon.info().get("LiveRestoreEnabled")))
    if refused:
        module.fail_json(msg=refused)
    fate: dict[str, list[str]] = {"survived": [], "started_again": [], "stopped": []}
    if not module.check_mode:
        try:
            daemon.restart()
        except DaemonFailure as failure:
            module.fail_json(
                msg=f"Docker was restarted for port {port}, which it held for no container, and does not come back: "
                f"{str(failure).rstrip('.')}. Look into its log ('journalctl -u docker') and start it by hand."
            )
        fate = daemon.fate(running)
    module.exit_json(changed=True, containers=fate)


if __name__ == "__main__":
    main()
