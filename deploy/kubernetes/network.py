"""How callers get in, and that nobody else does."""

from __future__ import annotations

from typing import Final

from deploy.bento import Service
from deploy.kubernetes.objects import PORT, ROUTER, Draft, Object
from deploy.kubernetes.workloads import component

__all__ = ["gateway_route", "ingress", "open_paths", "policies"]

ADMIN: Final = "/admin"
FEEDBACK: Final = "/feedback"

PATHS: Final = (
    "/health",
    "/healthz",
    "/invocations",
    "/livez",
    "/ping",
    "/predict",
    "/readyz",
    "/score",
    "/swagger.json",
    "/v1",
    "/v2",
)
"""What may be asked from outside; metrics are not among it."""


def open_paths(draft: Draft) -> tuple[str, ...]:
    """Returns the paths that lead in.

    Feedback leads in only where the plan asks callers for a key, and the admin routes, which always
    ask for their token, only where the values say so.
    """
    more = [FEEDBACK] if draft.bento.plan.auth == "required" else []
    more += [ADMIN] if draft.values.admin else []
    return tuple(sorted((*PATHS, *more)))


def ingress(draft: Draft) -> Object | None:
    """Returns the Ingress, if there is to be one."""
    said = draft.values.ingress
    if said is None:
        return None
    backend = {"service": {"name": draft.name(ROUTER), "port": {"name": "http"}}}
    paths = [{"path": path, "pathType": "Prefix", "backend": backend} for path in open_paths(draft)]
    rule: Object = {"http": {"paths": paths}}
    if said.host is not None:
        rule = {"host": said.host, **rule}
    spec: Object = {"rules": [rule]}
    if said.class_name is not None:
        spec = {"ingressClassName": said.class_name, **spec}
    if said.tls is not None:
        hosts = {} if said.host is None else {"hosts": [said.host]}
        spec["tls"] = [{**hosts, "secretName": said.tls}]
    return draft.object(
        "Ingress",
        "networking.k8s.io/v1",
        draft.name(ROUTER),
        ROUTER,
        annotations=said.annotations,
        spec=spec,
    )


def gateway_route(draft: Draft) -> Object | None:
    """Returns the HTTPRoute of the Gateway API, if there is to be one."""
    said = draft.values.gateway
    if said is None:
        return None
    parent = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": said.name}
    if said.namespace is not None:
        parent["namespace"] = said.namespace
    backend = {
        "group": "",
        "kind": "Service",
        "name": draft.name(ROUTER),
        "port": PORT,
        "weight": 1,
    }
    paths = open_paths(draft)
    # A rule takes at most eight matches.
    groups = [paths[start : start + 8] for start in range(0, len(paths), 8)]
    rules = [
        {
            "matches": [{"path": {"type": "PathPrefix", "value": path}} for path in group],
            "backendRefs": [backend],
        }
        for group in groups
    ]
    spec: Object = {"parentRefs": [parent], "rules": rules}
    if said.host is not None:
        spec["hostnames"] = [said.host]
    return draft.object(
        "HTTPRoute", "gateway.networking.k8s.io/v1", draft.name(ROUTER), ROUTER, spec=spec
    )


def policies(draft: Draft) -> list[Object]:
    """Returns the NetworkPolicies: one for each kind of pods, and one that keeps all others shut.

    What pods may reach is left open: databases and log stores are anywhere.
    """
    return [
        _policy(draft, "pods", None, []),
        _policy(draft, ROUTER, ROUTER, _callers(draft)),
        *(_host_policy(draft, host) for host in draft.bento.hosts),
    ]


def _callers(draft: Draft) -> list[Object]:
    """Returns who may reach the router; an empty rule lets all in."""
    if not draft.values.callers:
        return [{"ports": _ports()}]
    named = [_namespace(name) for name in draft.values.callers]
    return [{"from": [*named, *_prometheus(draft)], "ports": _ports()}]


def _host_policy(draft: Draft, host: Service) -> Object:
    """Returns who may reach a host: the routers, and Prometheus."""
    routers = {"podSelector": {"matchLabels": draft.selector(ROUTER)}}
    own = component(host)
    allowed = {"from": [routers, *_prometheus(draft)], "ports": _ports()}
    return _policy(draft, own, own, [allowed])


def _policy(draft: Draft, name: str, chosen: str | None, rules: list[Object]) -> Object:
    spec = {
        "podSelector": {"matchLabels": draft.selector(chosen)},
        "policyTypes": ["Ingress"],
        **({"ingress": rules} if rules else {}),
    }
    return draft.object("NetworkPolicy", "networking.k8s.io/v1", draft.name(name), name, spec=spec)


def _prometheus(draft: Draft) -> list[Object]:
    said = draft.values.monitoring
    return [] if said is None else [_namespace(said.namespace)]


def _namespace(name: str) -> Object:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def _ports() -> list[Object]:
    return [{"port": "http", "protocol": "TCP"}]
