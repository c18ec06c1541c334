"""Kubernetes: the router and every host a Deployment of its own, by kubectl.

`render` makes the objects from a Bento and its values; what kustomize reads (`base`, `overlays`) is
written from the same objects by `python -m deploy.kubernetes`.
"""
