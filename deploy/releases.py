"""How a Bento is deployed, watched, taken back and taken away: the same for all targets.

Every attempt is a release in the state database: what was sent (secrets by name only) and whether
it was good, which it is once it has answered a row of its model's reference data through the public
address. One that fails makes way for the last good one by itself. Of each place only one release is
applied at a time; one that was interrupted is finished by the next.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from deploy.bento import Bento
from deploy.documents import Document, filled
from deploy.errors import DeployFailed
from deploy.smoke import Probe, smoke_test
from deploy.target import Platform, Say, Seen, Target
from deploy.values import Values
from switchyard.errors import Conflict, NotFound, SwitchyardError, brief
from switchyard.records import Release
from switchyard.state import State

__all__ = ["Deployer", "Standing"]

LEASE_SECONDS: Final = 60.0
RENEW_SECONDS: Final = 15.0

INTERRUPTED: Final = "It was interrupted before it was known to be good."


@dataclass(frozen=True, slots=True)
class _Wanted:
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
    def again(cls, release: Release) -> _Wanted:
        """Returns what was wanted by an earlier release."""
        probe = Probe.from_dict(release.probe)
        return cls(release.bento, release.values, _documents(release), probe)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a place stands.

    Attributes:
        release: The last release of it.
        seen: What the platform says is there.
    """

    release: Release
    seen: Seen


