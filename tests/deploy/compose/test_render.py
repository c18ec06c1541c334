"""What the target `compose` sends."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from bentos import PLAN as BENTO_PLAN
from bentos import golden, made, plan

from deploy.compose.services import SENT
from deploy.compose.target import ENVIRONMENT, FILE, TARGET
from deploy.compose.values import ComposeValues, Part
from deploy.documents import Document, names_of, text
from deploy.errors import ValuesError
from deploy.targets import example_values
from deploy.values import read_values
from switchyard.settings import ROOT

GOLDEN = Path(__file__).parent / "golden"
ALL = f"parts=[{', '.join(get_args(Part))}]"
OURS = ("rules.yml", "alerts.yml", ".json")
"""Files of the project that are sent as they are."""

CLOSED = made(plan=plan(BENTO_PLAN + "auth: required\n"))


def values(*changes: str) -> ComposeValues:
    return read_values(ComposeValues, [example_values("compose")], changes, None)


def rendered(*changes: str, bento: Any = None) -> dict[str, Document]:
    return {each.name: each for each in TARGET.render(bento or made(), values(*changes))}


def services(*changes: str) -> dict[str, Any]:
    content = rendered(*changes)[FILE].content
    assert isinstance(content, dict)
    found: dict[str, Any] = content["services"]
    return found


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("example", ()),
        ("all", (ALL, "log_store=s3://bucket/log", "alert_webhook=ALERTS_URL")),
        ("alone", ("parts=[]", "admin_token=null", "database=DATABASE_URL")),
    ],
)
def test_what_is_sent(name: str, changes: tuple[str, ...]) -> None:
    documents = [each for each in rendered(*changes).values() if not each.name.endswith(OURS)]
    golden(GOLDEN / f"{name}.yaml", text(documents))


def test_rules_and_dashboards_are_those_of_the_project() -> None:
    sent = rendered()
    for folder, place, pattern in (
        ("prometheus", "prometheus", "*s.yml"),
        ("grafana/dashboards", "grafana", "*.json"),
    ):
        files = {
            path.name: path.read_text() for path in (ROOT / "monitoring" / place).glob(pattern)
        }
        files.pop("prometheus.yml", None)
        assert files
        for name, content in files.items():
            assert sent[f"{folder}/{name}"].content == content


def test_what_is_printed_is_read_alike_by_the_yaml_of_every_compose() -> None:
    for name, document in rendered(ALL).items():
        if isinstance(document.content, dict):
            assert yaml.safe_load(text([document])) == document.content, name


def test_secrets_stand_in_the_variables_alone() -> None:
    documents = rendered(ALL, "alert_webhook=ALERTS_URL")
    ours = ("GRAFANA_PASSWORD", "POSTGRES_PASSWORD", "SWITCHYARD_ADMIN_TOKEN")
    needed = names_of([documents[ENVIRONMENT]])
    assert needed == ("ALERTS_URL", *ours)
    assert names_of(list(rendered("parts=[]", "alert_webhook=ALERTS_URL").values())) == ours[2:]
    assert names_of([each for name, each in documents.items() if name != ENVIRONMENT]) == ()
    for name in needed:
        assert f"${{{name}:?is not set}}" in text([documents[FILE]])


@pytest.mark.parametrize("name", ["server", "postgresql", "drift", "grafana", "redis", "mlflow"])
def test_every_container_is_held_short(name: str) -> None:
    service = services(ALL)[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert "healthcheck" in service
    assert "privileged" not in service


def test_only_the_server_may_listen_on_other_addresses_than_loopback() -> None:
    content = TARGET.render(CLOSED, values(ALL, "bind=0.0.0.0"))[0].content
    assert isinstance(content, dict)
    for name, service in content["services"].items():
        for port in service.get("ports", ()):
            assert port.startswith("0.0.0.0:" if name == "server" else "127.0.0.1:"), name
    for name in ("postgresql", "redis"):
        assert "ports" not in content["services"][name]
        assert content["services"][name]["networks"] == ["back"]


@pytest.mark.parametrize("bind", ["0.0.0.0", "192.0.2.7", "::"])
def test_an_open_plan_is_not_put_where_others_reach_it(bind: str) -> None:
    with pytest.raises(ValuesError, match="anyone could send feedback"):
        TARGET.render(made(), values(f"bind='{bind}'"))


def test_what_does_not_run_takes_no_port() -> None:
    assert rendered("parts=[]", "port=9090")
    assert rendered("parts=[monitoring]", "port=5000")
    with pytest.raises(ValuesError, match="is 5000, which is taken already"):
        values("parts=[mlflow]", "port=5000")


def test_a_plan_that_needs_keys_needs_one_for_the_smoke_test() -> None:
    with pytest.raises(ValuesError, match="the smoke test needs a key"):
        TARGET.render(CLOSED, values("admin_token=null"))
    assert TARGET.render(CLOSED, values())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("bind=here", "bind is 'here', but must be an address"),
        ("port=0", "port is 0, but a port lies between 1 and 65535"),
        ("port=9090", "ports.prometheus is 9090, which is taken already"),
        ("parts=[grafana]", "parts.0 is 'grafana', but must be"),
        ("limits.memory=4GB", "limits.memory is '4GB', but must be a number of MiB or GiB"),
        ("limits.cpus=0", "limits.cpus is 0, but must be greater than 0"),
        ("database=DATABASE_URL", "database names a database, but 'parts' has one too"),
        ("alert_webhook=http://x/y", "alert_webhook must be the name of an environment variable"),
        ("postgresql_password=sesame", "postgresql_password must be the name of an environment"),
        ("images.redis=Redis!", "images.redis is 'Redis!', but must look like"),
        ("drift_every=often", "drift_every 'often' is no duration"),
    ],
)
def test_values_that_do_not_fit(change: str, said: str) -> None:
    with pytest.raises(ValuesError) as caught:
        values(change)
    assert said in caught.value.message


def test_a_dollar_of_a_value_is_none_of_composes() -> None:
    found = services("log_store=s3://bucket/$HOME")["server"]["environment"]
    assert found["SWITCHYARD_LOG_STORE"] == "s3://bucket/$$HOME"


def test_mlflow_is_of_the_version_that_models_are_imported_with() -> None:
    """Options come and go: one that its image does not know would end the server at once."""
    image = services(ALL)["mlflow"]["image"]
    assert image.rpartition(":v")[2] == version("mlflow-skinny")


def test_a_service_changes_its_label_with_what_it_mounts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose itself does not look into mounted files, and would leave the container as it is."""
    before = {name: service["labels"][SENT] for name, service in services().items()}
    after = services("alert_webhook=ALERTS_URL")
    changed = {name for name, service in after.items() if service["labels"][SENT] != before[name]}
    assert changed == {"alertmanager"}
