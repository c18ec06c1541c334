"""A real Prometheus over a real server: alerts come and go, and every panel has something to show.

Prometheus has the configuration and the rules of the project, only in a hurry.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import yaml
from e2e.calls import flight
from e2e.lines import OVERFLOWS, line, own_models, remove_models
from e2e.server import Server, wait_until
from e2e.versions import switchyard
from prometheus import FOLDER, Prometheus, hurried, running

from monitoring.grafana.files import DASHBOARDS
from monitoring.grafana.render import as_json

PLAN = """
endpoints:
  flights:
    default: true
    stable: sklearn
    variants:
      sklearn: {model: "flights-sklearn:production"}
      torch: {model: "flights-torch:production"}
    traffic:
      split: {sklearn: 0.6, torch: 0.4}
      shadow: {torch: 1.0}
    fallback: true
    forced_variant: anyone
    metrics: {primary: accuracy, outcome_window: 1s, minimum: 5}
    drift: {every: 30s, minimum: 50}
  line:
    stable: only
    variants:
      only: {model: "line:production"}
    canary: {steps: [50, 100], bake: 1s, minimum_requests: 20}
"""

ROWS = 20
HOST_DOWN = "SwitchyardHostDown"

pytestmark = pytest.mark.slow  # it kills a host, and sees a canary through


class Callers:
    """Ask for flights and lines again and again, and tell what became of the flights."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Callers:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join(30)

    def _run(self) -> None:
        chance = random.Random(7)
        with httpx.Client(base_url=self._url, timeout=20) as client:
            for number in itertools.count():
                if self._enough.is_set():
                    return
                rows = [flight(temp=chance.uniform(10, 60)) for _ in range(ROWS)]
                forced = {"variant": "torch"} if number % 5 == 0 else {}
                reply = client.post("/predict", json={"inputs": rows, **forced})
                if reply.status_code == 200:
                    self._tell(client, reply.json(), chance)
                x = 10.0 if number % 2 else 1.0
                client.post("/predict", json={"endpoint": "line", "inputs": [{"x": x}]})

    def _tell(self, client: httpx.Client, answer: dict[str, Any], chance: random.Random) -> None:
        truths = [
            {"request_id": answer["request_id"], "row": row, "actual": int(chance.random() < 0.2)}
            for row in range(ROWS)
        ]
        client.post("/feedback", json=truths)


@pytest.fixture(scope="module")
def server(make_server: Callable[..., Server]) -> Iterator[Server]:
    made = make_server(plan=PLAN)
    own_models(made)
    for model in (made.store / "models").iterdir():
        if not (made.bentoml_home / "models" / model.name).exists():
            os.symlink(model, made.bentoml_home / "models" / model.name)
    yield made.start()
    remove_models(made)


