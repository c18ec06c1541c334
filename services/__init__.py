"""What `bentoml serve` runs: the router, the hosts and the controller.

The services are made when they are first asked for (`services:Router`, `services:TorchHost`), so
that a part of this package can be imported without a plan and models at hand.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Controller", "Router", "SklearnHost", "TensorFlowHost", "TorchHost"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from services.assembly import assemble

    made = assemble()
    globals().update(made)
    if name not in made:
        raise AttributeError(f"the plan needs no {name}; it needs {', '.join(made)}")
    return made[name]
