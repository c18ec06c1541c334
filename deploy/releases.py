"""How a Bento is deployed, watched, taken back and taken away: the same for all targets.

Every attempt is a release in the state database: what was sent (secrets by name only) and whether
it was good, which it is once it has answered a row of its model's reference data through the public
address. One that fails makes way for the last good one by itself. Of each place only one release is
applied at a time; one that was interrupted is finished by the next. Where no good release is known,
what is there was deployed by somebody who shares no state database with us: it is spared.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from deploy.bento import Bento
from deploy.errors import DeployFailed, LeaseLost
from deploy.lease import Lease
from deploy.site import Site, Wanted, documents_of, network
from deploy.smoke import Probe
from deploy.target import Say, Seen, Target
from deploy.values import Values
from switchyard.errors import Conflict, NotFound, SwitchyardError
from switchyard.records import Release
from switchyard.state import State

__all__ = ["Deployer", "Standing"]

INTERRUPTED: Final = "It was interrupted before it was known to be good."


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
        self._who = who
        self._tell = say
        self._place = target.place(values)
        self._site = Site(target, values, environ, self._say)
        self._lease = Lease(state, f"deploy/{target.name}/{self._place}", who, self._where)

    def apply(self, bento: Bento) -> Release:
        """Deploys a Bento, and takes it back if it turns out not to work.

        Args:
            bento: The Bento.

        Returns:
            The release, which is good.

        Raises:
            ValuesError: A secret is not there; nothing was sent.
            NotFound: The store does not hold the model that is to be asked; nothing was sent.
            Conflict: Somebody else is deploying to this place, or has taken it over.
            DeployFailed: What is there cannot be told, and nothing was sent. Or it did not become
                ready, or gave no prediction: the sentence says what is there now.
        """
        wanted = Wanted(
            bento.tag,
            self._values.model_dump(mode="json"),
            self._target.render(bento, self._values),
            Probe.of(bento, self._values.smoke),
        )
        with self._lease.held():
            return self._release(wanted, "")

    def rollback(self) -> Release:
        """Returns to the last good release: the one before, if the present one is good.

        Raises:
            NotFound: There is no good release to return to.
            ValuesError: A secret is not there; nothing was sent.
            Conflict: Somebody else is deploying to this place.
            DeployFailed: It did not work any more.
        """
        with self._lease.held():
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
            return self._release(Wanted.again(goal), f"rollback to release {goal.number}")

    def status(self) -> Standing:
        """Returns how the place stands.

        Raises:
            NotFound: Nothing was deployed there from here.
            DeployFailed: The platform does not tell.
        """
        self._end_interrupted()
        release = self._last()
        present = self._present() or release
        platform = self._site.connect(present.values, release.facts)
        with network():
            return Standing(release, platform.look(documents_of(present)))

    def delete(self) -> Release:
        """Takes away what the last releases made; data stay.

        Raises:
            NotFound: Nothing was deployed there from here.
            Conflict: Somebody else is deploying to this place.
            DeployFailed: The platform refused.
        """
        with self._lease.held():
            release = self._last()
            named = {
                each.name: each for known in reversed(self._known()) for each in documents_of(known)
            }
            with network():
                platform = self._target.connect(self._values, release.facts)
                platform.delete(list(named.values()), self._say)
            self._end(release, "deleted", facts={})
            for other in self._known():
                if other.status in ("good", "applying"):
                    self._end(other, "deleted")
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

    def _say(self, what: str) -> None:
        """Tells what is done next, which is not for a deployer that is not alone any more."""
        self._lease.check()
        self._tell(what)

    def _end(
        self, release: Release, status: str, why: str = "", facts: dict[str, Any] | None = None
    ) -> None:
        self._lease.check()
        self._state.end_release(release, status, why, facts)

    def _release(self, wanted: Wanted, why: str) -> Release:
        self._site.secrets(wanted)  # a missing one must be known before all else
        known = self._known()
        platform = self._site.connect(wanted.values, known[0].facts if known else {})
        present = self._present()
        if present is None:
            with network():
                # That a release was tried here before does not make ours what it found.
                platform.spare(wanted.documents)
        for earlier in known:
            if earlier.status == "applying":
                self._end(earlier, "failed", INTERRUPTED)
        release = self._begin(wanted, why, platform.facts)
        try:
            self._site.bring(platform, wanted)
        except LeaseLost:
            raise  # what is there and what is recorded are somebody else's business now
        except SwitchyardError as error:
            after, facts = self._site.take_back(platform, present, wanted.documents)
            said = f"{error.message.rstrip('.')}. {after}"
            self._end(release, "failed", said, facts)
            raise DeployFailed(f"Release {release.number} failed: {said}") from error
        except BaseException:
            with suppress(SwitchyardError):
                self._end(release, "failed", INTERRUPTED, platform.facts)
            raise
        self._end(release, "good", facts=platform.facts)
        return self._last()

    def _begin(self, wanted: Wanted, why: str, facts: dict[str, Any]) -> Release:
        self._lease.check()
        return self._state.begin_release(
            self._target.name,
            self._place,
            wanted.bento,
            wanted.values,
            [each.as_dict() for each in wanted.documents],
            self._who,
            why,
            probe=wanted.probe.as_dict(),
            facts=facts,
        )

    def _end_interrupted(self) -> None:
        """Records of a release that nobody applies any more that it was interrupted."""
        if self._last().status != "applying":
            return
        with suppress(Conflict), self._lease.held():
            release = self._last()  # which may have ended by itself until now
            if release.status == "applying":
                self._end(release, "failed", INTERRUPTED)
