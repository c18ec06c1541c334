"""`switchyard replay` through a real server: what it holds afterwards is what happened."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from e2e.calls import digits
from e2e.plans import DIGITS, PATIENT
from e2e.server import ROOT, Server, wait_until

from models.flights import data
from monitoring.feedback import open_joined

BOTH = f"""{DIGITS}
  flights:
    stable: sklearn
    variants: {{sklearn: {{model: "flights-sklearn:production"}}}}
    {PATIENT}
"""
JULY = ("--from", "2013-07-04", "--to", "2013-07-05")
COMMAND = (sys.executable, "-c", "from cli.main import main; main()", "replay")


@pytest.fixture(scope="module")
def past(make_server: Callable[..., Server]) -> Iterator[Server]:
    server = make_server(plan=BOTH).start()
    yield server
    server.stop()


def replay(server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "--url", server.url, "--rate", "20000/s", *words]
    return subprocess.run(
        command, cwd=ROOT, env=server.environ, capture_output=True, text=True, timeout=120
    )


def test_what_the_server_does_not_take(past: Server, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"t": [datetime(2024, 1, 1)], "pixel_0_0": [1.0]}), path)
    its = ("--data", str(path), "--time", "t", "--from", "2024-01-01", "--to", "2024-01-01")
    for words, problem in (
        (("--endpoint", "trains", *its), "has no endpoint 'trains'"),
        (("--endpoint", "digits", *its), "has no column 'pixel_0_1', "),
        (("--endpoint", "flights", *JULY, "--batch", "1025"), "more than the 1024 rows"),
    ):
        done = replay(past, *words)
        assert (done.returncode, done.stdout) == (1, "")
        assert problem in done.stderr
        assert "Traceback" not in done.stderr
    stranger = subprocess.run(
        [*COMMAND, "--url", past.url, "--endpoint", "flights", *JULY],
        cwd=ROOT,
        env={**past.environ, "SWITCHYARD_ADMIN_TOKEN": "wrong"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert stranger.returncode == 1
    assert "does not take the admin token" in stranger.stderr


def test_two_days_of_flights_come_back_with_their_times_and_outcomes(past: Server) -> None:
    done = replay(past, "--endpoint", "flights", *JULY, "--batch", "7", "--json")
    assert done.returncode == 0, done.stderr
    said = orjson.loads(done.stdout)
    flights = data.load()
    day = flights["scheduled_departure"].dt.floor("D")
    flights = flights[day.isin([datetime(2013, 7, 4), datetime(2013, 7, 5)])]
    assert said["rows"] == said["answered"] == said["accepted"] == len(flights)
    assert f"{len(flights):,} of {len(flights):,} rows, up to 2013-07-05" in done.stderr

    def logged() -> bool:
        with open_joined(past.home / "log", "flights") as db:
            found = db.execute("SELECT count(actual) FROM joined").fetchone()
        return found == (len(flights),)

    wait_until(logged, "rows and outcomes are in the log", 20)
    with open_joined(past.home / "log", "flights") as db:
        rows = db.execute(
            "SELECT event_time, carrier, distance, CAST(actual AS INT), feedback_event_time "
            "FROM joined"
        ).fetchall()
    columns = ["scheduled_departure", "carrier", "distance", "target"]
    happened = flights[columns].itertuples(index=False, name=None)
    assert sorted(row[:4] for row in rows) == sorted(happened)
    assert {row[4] - row[0] for row in rows} == {timedelta(minutes=30)}


def test_data_of_a_file_with_a_row_that_does_not_fit(past: Server, tmp_path: Path) -> None:
    images = digits(40)
    images[3, 5] = float("nan")
    names = data_names()
    table = pa.table(
        {
            "seen": [f"2024-01-01T{hour:02}:00:00+01:00" for hour in range(20)] * 2,
            "label": [n % 10 if n else None for n in range(40)],
            **{name: images[:, place] for place, name in enumerate(names)},
            "unused": ["x"] * 40,
        }
    )
    path = tmp_path / "rows.parquet"
    pq.write_table(table, path)
    done = replay(
        past, "--endpoint", "digits", "--data", str(path), "--time", "seen", "--target", "label",
        "--from", "2023-12-31T23:00", "--to", "2024-01-01", "--batch", "8",
    )  # fmt: skip
    assert done.returncode == 1
    assert "40 of 40 rows sent, 39 answered, 1 refused; 38 of 39 outcomes accepted" in done.stdout
    assert "The first refusal: pixel_0_5 " in done.stderr


def data_names() -> list[str]:
    return [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]


@pytest.mark.slow
def test_ctrl_c_ends_it_with_a_summary(past: Server) -> None:
    command = [*COMMAND, "--url", past.url, "--endpoint", "flights", *JULY, "--rate", "100/s"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=past.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    before = metric(past)
    wait_until(lambda: metric(past) > before, "rows are being sent", 60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "0 refused" in out
    sent, answered = (
        int(out.split(word)[0].split()[-1].replace(",", "")) for word in (" of ", " answered")
    )
    assert 0 < sent == answered
    assert "It was told to stop." in err
    assert "To go on from there: --from 2013-07-04T" in err


def metric(server: Server) -> float:
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    counts = [
        line for line in lines if line.startswith('model_predictions_total{endpoint="flights"')
    ]
    return sum(float(line.rsplit(" ", 1)[1]) for line in counts)


@pytest.mark.slow
def test_a_server_that_is_told_to_stop_in_the_middle(make_server: Callable[..., Server]) -> None:
    server = make_server(plan=BOTH).start()
    command = [*COMMAND, "--url", server.url, "--endpoint", "flights", *JULY, "--rate", "200/s"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=server.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: metric(server) > 0, "rows are being sent", 60)
    assert server.stop() == 0
    out, err = process.communicate(timeout=90)
    assert process.returncode == 1
    assert "has stopped answering" in err
    assert "To go on from there: --from 2013-07-04T" in err
    assert "answered" in out
    assert "Traceback" not in err
