"""A place as a release changes it: brings what is wanted there, or back what was there before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from deploy.documents import Document, filled, names_of, secrets
from deploy.errors import DeployFailed, LeaseLost
from deploy.smoke import Probe, smoke_test
from deploy.target import Platform, Say, Target
from deploy.values import Values, secrets_of
from switchyard.errors import SwitchyardError, brief
from switchyard.records import Release

__all__ = ["Site", "Wanted", "documents_of", "network"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be there.

    Attributes:
        bento: Tag of the Bento.
        values: Settings that it was rendered with.
        documents: What is sent.
        probe: What it must answer then.
    """

    bento: str
    values: dict[str, Any]
    documents: list[Document]
    probe: Probe

    @classmethod
    def again(cls, release: Release) -> Wanted:
        """Returns what was wanted by an earlier release."""
        probe = Probe.from_dict(release.probe)
        return cls(release.bento, release.values, documents_of(release), probe)


class Site:
    """A place of a target.

    Args:
        target: Kind of the place.
        values: What it is to be like by now.
        environ: Variables that hold secrets.
        say: Takes progress, and ends what may not go on.
    """

    def __init__(
        self, target: Target[Any], values: Values, environ: Mapping[str, str], say: Say
    ) -> None:
        self._target = target
        self._values = values
        self._environ = environ
        self._say = say

    def connect(self, recorded: Mapping[str, Any], facts: dict[str, Any]) -> Platform:
        """Returns the platform as the values of a release know it: another one may be elsewhere."""
        return self._target.connect(self._read(recorded) or self._values, facts)

    def secrets(self, wanted: Wanted) -> dict[str, str]:
        """Returns the secrets of a release: those in what is sent, and for what asks it then.

        Raises:
            ValuesError: They are not set; all of them are named.
        """
        held = frozenset(names_of(wanted.documents))
        values = self._read(wanted.values)
        if values is None:
            return secrets(held, self._environ)
        return secrets((held & secrets_of(values)) | values.asks_with, self._environ)

    def bring(self, platform: Platform, wanted: Wanted) -> None:
        """Makes the place as it is wanted, and sees that it answers.

        Raises:
            DeployFailed: It did not become ready, or gave no prediction.
        """
        documents = filled(wanted.documents, self.secrets(wanted))
        with network():
            platform.apply(documents, wanted.bento, wanted.probe, self._say)
        smoke_test(platform, wanted.probe, self._say)

    def take_back(
        self, platform: Platform, present: Release | None, documents: list[Document]
    ) -> tuple[str, dict[str, Any]]:
        """Makes the place as it was before; returns a sentence on how that went, and the facts.

        Args:
            platform: Where it is; it knows what to spare.
            present: The release that ought to be there, if there is one.
            documents: What was sent.

        Raises:
            LeaseLost: Somebody else has taken over; nothing was changed after that.
        """
        try:
            if present is None:
                self._say("taking away what was made")
                with network():
                    stays = platform.delete(documents, self._say)
                after = "There was no good release before it, so what it made was taken away."
                return stays or after, platform.facts
            self._say(f"returning to release {present.number}")
            platform = self.connect(present.values, platform.facts)
            self.bring(platform, Wanted.again(present))
        except LeaseLost:
            raise
        except SwitchyardError as error:
            way = "try `rollback` again" if present else "apply again, or `delete` what is there"
            after = (
                f"Going back failed too: {error.message.rstrip('.')}. Look at it by "
                f"`switchyard deploy {self._target.name} status`, and {way}."
            )
            return after, platform.facts
        return f"Release {present.number} ({present.bento}) is back, and answers.", platform.facts

    def _read(self, recorded: Mapping[str, Any]) -> Values | None:
        """Returns the values of a release; None if another version of the target recorded them."""
        try:
            return self._target.values.model_validate(recorded)
        except ValidationError:
            return None


@contextmanager
def network() -> Iterator[None]:
    """Turns what a broken connection raises, which most SDKs pass on, into one sentence."""
    try:
        yield
    except OSError as error:
        raise DeployFailed(f"The platform could not be reached: {brief(error)}") from error


def documents_of(release: Release) -> list[Document]:
    """Returns what was sent."""
    return [Document.from_dict(each) for each in release.documents]
