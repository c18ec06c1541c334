"""A plan for fewer frameworks: what a slim image serves."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from typing import Any

from ruamel.yaml import YAML

from switchyard.errors import InvalidInput

__all__ = ["slim"]


def slim(plan: str, frameworks: Mapping[str, Mapping[str, str]], keep: Collection[str]) -> str:
    """Returns the plan with only those variants that some frameworks run.

    Shares of the variants that are left are scaled to sum to 1 again. Where the stable variant
    goes, the one with the largest share takes its place; an endpoint without variants goes.

    Args:
        plan: Text of the plan; its comments are kept.
        frameworks: Framework of each variant, by endpoint and variant.
        keep: Frameworks that stay.

    Raises:
        InvalidInput: No variant of the plan is of one of these frameworks.
    """
    yaml = YAML()
    yaml.width = 4096
    tree = yaml.load(plan)
    there = {framework for variants in frameworks.values() for framework in variants.values()}
    unknown = sorted(set(keep) - there)
    if unknown or not keep:
        raise InvalidInput(
            f"No variant of the plan is run by {', '.join(unknown) or 'no framework'}; its "
            f"frameworks are {', '.join(sorted(there))}."
        )
    for name, endpoint in list(tree["endpoints"].items()):
        left = [each for each, framework in frameworks[name].items() if framework in keep]
        if left:
            _narrow(endpoint, left)
        else:
            del tree["endpoints"][name]
    for framework in list(tree.get("hosts") or {}):
        if framework not in keep:
            del tree["hosts"][framework]
    text = io.StringIO()
    yaml.dump(tree, text)
    return text.getvalue()


def _narrow(endpoint: Any, left: list[str]) -> None:
    traffic = endpoint.get("traffic") or {}
    split = traffic.get("split") or {endpoint["stable"]: 1.0}
    shares = {name: float(split.get(name, 0)) for name in left}
    if endpoint["stable"] not in left:
        endpoint["stable"] = max(left, key=lambda name: shares[name])
    for name in [each for each in endpoint["variants"] if each not in left]:
        del endpoint["variants"][name]
    if isinstance(endpoint.get("fallback"), str) and endpoint["fallback"] not in left:
        endpoint["fallback"] = True
    metrics = endpoint.get("metrics") or {}
    if metrics.get("control") not in (None, *left):
        del metrics["control"]
    if "split" in traffic:
        total = sum(shares.values())
        if total:
            traffic["split"] = {name: share / total for name, share in shares.items()}
        else:
            del traffic["split"]
    for name in [each for each in traffic.get("shadow") or {} if each not in left]:
        del traffic["shadow"][name]
