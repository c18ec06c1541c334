"""What every target must do: the one interface that `switchyard deploy` knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from deploy.bento import Bento
from deploy.documents import Document
from deploy.errors import ValuesError
from deploy.values import Values

if TYPE_CHECKING:
    from deploy.smoke import Probe

__all__ = ["Platform", "Reply", "Say", "Seen", "Target", "refuse_keys"]

Say = Callable[[str], None]
"""Takes what is done next, in a few words; it is told before every step that changes something.

It raises where that step may not be taken any more, as somebody else deploys there by now.
"""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back from the public address.

    Attributes:
        status: HTTP status.
        body: Its body.
    """

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Seen:
    """What is there, as the platform tells it.

    Attributes:
        state: Of the whole.
        address: Public address; None where there is none yet.
        parts: Name and state of its parts, in the platform's words.
        differences: What is there otherwise than it was sent, a sentence each.
        why: The platform's own message where something is wrong.
    """

    state: Literal["ready", "progressing", "failed", "absent"]
    address: str | None = None
    parts: tuple[tuple[str, str], ...] = ()
    differences: tuple[str, ...] = ()
    why: str = ""


class Platform(Protocol):
    """One place on one platform, with whatever credentials are found for it.

    All methods block. What the platform refuses is a `deploy.errors.DeployFailed` whose sentence
    holds its own message; a half-done call is finished by the next one.
    """

    facts: dict[str, Any]
    """What the platform gave and is needed again, such as an address; recorded with the release."""

    def spare(self, documents: Sequence[Document]) -> None:
        """Notes what is there that nobody here knows of, as before a place's first release.

        From now on `apply` of this object takes none of it away; `delete` leaves it, and gives it
        back the settings and the traffic that it had, as far as the platform can do that.

        Args:
            documents: What is to come, without its secrets.

        Raises:
            DeployFailed: The platform does not tell, or what is there is not Switchyard's.
        """

    def apply(self, documents: Sequence[Document], bento: str, probe: Probe, say: Say) -> None:
        """Makes what is there as the documents say, and waits until it is ready.

        Applied twice it changes nothing the second time. What an earlier release made and these
        documents do not name is taken away.

        Args:
            documents: With their secrets.
            bento: Tag of the Bento.
            probe: What it will be asked then, for platforms that can ask it before callers do.
            say: Takes progress.
        """

    def call(self, rows: list[dict[str, Any]], endpoint: str) -> Reply:
        """Asks for a prediction through the public address, as callers of this platform do.

        Args:
            rows: As JSON takes them.
            endpoint: Name of the endpoint.
        """

    def look(self, documents: Sequence[Document]) -> Seen:
        """Returns what is there, compared with what was sent (without its secrets)."""

    def delete(self, documents: Sequence[Document], say: Say) -> str:
        """Takes away what the documents name, but no data; what is not there is fine.

        Returns:
            Sentences on what was there before, and stays; empty where nothing was.
        """


V_contra = TypeVar("V_contra", bound=Values, contravariant=True)


class Target(Protocol[V_contra]):
    """A kind of place."""

    name: str
    values: type[Values]

    def place(self, values: V_contra) -> str:
        """Returns which place of this kind it is: two that differ never share a release."""

    def render(self, bento: Bento, values: V_contra) -> list[Document]:
        """Returns what is to be sent, in that order: pure, without account and network.

        Raises:
            ValuesError: The values and the Bento do not go together.
        """

    def connect(self, values: V_contra, facts: dict[str, Any]) -> Platform:
        """Returns the platform, by the credentials in its usual places.

        Args:
            values: Of the deployment.
            facts: Recorded with the last release of the place; empty for the first.

        Raises:
            ExtraMissing: Packages are not installed.
            DeployFailed: There are no credentials.
        """


def refuse_keys(bento: Bento, why: str, way_out: str = "Build it with 'auth: open'.") -> None:
    """Refuses a Bento that asks callers for keys, for a place where they cannot show any.

    Args:
        bento: The Bento.
        why: Why they cannot, and who says there who may call.
        way_out: What to do.

    Raises:
        ValuesError: Its plan says `auth: required`.
    """
    if bento.plan.auth == "required":
        raise ValuesError(
            f"The plan of {bento.tag} says 'auth: required', but {why}, so nobody would get a "
            f"prediction. {way_out}"
        )
