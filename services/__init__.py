"""What `bentoml serve` runs: the router, the hosts and the controller.

The services are made when they are first asked for (`services:Router`, `services:TorchHost`), so
that a part of this package can be imported without a plan and models at hand.
"""

from __future__ import annotations

import sys
from typing import Any

from switchyard.errors import SwitchyardError

__all__ = ["Controller", "Router", "SklearnHost", "TensorFlowHost", "TorchHost"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from monitoring.telemetry.logs import take_over
    from services.assembly import assemble

    take_over()  # what the assembly says belongs in the log, too
    try:
        made = assemble()
    except SwitchyardError as error:
        sys.exit(error.message)  # one sentence for whoever starts the server, no stack trace
    globals().update(made)
    if name not in made:
        raise AttributeError(f"the plan needs no {name}; it needs {', '.join(made)}")
    return made[name]
