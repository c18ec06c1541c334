"""What goes wrong between here and a platform."""

from __future__ import annotations

from switchyard.errors import Conflict, SwitchyardError

__all__ = ["DeployFailed", "ExtraMissing", "LeaseLost", "ValuesError"]


class DeployFailed(SwitchyardError):
    """The platform refused something, or what was deployed does not work.

    The sentence holds the platform's own message.
    """

    status, code = 502, "deploy_failed"


class ExtraMissing(SwitchyardError):
    """A package that this target needs is not installed."""

    code = "extra_missing"

    def __init__(self, target: str, extra: str) -> None:
        super().__init__(
            f"Deploying to {target} needs packages that are not installed; "
            f"`pip install -c constraints.txt -e '.[{extra}]'` brings them."
        )


class LeaseLost(Conflict):
    """Somebody else has taken over the place while this deployer stood still."""


class ValuesError(SwitchyardError):
    """The values of a deployment are wrong; the sentence names file, line and key."""

    status, code = 400, "invalid_values"
