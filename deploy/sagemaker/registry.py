"""The image on its way into the account's registry."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from deploy.documents import Document
from deploy.errors import DeployFailed
from deploy.sagemaker.aws import Aws
from deploy.sagemaker.extras import PUSH
from deploy.sagemaker.naming import bodies
from deploy.target import Say

__all__ = ["bring"]

SHOWN: Final = 600
"""Characters of what a tool said that an error shows."""


def bring(aws: Aws, documents: Sequence[Document], image: str, say: Say) -> None:
    """Brings the image into the registry, if the documents say so, and sees that it is there.

    An image that is there already is not sent again: tags never move.

    Args:
        aws: AWS.
        documents: What is sent.
        image: As SageMaker pulls it.
        say: Takes progress.

    Raises:
        DeployFailed: It is not there, or cannot be brought there.
    """
    for body in bodies(documents, "ecr.create_repository"):
        say(f"making the repository {body['repositoryName']}, unless it is there")
        aws.make("ecr", "create_repository", **body)
    for asked in bodies(documents, PUSH):
        if not _is_there(aws, image):
            say(f"sending {asked['from']} to {image}")
            _push(aws, asked)
        else:
            say(f"{image} is there already, so it is not sent again")
    # Another account need not let everybody list what it lets SageMaker pull.
    if image.startswith(aws.account) and not _is_there(aws, image):
        raise DeployFailed(
            f"The image {image} is not in the registry, so SageMaker could not pull it; send it "
            "there, or say 'push' with a 'repository' in the values."
        )


def _is_there(aws: Aws, image: str) -> bool:
    host, _, path = image.partition("/")
    path, _, digest = path.partition("@")
    repository, _, tag = path.partition(":")
    which = {"imageDigest": digest} if digest else {"imageTag": tag or "latest"}
    found = aws.find(
        "ecr",
        "describe_images",
        registryId=host.split(".")[0],
        repositoryName=repository,
        imageIds=[which],
    )
    return found is not None and bool(found.get("imageDetails"))


def _push(aws: Aws, asked: dict[str, Any]) -> None:
    login = aws.call("ecr", "get_authorization_token")["authorizationData"][0]
    scheme, _, host = str(login["proxyEndpoint"]).rstrip("/").partition("://")
    target = f"{host}/{asked['to'].partition('/')[2]}"
    with tempfile.TemporaryDirectory() as folder:
        # All three tools read this file; a password among the arguments would be seen by everybody.
        path = Path(folder) / "config.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps({"auths": {host: {"auth": login["authorizationToken"]}}}))
        for command in _commands(asked["by"], asked["from"], target, path, scheme == "https"):
            _run(command)


def _commands(tool: str, source: str, target: str, login: Path, tls: bool) -> list[list[str]]:
    """Returns the commands that send an image."""
    if tool == "docker":
        return [
            ["docker", "tag", source, target],
            ["docker", "--config", str(login.parent), "push", "--quiet", target],
        ]
    verify = "true" if tls else "false"
    if tool == "podman":
        flags = ["--authfile", str(login), f"--tls-verify={verify}", "--quiet"]
        return [["podman", "push", *flags, source, f"docker://{target}"]]
    flags = ["--dest-authfile", str(login), f"--dest-tls-verify={verify}", "--quiet"]
    return [["skopeo", "copy", *flags, f"docker://{source}", f"docker://{target}"]]


def _run(command: list[str]) -> None:
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise DeployFailed(
            f"{command[0]!r} cannot be started ({error.strerror}); install it, or write another "
            "tool into 'push.by'."
        ) from error
    if run.returncode:
        said = " ".join((run.stderr or run.stdout).split())[-SHOWN:]
        raise DeployFailed(f"The image could not be sent: {command[0]} said: {said}")
