"""The end state of a desk, as a deploy of pyinfra asserts it: package, daemon, container, image, model, account, page.

The peer of a second run of the site playbook. Where something is not as it should be, the first two operations would
mend it and the others fail: pyinfra knows no more of a desk than what stands here, and a look is all that is measured.
"""

import json

from pyinfra import host
from pyinfra.facts.docker import DockerContainer, DockerImage
from pyinfra.facts.files import File
from pyinfra.facts.server import Command
from pyinfra.operations import apt, systemd

MODEL, PASSWORD = "smollm2:135m", "/etc/llmdesk/admin_password"


def hold(truth: object, sentence: str) -> None:
    """Stop the deploy of this host where something is not as it should be."""
    if not truth:
        raise RuntimeError(f"{host.name}: {sentence}")


apt.packages(name="Docker is installed", packages=["docker.io"], _sudo=True)
systemd.service(name="Docker runs", service="docker", running=True, enabled=True, _sudo=True)

(container,) = host.get_fact(DockerContainer, object_id="open-webui", _sudo=True) or [None]
hold(container and container["State"]["Running"], "the container does not run")
hold(container["State"]["Health"]["Status"] == "healthy", "the container is not healthy")
hold(host.get_fact(DockerImage, object_id=container["Image"], _sudo=True), "the image is not there")

tags = json.loads(host.get_fact(Command, command="curl -fsS http://127.0.0.1:11434/api/tags"))
hold(MODEL in [model["name"] for model in tags["models"]], f"{MODEL} is not there")

account = host.get_fact(File, path=PASSWORD, _sudo=True)
hold(account and account["mode"] == 600 and account["user"] == "root", f"{PASSWORD} is not root's alone")

page = json.loads(host.get_fact(Command, command="curl -fsS http://127.0.0.1:3000/api/config"))
hold(not page.get("onboarding"), "the page has no account")