@pytest.fixture(scope="module")
def prometheus(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    with running(folder, hurried(folder, f"127.0.0.1:{server.port}")) as started:
        yield started


@pytest.fixture(scope="module")
def callers(server: Server) -> Iterator[Callers]:
    with Callers(server.url) as busy:
        yield busy


def until_firing(prometheus: Prometheus, name: str) -> dict[str, Any]:
    """Waits for an alert that does not fire yet, and returns it as Prometheus shows it then."""
    assert not prometheus.firing(name)
    wait_until(lambda: bool(prometheus.firing(name)), f"{name} fires", 120)
    return prometheus.firing(name)[0]


@pytest.fixture(scope="module")
def killed(server: Server, prometheus: Prometheus, callers: Callers) -> dict[str, Any]:
    """The alert that a killed host has brought; the host is back."""
    up = 'host_up{framework="torch"}'
    wait_until(lambda: prometheus.numbers(up) == [1], "Prometheus knows that the host is up")
    (torch,) = server.workers("TorchHost")
    torch.kill()
    alert = until_firing(prometheus, HOST_DOWN)
    wait_until(lambda: prometheus.numbers(up) == [1], "the host is back", 90)
    return alert


@pytest.fixture(scope="module")
def taken_back(server: Server, prometheus: Prometheus, callers: Callers) -> dict[str, Any]:
    """The alert that a canary has brought that was taken back."""
    bad = line(server, OVERFLOWS)
    switchyard(server, "canary", "start", "line", "--model", f"line:{bad}")
    return until_firing(prometheus, "SwitchyardCanaryRolledBack")


def test_an_alert_fires_when_a_host_is_killed_and_ends_when_it_is_back(
    prometheus: Prometheus, killed: dict[str, Any]
) -> None:
    assert killed["labels"]["framework"] == "torch"
    assert killed["annotations"]["summary"] == "The torch host is down"
    wait_until(lambda: not prometheus.firing(HOST_DOWN), "the alert ends", 10)


def test_a_canary_that_was_taken_back_is_an_alert(
    server: Server, taken_back: dict[str, Any]
) -> None:
    assert taken_back["labels"]["endpoint"] == "line"
    shown = json.loads(switchyard(server, "canary", "status", "line", "--json"))
    assert shown["status"] == "failed"


def queries(name: str) -> Iterator[tuple[str, str, bool]]:
    """Panel, PromQL and whether it is drawn over time, of each query of a dashboard."""
    for panel in as_json(DASHBOARDS[name])["panels"]:
        for target in panel.get("targets", ()):
            chosen = target["expr"].replace("$endpoint", ".*").replace("$variant", ".*")
            expr = chosen.replace("$window", "1h").replace("$__rate_interval", "1m")
            assert "$" not in expr
            yield panel["title"], expr, target["range"]


@pytest.mark.usefixtures("killed", "taken_back")
@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_query_of_every_panel_returns_data(name: str, prometheus: Prometheus) -> None:
    """Also those of failures, as a host was killed and a canary taken back."""
    left = dict.fromkeys(queries(name))

    def all_have() -> bool:
        for title, expr, lines in list(left):
            if prometheus.numbers(expr, seconds=300 if lines else 0):
                del left[title, expr, lines]
        return not left

    try:
        wait_until(all_have, "every panel has data", 120)
    except TimeoutError:
        pytest.fail("no data for:\n" + "\n".join(f"{title}: {expr}" for title, expr, _ in left))


@pytest.mark.usefixtures("killed", "taken_back")
def test_the_cases_of_the_alerts_are_fed_with_what_there_is(prometheus: Prometheus) -> None:
    """Names and labels that promtool's cases make up would prove alerts that never fire."""
    fed: dict[str, set[str]] = {}
    for path in (FOLDER / "tests").glob("*.yml"):
        for case in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            for series in case["input_series"]:
                name, _, labels = series["series"].partition("{")
                fed.setdefault(name, set()).update(re.findall(r"(\w+)=", labels))
    now = time.time()
    for name, labels in fed.items():
        known = prometheus.get("series", **{"match[]": name, "start": now - 600, "end": now})
        assert any(labels <= one.keys() for one in known), (name, labels, known[:1])


@pytest.mark.usefixtures("callers")
def test_every_rule_can_be_evaluated(prometheus: Prometheus) -> None:
    rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert len(rules) > 25
    assert [rule["name"] for rule in rules if rule["health"] == "err"] == []


@pytest.mark.usefixtures("callers")
@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_variable_offers_what_there_is(name: str, prometheus: Prometheus) -> None:
    asked = {variable.name: variable.query for variable in DASHBOARDS[name].variables}

    def offered(variable: str) -> set[str]:
        of = re.fullmatch(r"label_values\((.+), (\w+)\)", asked[variable])
        assert of is not None
        series = {"match[]": of[1].replace("$endpoint", ".*")}
        return set(prometheus.get(f"label/{of[2]}/values", **series))

    wait_until(lambda: offered("endpoint") == {"flights", "line"}, "both endpoints are offered")
    wait_until(lambda: offered("variant") >= {"only", "sklearn", "torch"}, "so are the variants")
