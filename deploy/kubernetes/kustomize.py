"""The same objects for kustomize: a base, and overlays that hold what differs from it.

An overlay is a file of values. Its kustomization is worked out: what its objects have otherwise
than the base's becomes patches, so `kubectl kustomize overlays/X` and `render` with X's values give
the same objects. Secrets are not among them: kustomize cannot put in what files must not hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from deploy.bento import Bento, Service
from deploy.documents import Document, as_yaml, text
from deploy.kubernetes.compare import key_of
from deploy.kubernetes.objects import Object
from deploy.kubernetes.render import objects
from deploy.kubernetes.values import KubernetesValues
from deploy.values import read_values
from switchyard.plan import read_plan
from switchyard.settings import ROOT

__all__ = ["FOLDER", "OVERLAYS", "VALUES", "example", "files", "values_of"]

FOLDER: Final = Path(__file__).parent
VALUES: Final = "values.yaml"
OVERLAYS: Final = ("dev", "production", "gpu")
HEADER: Final = "Made by `python -m deploy.kubernetes`; change values, not this."
COMPONENT: Final = "app.kubernetes.io/name"

NAMES: Final = {
    "sklearn": "SklearnHost",
    "torch": "TorchHost",
    "tensorflow": "TensorFlowHost",
    "onnx": "OnnxHost",
}


def example() -> Bento:
    """Returns the Bento that the plan of this checkout would make, with the hosts it names."""
    plan = read_plan(ROOT / "switchyard.yaml")
    hosts = [
        Service(
            NAMES[framework],
            framework,
            host.workers,
            host.resources.cpu,
            host.resources.gpu or 0,
            host.resources.gpu_type,
        )
        for framework, host in sorted(plan.hosts.items())
    ]
    router = Service("Router", None, plan.router.workers, None, 0, None)
    return Bento("router:example", ROOT, (router, *hosts), (), plan, {})


def values_of(overlay: str | None) -> KubernetesValues:
    """Returns the values of the base, or of an overlay over it."""
    over = [] if overlay is None else [FOLDER / "overlays" / overlay / VALUES]
    return read_values(
        KubernetesValues,
        [FOLDER / "values.example.yaml", *over],
        ["secrets.existing=switchyard-secrets"],
        None,
    )


def files(bento: Bento) -> dict[str, str]:
    """Returns the files of the base and of all overlays by their paths below this folder.

    Args:
        bento: What is deployed.
    """
    base = objects(bento, values_of(None))
    made = {f"base/{name}": body for name, body in _base(base).items()}
    for overlay in OVERLAYS:
        folder = f"overlays/{overlay}"
        for name, body in _overlay(base, objects(bento, values_of(overlay))).items():
            made[f"{folder}/{name}"] = body
    return made


def _base(found: Sequence[Object]) -> dict[str, str]:
    """Returns a file for each component, and the kustomization that names them."""
    files: dict[str, list[Object]] = {}
    for each in found:
        files.setdefault(f"{each['metadata']['labels'][COMPONENT]}.yaml", []).append(each)
    made = {name: _stream(held) for name, held in files.items()}
    made["kustomization.yaml"] = _kustomization({"resources": sorted(files)})
    return made


def _overlay(base: Sequence[Object], found: Sequence[Object]) -> dict[str, str]:
    """Returns the kustomization of an overlay, and the objects that the base lacks."""
    before = {key_of(each): each for each in base}
    after = {key_of(each): each for each in found}
    added = [each for key, each in after.items() if key not in before]
    patches = [_deletion(each) for key, each in before.items() if key not in after]
    for key, each in after.items():
        changes = list(_changes(before[key], each, "")) if key in before else []
        if changes:
            kind, name = key
            patches.append({"target": {"kind": kind, "name": name}, "patch": as_yaml(changes)})
    content: Object = {"resources": ["../../base", *(["added.yaml"] if added else [])]}
    if patches:
        content["patches"] = patches
    made = {"kustomization.yaml": _kustomization(content)}
    if added:
        made["added.yaml"] = _stream(added)
    return made


def _deletion(found: Object) -> Object:
    kind, name = key_of(found)
    gone = {
        "$patch": "delete",
        "apiVersion": found["apiVersion"],
        "kind": kind,
        "metadata": {"name": name},
    }
    return {"target": {"kind": kind, "name": name}, "patch": as_yaml(gone)}


def _changes(before: Any, after: Any, path: str) -> Iterator[Object]:
    """Yields what makes one value of another, as JSON Patch (RFC 6902) has it."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in before:
            if key not in after:
                yield {"op": "remove", "path": f"{path}/{_escaped(key)}"}
        for key, value in after.items():
            below = f"{path}/{_escaped(key)}"
            if key in before:
                yield from _changes(before[key], value, below)
            else:
                yield {"op": "add", "path": below, "value": value}
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _changes(one, other, f"{path}/{number}")
    elif before != after:
        yield {"op": "replace", "path": path, "value": after}


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _kustomization(content: Object) -> str:
    head = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    return text([Document(HEADER, {**head, **content})])


def _stream(found: Sequence[Object]) -> str:
    return text([Document(" ".join(key_of(each)), each) for each in found])
