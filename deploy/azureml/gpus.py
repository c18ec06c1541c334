"""Which GPUs Azure's machines have, as far as online endpoints offer them."""

from __future__ import annotations

from typing import Final

from deploy.bento import Bento
from deploy.errors import ValuesError

__all__ = ["check"]

GPUS: Final = {
    "standard_nc4as_t4_v3": ("t4", 1),
    "standard_nc8as_t4_v3": ("t4", 1),
    "standard_nc16as_t4_v3": ("t4", 1),
    "standard_nc64as_t4_v3": ("t4", 4),
    "standard_nc6s_v3": ("v100", 1),
    "standard_nc12s_v3": ("v100", 2),
    "standard_nc24s_v3": ("v100", 4),
    "standard_nd40rs_v2": ("v100", 8),
    "standard_nc24ads_a100_v4": ("a100", 1),
    "standard_nc48ads_a100_v4": ("a100", 2),
    "standard_nc96ads_a100_v4": ("a100", 4),
    "standard_nd96asr_v4": ("a100", 8),
    "standard_nd96amsr_a100_v4": ("a100", 8),
    "standard_nc40ads_h100_v5": ("h100", 1),
    "standard_nc80adis_h100_v5": ("h100", 2),
    "standard_nd96isr_h100_v5": ("h100", 8),
}
"""Kind and number of GPUs by size, in lower case; all of Azure's other `Standard_N` are unknown."""

WITH_GPU: Final = "standard_n"
"""Begins the names of sizes that have a GPU."""


def check(bento: Bento, instance_type: str) -> None:
    """Refuses a size of machine that lacks the GPUs that the Bento declares.

    All services of the Bento run on one machine, so their GPUs add up. A size with GPUs that is
    not in the list passes: Azure brings new ones.

    Raises:
        ValuesError: It has none, too few, or others.
    """
    needed = sum(each.gpu for each in bento.services)
    size = instance_type.lower()
    if not needed:
        return
    if not size.startswith(WITH_GPU):
        raise ValuesError(
            f"The Bento {bento.tag} needs {needed} GPU{'s' * (needed > 1)}, but {instance_type} "
            "has none; take an 'instance_type' such as 'Standard_NC4as_T4_v3'."
        )
    if size not in GPUS:
        return
    kind, count = GPUS[size]
    if count < needed:
        raise ValuesError(
            f"The Bento {bento.tag} needs {needed} GPUs, but {instance_type} has {count}; take a "
            "larger 'instance_type'."
        )
    for service in bento.services:
        if service.gpu_type and kind not in service.gpu_type.lower():
            raise ValuesError(
                f"{service.name} of the Bento {bento.tag} asks for a GPU of type "
                f"{service.gpu_type!r}, but {instance_type} has {kind.upper()}; change "
                "'instance_type', or 'gpu_type' in the plan."
            )
