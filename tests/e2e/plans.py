"""Plans that the end-to-end tests serve."""

from __future__ import annotations

from e2e.server import ROOT

PATIENT = "limits: {max_queue_ms: 5000, timeout_ms: 20000}"
"""Of an endpoint whose requests all get an answer, also where the machine is busy."""

DIGITS = f"""
endpoints:
  digits:
    stable: sklearn
    variants:
      sklearn: {{model: "digits-sklearn:production"}}
    {PATIENT}
"""
"""One variant of one framework: the quickest server."""

ANYONE = f"""
endpoints:
  flights:
    stable: sklearn
    variants:
      sklearn: {{model: "flights-sklearn:production"}}
      torch: {{model: "flights-torch:production"}}
    traffic:
      split: {{sklearn: 0.5, torch: 0.5}}
    forced_variant: anyone
    {PATIENT}
"""
"""Two quick hosts, and anyone may ask for either."""

TWO_WAYS = """
endpoints:
  flights:
    default: true
    stable: sklearn
    variants:
      sklearn: {{model: "flights-sklearn:production"}}
      torch: {{model: "flights-torch:production"}}
    traffic:
      split: {{sklearn: {sklearn}, torch: {torch}}}
      shadow: {shadow}
    {patient}
router: {{workers: {workers}}}
auth: {auth}
"""


def two_variants(
    sklearn: float = 0.7,
    torch: float = 0.3,
    shadow: str = "{}",
    workers: int = 1,
    auth: str = "open",
) -> str:
    """Flights in two frameworks; asking for a variant needs the admin scope."""
    return TWO_WAYS.format(
        sklearn=sklearn, torch=torch, shadow=shadow, workers=workers, auth=auth, patient=PATIENT
    )


def example() -> str:
    """The plan of the repository, patient."""
    plan = (ROOT / "switchyard.yaml").read_text()
    plan = plan.replace("max_queue_ms: 200", "max_queue_ms: 5000")
    plan = plan.replace("timeout_ms: 2000", "timeout_ms: 20000")
    digits = "    gates: [metrics.accuracy"
    return plan.replace(digits, f"    {PATIENT}\n{digits}")
