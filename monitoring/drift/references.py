"""What the traffic of an endpoint is compared with: the profiles of its models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models import lock, store
from models.columns import Columns
from models.drift.answers import Answered, answered
from models.drift.profile import Profile
from models.drift.profile import read as read_profile
from models.manifest import Manifest
from models.registry import find
from models.schema import Schema, union
from switchyard.errors import NotFound, PlanError, SwitchyardError

if TYPE_CHECKING:
    import pandas as pd

    from switchyard.plan import Endpoint
    from switchyard.state import State

__all__ = ["Model", "References", "Rows", "find_model", "model_of", "references"]


@dataclass(frozen=True, slots=True)
class Rows:
    """The reference rows of a version.

    Attributes:
        frame: As they are stored.
        columns: Their fields, as requests have them.
        answers: What the model answered to them.
    """

    frame: pd.DataFrame
    columns: Columns
    answers: Answered


@dataclass(frozen=True, slots=True)
class Model:
    """One version of a model, as far as a drift report needs it.

    Attributes:
        tag: `name:version`.
        manifest: What it is.
        profile: What its reference looks like; None if its version was stored without one.
    """

    tag: str
    manifest: Manifest
    profile: Profile | None

    def rows(self, profile: Profile) -> Rows:
        """Reads its reference rows.

        Args:
            profile: The profile; its answers are of the last rows only, perhaps.
        """
        frame = store.reference(*store.split(self.tag))
        first = len(frame) - round(len(frame) * profile.answers)
        columns = Columns.from_frame(self.manifest.fields, frame)
        return Rows(frame, columns, answered(frame.iloc[first:], self.manifest))


@dataclass(frozen=True, slots=True)
class References:
    """What an endpoint is compared with.

    Attributes:
        variant: Variant whose model is the reference of the data: the stable one, unless another
            one is asked for.
        models: The version behind each variant now.
        schema: All fields of the endpoint.
    """

    variant: str
    models: Mapping[str, Model]
    schema: Schema

    @property
    def model(self) -> Model:
        """The model that the data are compared with."""
        return self.models[self.variant]

    @property
    def holders(self) -> tuple[Model, ...]:
        """All models, that of the reference first: it may lack a field that others take."""
        return (self.model, *self.models.values())


def references(
    name: str, endpoint: Endpoint, state: State, variant: str | None = None
) -> References:
    """Finds the models of an endpoint as the plan and the aliases name them now.

    Args:
        name: Name of the endpoint.
        endpoint: Its section of the plan.
        state: The state database.
        variant: The variant that is asked for; left out, the stable one is the reference.

    Raises:
        NotFound: There is no such variant, or a model that the plan names is not there.
        PlanError: The variants do not fit together.
    """
    if variant is not None and variant not in endpoint.variants:
        known = ", ".join(endpoint.variants)
        raise NotFound(f"Endpoint {name!r} has no variant {variant!r}; it has {known}.")
    aliases = lock.aliases(state)
    models = {
        each: model_of(str(find(bound.model, aliases))) for each, bound in endpoint.variants.items()
    }
    try:
        schema = union([model.manifest.fields for model in models.values()])
    except ValueError as error:
        raise PlanError(
            f"The variants of endpoint {name!r} do not fit together: {error}."
        ) from error
    return References(variant or endpoint.stable, models, schema)


def model_of(tag: str) -> Model:
    """Returns a version.

    Args:
        tag: `name:version`.

    Raises:
        NotFound: It is not in the store.
        ModelRefused: It is there in part only, or cannot be read.
    """
    manifest = store.manifest(*store.split(tag))
    return Model(tag, manifest, read_profile(manifest))


def find_model(tag: str) -> Model | None:
    """Returns the version that the log names; None if it cannot be had any more."""
    try:
        return model_of(tag)
    except SwitchyardError:
        return None
