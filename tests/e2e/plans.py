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

ANYONE = """
endpoints:
  flights:
    stable: sklearn
    variants:
      sklearn: {model: "flights-sklearn:production"}
      torch: {model: "flights-torch:production"}
    traffic:
      split: {sklearn: 0.5, torch: 0.5}
    forced_variant: anyone
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
