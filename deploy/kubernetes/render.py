"""All objects of a deployment, in the order in which they are sent."""

from __future__ import annotations

from deploy.bento import Bento
from deploy.documents import Document
from deploy.kubernetes.config import claims, plan_map, secret
from deploy.kubernetes.jobs import cron_jobs
from deploy.kubernetes.network import gateway_route, ingress, policies
from deploy.kubernetes.objects import Draft, Object
from deploy.kubernetes.scaling import disruption_budget, scaler
from deploy.kubernetes.values import KubernetesValues
from deploy.kubernetes.watching import prometheus_rules, service_monitor
from deploy.kubernetes.workloads import account, deployment, service

__all__ = ["objects", "render"]


def objects(bento: Bento, values: KubernetesValues) -> list[Object]:
    """Returns all objects: what others need comes before them.

    Raises:
        ValuesError: The values and the Bento do not go together.
    """
    draft = Draft(bento, values)
    draft.check()
    served = (draft.router, *bento.hosts)
    wanted: list[Object | None] = [
        account(draft),
        plan_map(draft),
        secret(draft),
        *claims(draft),
        *policies(draft),
        *(service(draft, each) for each in served),
        *(deployment(draft, each) for each in served),
        *(scaler(draft, each) for each in served),
        *(disruption_budget(draft, each) for each in served),
        ingress(draft),
        gateway_route(draft),
        service_monitor(draft),
        *prometheus_rules(draft),
        *cron_jobs(draft),
    ]
    return [each for each in wanted if each is not None]


def render(bento: Bento, values: KubernetesValues) -> list[Document]:
    """Returns all objects as documents."""
    return [
        Document(f"{each['kind']} {each['metadata']['name']}", each)
        for each in objects(bento, values)
    ]
