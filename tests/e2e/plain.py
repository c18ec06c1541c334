"""The router by BentoML's own application, without the lean layer, to compare the two."""

from __future__ import annotations

from _bentoml_sdk.service import Service

from services.assembly import assemble

Router = assemble(service_class=Service)["Router"]
