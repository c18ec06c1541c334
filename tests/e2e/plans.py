"""Plans that the end-to-end tests serve."""

from __future__ import annotations

DIGITS = """
endpoints:
  digits:
    stable: sklearn
    variants:
      sklearn: {model: "digits-sklearn:production"}
"""
"""One variant of one framework: the quickest server."""

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
    return TWO_WAYS.format(sklearn=sklearn, torch=torch, shadow=shadow, workers=workers, auth=auth)
