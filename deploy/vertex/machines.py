"""Machines and GPUs of Vertex AI, and which of them a Bento fits on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from deploy.errors import ValuesError

if TYPE_CHECKING:
    from deploy.bento import Bento
    from deploy.vertex.values import Accelerator

__all__ = ["Kind", "spec"]

Kind = Literal[
    "NVIDIA_TESLA_P4",
    "NVIDIA_TESLA_P100",
    "NVIDIA_TESLA_V100",
    "NVIDIA_TESLA_T4",
    "NVIDIA_TESLA_A100",
    "NVIDIA_A100_80GB",
    "NVIDIA_L4",
    "NVIDIA_H100_80GB",
    "NVIDIA_H100_MEGA_80GB",
    "NVIDIA_H200_141GB",
    "NVIDIA_B200",
    "NVIDIA_GB200",
    "NVIDIA_RTX_PRO_6000",
]
"""GPUs, as the API's `AcceleratorType` names them."""

KINDS: Final = get_args(Kind)

SERIES: Final = {
    "NVIDIA_TESLA_P4": "n1-",
    "NVIDIA_TESLA_P100": "n1-",
    "NVIDIA_TESLA_V100": "n1-",
    "NVIDIA_TESLA_T4": "n1-",
    "NVIDIA_TESLA_A100": "a2-highgpu-",
    "NVIDIA_A100_80GB": "a2-ultragpu-",
    "NVIDIA_L4": "g2-",
    "NVIDIA_H100_80GB": "a3-highgpu-",
    "NVIDIA_H100_MEGA_80GB": "a3-megagpu-",
    "NVIDIA_H200_141GB": "a3-ultragpu-",
    "NVIDIA_B200": "a4-highgpu-",
    "NVIDIA_GB200": "a4x-",
    "NVIDIA_RTX_PRO_6000": "g4-",
}
"""How the names of machines begin that take a GPU."""

WITHOUT: Final = "n1-"
"""The only one of these series that is there without GPUs too."""

SIZES: Final = (2, 4, 8, 16, 32, 64, 96)
"""Cores of an `n1-standard`."""

WITH_L4: Final = {1: "g2-standard-8", 2: "g2-standard-24", 4: "g2-standard-48", 8: "g2-standard-96"}


def spec(bento: Bento, machine: str | None, given: Accelerator | None) -> dict[str, Any]:
    """Returns the `MachineSpec` that a Bento is to run on.

    All services of the Bento run on one machine, so their cores and GPUs add up.

    Args:
        bento: The Bento.
        machine: Type that the values ask for.
        given: GPUs that the values ask for.

    Raises:
        ValuesError: The machine lacks the GPUs, or it is not known which ones are needed.
    """
    kind, count = _gpus(bento, given)
    machine = machine or _machine(bento, kind, count)
    _check(machine, kind)
    if kind is None:
        return {"machineType": machine}
    return {"machineType": machine, "acceleratorType": kind, "acceleratorCount": count}


def _gpus(bento: Bento, given: Accelerator | None) -> tuple[str | None, int]:
    needed = sum(each.gpu for each in bento.services)
    if given is not None:
        if given.count < needed:
            raise ValuesError(
                f"The Bento {bento.tag} needs {needed} GPUs on one machine, but "
                f"'accelerator.count' is {given.count}."
            )
        return given.type, given.count
    if not needed:
        return None, 0
    kinds = {each.gpu_type for each in bento.services if each.gpu}
    found = {_kind(each) for each in kinds}
    if len(found) > 1 or None in found:
        named = ", ".join(sorted(repr(each) for each in kinds if each)) or "no 'gpu_type'"
        raise ValuesError(
            f"The hosts of the Bento {bento.tag} name {named}, but Vertex AI needs one kind of GPU "
            f"for all; say 'accelerator.type', one of {', '.join(KINDS)}."
        )
    return found.pop(), needed


def _kind(gpu_type: str | None) -> str | None:
    """Returns the API's name of a GPU that a plan names like Kubernetes or people do."""
    text = re.sub(r"[^A-Z0-9]+", "_", (gpu_type or "").upper())
    for after in ("", "_80GB", "_141GB"):
        for before in ("", "NVIDIA_", "NVIDIA_TESLA_"):
            if f"{before}{text}{after}" in KINDS:
                return f"{before}{text}{after}"
    return None


def _machine(bento: Bento, kind: str | None, count: int) -> str:
    if kind is None or SERIES[kind] == WITHOUT:
        cores = sum(each.cpu or 0 for each in bento.services) + 1  # and one for the router
        size = next((each for each in SIZES if each >= cores), SIZES[-1])
        return f"n1-standard-{size}"
    if kind == "NVIDIA_L4" and count in WITH_L4:
        return WITH_L4[count]
    if kind in ("NVIDIA_TESLA_A100", "NVIDIA_A100_80GB", "NVIDIA_H100_80GB"):
        return f"{SERIES[kind]}{count}g"
    raise ValuesError(
        f"It is not known which machine has {count} {kind}; say 'machine', a type that begins with "
        f"{SERIES[kind]!r}."
    )


def _check(machine: str, kind: str | None) -> None:
    if kind is not None and not machine.startswith(SERIES[kind]):
        raise ValuesError(
            f"'machine' is {machine!r}, which has no {kind}; take a type that begins with "
            f"{SERIES[kind]!r}."
        )
    if kind is None and machine.startswith(tuple({*SERIES.values()} - {WITHOUT})):
        raise ValuesError(
            f"'machine' is {machine!r}, which comes with GPUs; say 'accelerator' too, or take "
            "a machine without."
        )