class Deployer:
    """Deploys to one place.

    Args:
        target: Kind of the place.
        values: What it is to be like.
        state: Holds the releases.
        environ: Variables that hold secrets.
        who: Who deploys.
        say: Takes progress.
    """

    def __init__(
        self,
        target: Target[Any],
        values: Values,
        state: State,
        *,
        environ: Mapping[str, str],
        who: str,
        say: Say,
    ) -> None:
        self._target = target
        self._values = values
        self._state = state
        self._environ = environ
        self._who = who
        self._say = say
        self._place = target.place(values)

    def apply(self, bento: Bento) -> Release:
        """Deploys a Bento, and takes it back if it turns out not to work.

        Args:
            bento: The Bento.

        Returns:
            The release, which is good.

        Raises:
            ValuesError: A secret is not there; nothing was sent.
            NotFound: The store does not hold the model that is to be asked; nothing was sent.
            Conflict: Somebody else is deploying to this place.
            DeployFailed: It did not become ready, or gave no prediction. The sentence says what is
                there now.
        """
        wanted = _Wanted(
            bento.tag,
            self._values.model_dump(mode="json"),
            self._target.render(bento, self._values),
            Probe.of(bento, self._values.smoke),
        )
        with self._alone():
            return self._release(wanted, "")

    def rollback(self) -> Release:
        """Returns to the last good release: the one before, if the present one is good.

        Raises:
            NotFound: There is no good release to return to.
            ValuesError: A secret is not there; nothing was sent.
            Conflict: Somebody else is deploying to this place.
            DeployFailed: It did not work any more.
        """
        with self._alone():
            known = self._known()
            good = [each for each in known if each.status == "good"]
            if known and known[0].status == "good":
                good = [each for each in good if each.documents != known[0].documents]
            if not good:
                raise NotFound(
                    f"{self._where} has no earlier good release to return to."
                    if known
                    else f"Nothing was deployed to {self._where} from here."
                )
            goal = good[0]
            return self._release(_Wanted.again(goal), f"rollback to release {goal.number}")

    def status(self) -> Standing:
        """Returns how the place stands.

        Raises:
            NotFound: Nothing was deployed there from here.
            DeployFailed: The platform does not tell.
        """
        self._end_interrupted()
        release = self._last()
        present = self._present() or release
        platform = self._connect(present.values, release.facts)
        with _network():
            return Standing(release, platform.look(_documents(present)))

    def delete(self) -> Release:
        """Takes away what the last releases made; data stay.

        Raises:
            NotFound: Nothing was deployed there from here.
            Conflict: Somebody else is deploying to this place.
            DeployFailed: The platform refused.
        """
        with self._alone():
            release = self._last()
            named = {
                each.name: each for known in reversed(self._known()) for each in _documents(known)
            }
            with _network():
                platform = self._target.connect(self._values, release.facts)
                platform.delete(list(named.values()), self._say)
            self._state.end_release(release, "deleted", facts={})
            for other in self._known():
                if other.status in ("good", "applying"):
                    self._state.end_release(other, "deleted")
            return self._last()

    @property
    def _where(self) -> str:
        return f"{self._target.name} {self._place}"

    def _known(self) -> list[Release]:
        return self._state.releases(self._target.name, self._place)

    def _last(self) -> Release:
        known = self._known()
        if not known:
            raise NotFound(f"Nothing was deployed to {self._where} from here.")
        return known[0]

    def _present(self) -> Release | None:
        """Returns the release that ought to be there: the last good one."""
        return next((each for each in self._known() if each.status == "good"), None)

    def _connect(self, recorded: dict[str, Any], facts: dict[str, Any]) -> Platform:
        """Returns the platform as the values of a release know it: another one may be elsewhere."""
        try:
            values = self._target.values.model_validate(recorded)
        except ValidationError:  # recorded by another version of the target
            values = self._values
        return self._target.connect(values, facts)

    def _release(self, wanted: _Wanted, why: str) -> Release:
        filled(wanted.documents, self._environ)  # a missing secret must be known before all else
        known = self._known()
        platform = self._connect(wanted.values, known[0].facts if known else {})
        for earlier in known:
            if earlier.status == "applying":
                self._state.end_release(earlier, "failed", INTERRUPTED)
        present = self._present()
        # That a release was tried here before does not make ours what it found.
        is_ours = present is not None or self._is_empty(platform, wanted.documents)
        release = self._state.begin_release(
            self._target.name,
            self._place,
            wanted.bento,
            wanted.values,
            [each.as_dict() for each in wanted.documents],
            self._who,
            why,
            probe=wanted.probe.as_dict(),
            facts=platform.facts,
        )
        try:
            self._carry_out(platform, wanted)
        except SwitchyardError as error:
            ours = wanted.documents if is_ours else []
            after, facts = self._take_back(platform, present, ours)
            said = f"{error.message.rstrip('.')}. {after}"
            self._state.end_release(release, "failed", said, facts)
            raise DeployFailed(f"Release {release.number} failed: {said}") from error
        except BaseException:
            self._state.end_release(release, "failed", INTERRUPTED, platform.facts)
            raise
        self._state.end_release(release, "good", facts=platform.facts)
        return self._last()

    def _carry_out(self, platform: Platform, wanted: _Wanted) -> None:
        with _network():
            platform.apply(filled(wanted.documents, self._environ), wanted.bento, self._say)
        smoke_test(platform, wanted.probe, self._say)

    def _is_empty(self, platform: Platform, documents: list[Document]) -> bool:
        """Whether nothing is there yet: what was deployed from elsewhere is not ours to delete."""
        try:
            with _network():
                return platform.look(documents).state == "absent"
        except SwitchyardError:
            return False  # nobody knows; why it cannot be told, applying will say

    def _take_back(
        self, platform: Platform, present: Release | None, documents: list[Document]
    ) -> tuple[str, dict[str, Any]]:
        """Makes the place as it was before; returns a sentence on how that went, and the facts.

        Args:
            platform: Where it is.
            present: The release that ought to be there, if there is one.
            documents: What may be taken away where there is none.
        """
        try:
            if present is None and not documents:
                after = (
                    "Nothing was taken away: what is there may have been deployed from elsewhere. "
                    "Look at it, and deploy a Bento that works, or `delete` it."
                )
                return after, platform.facts
            if present is None:
                self._say("taking away what was made")
                with _network():
                    platform.delete(documents, self._say)
                after = "There was no good release before it, so what it made was taken away."
                return after, platform.facts
            self._say(f"returning to release {present.number}")
            platform = self._connect(present.values, platform.facts)
            self._carry_out(platform, _Wanted.again(present))
        except SwitchyardError as error:
            after = (
                f"Going back failed too: {error.message.rstrip('.')}. Look at it by "
                f"`switchyard deploy {self._target.name} status`, and try `rollback` again."
            )
            return after, platform.facts
        return f"Release {present.number} ({present.bento}) is back, and answers.", platform.facts

    def _end_interrupted(self) -> None:
        """Records of a release that nobody applies any more that it was interrupted."""
        if self._last().status != "applying":
            return
        with suppress(Conflict), self._alone():
            release = self._last()  # which may have ended by itself until now
            if release.status == "applying":
                self._state.end_release(release, "failed", INTERRUPTED)

    @property
    def _lease(self) -> str:
        return f"deploy/{self._target.name}/{self._place}"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Holds the place for this process alone."""
        holder = f"{self._who}/{secrets.token_hex(8)}"
        if not self._state.acquire_lease(self._lease, holder, LEASE_SECONDS):
            raise Conflict(
                f"Somebody else is deploying to {self._where}; wait until that has ended. One that "
                f"was killed makes way after {LEASE_SECONDS:g} seconds."
            )
        done = threading.Event()

        def renew() -> None:
            while not done.wait(RENEW_SECONDS):
                with suppress(SwitchyardError):  # a database that is away for a moment
                    self._state.acquire_lease(self._lease, holder, LEASE_SECONDS)

        renewing = threading.Thread(target=renew, name="lease", daemon=True)
        renewing.start()
        try:
            yield
        finally:
            done.set()
            renewing.join()
            self._state.acquire_lease(self._lease, holder, 0)


@contextmanager
def _network() -> Iterator[None]:
    """Turns what a broken connection raises, which most SDKs pass on, into one sentence."""
    try:
        yield
    except OSError as error:
        raise DeployFailed(f"The platform could not be reached: {brief(error)}") from error


def _documents(release: Release) -> list[Document]:
    return [Document.from_dict(each) for each in release.documents]
