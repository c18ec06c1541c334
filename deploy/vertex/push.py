"""Brings a local image to Artifact Registry."""

from __future__ import annotations

import subprocess
from typing import Final

from deploy.errors import DeployFailed
from deploy.target import Say

__all__ = ["push"]

SECONDS: Final = 3600


def push(local: str, image: str, tool: str, say: Say) -> None:
    """Pushes a local image under the name that the platform pulls.

    Args:
        local: Its name here.
        image: Its name there.
        tool: `docker` or `podman`, whose own login is used.
        say: Takes progress.

    Raises:
        DeployFailed: There is no such image or tool, or the registry refused it.
    """
    say(f"pushing {local} to {image}")
    registry = image.partition("/")[0]
    for command in ([tool, "tag", local, image], [tool, "push", image]):
        try:
            run = subprocess.run(
                command, capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except FileNotFoundError:
            raise DeployFailed(f"{tool} is not installed, so {local} cannot be pushed.") from None
        except subprocess.TimeoutExpired:
            raise DeployFailed(f"{local} was not pushed within {SECONDS} seconds.") from None
        if run.returncode != 0:
            said = (run.stderr.strip() or run.stdout.strip() or "it says nothing").splitlines()[-1]
            raise DeployFailed(
                f"`{' '.join(command)}` failed: {said.rstrip('.')}. `gcloud auth configure-docker "
                f"{registry}` logs it in, if that is what is missing."
            )
