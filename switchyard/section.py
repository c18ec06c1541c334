"""Settings that people write: frozen, typed, without keys that nobody knows."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from switchyard.plan_problems import hint, wrong

__all__ = ["KnownKeys", "Section"]


class KnownKeys(BaseModel):
    """Settings that people write; an unknown key is refused with the nearest known one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        if isinstance(value, dict):
            known = tuple(cls.model_fields)
            for key in value:
                if key not in known:
                    raise wrong(f"is an unknown key; {hint(key, known, 'the keys here are')}", key)
        return value


class Section(KnownKeys):
    """What all sections of the plan share: values have their very types."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)
