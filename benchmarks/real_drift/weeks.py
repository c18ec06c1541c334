"""April to October through a real server, and what the drift report says of each week."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final, Self

from benchmarks import rows
from benchmarks.errors import BenchmarkError
from benchmarks.servers import Server
from benchmarks.targets import FLIGHTS, ROOT, switchyard_command
from monitoring.drift.verdict import FieldVerdict, Performance, Verdict
from monitoring.feedback import open_joined

__all__ = ["FIRST", "LAST", "Week", "replay", "weeks"]

FIRST: Final = date(2013, 4, 1)
"""A Monday."""

LAST: Final = date(2013, 10, 31)
WEEKS: Final = 30
WEEK: Final = timedelta(days=7)
BAD_NEWS: Final = 3
ASIDE: Final = {"scores", "customary", "evidently", "missing"}
"""What is said of a field and shown in no picture."""

Log = Callable[[str], None]


@dataclass(frozen=True)
class Week:
    """One week of flights, and what its drift report says.

    Attributes:
        since: Its Monday.
        late: Share of the flights that were late.
        expected: Mean of the probabilities that were answered.
        summary: Of the report, in a sentence.
        fields: What is said of each feature.
        performance: What is said of each variant.
    """

    since: date
    late: float
    expected: float
    summary: str
    fields: Sequence[FieldVerdict]
    performance: Sequence[Performance]

    def as_json(self) -> dict[str, Any]:
        """Returns the week as `parse` reads it."""
        return {
            **asdict(self),
            "fields": [
                field.model_dump(mode="json", exclude=ASIDE, exclude_none=True)
                for field in self.fields
            ],
            "performance": [
                part.model_dump(mode="json", exclude_none=True) for part in self.performance
            ],
        }

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        """Reads a week from parsed JSON."""
        return cls(
            date.fromisoformat(document["since"]),
            document["late"],
            document["expected"],
            document["summary"],
            [FieldVerdict.model_validate(field) for field in document["fields"]],
            [Performance.model_validate(part) for part in document["performance"]],
        )


def replay(folder: Path, rate: str, batch: int, log: Log) -> dict[str, str]:
    """Serves the example plan's flights, replays all days, and ends the server.

    Args:
        folder: An empty folder, for the server.
        rate: Of the replay.
        batch: Rows of one request.
        log: Takes what is being done.

    Returns:
        The environment of the server, for commands that look at what it has logged.

    Raises:
        BenchmarkError: The replay did not go through.
    """
    versions = rows.versions()
    command = switchyard_command(FLIGHTS)(folder, rows.store_folder(), versions)
    with Server("the server", command, folder / "server.log") as server:
        server.wait_ready()
        words = ("replay", "--endpoint", "flights", "--from", str(FIRST), "--to", str(LAST))
        pace = ("--rate", rate, "--batch", str(batch), "--feedback-delay", "30m")
        url = ("--url", f"http://127.0.0.1:{server.port}")
        log(" ".join(("switchyard", *words, *pace)))
        done = _switchyard(command.env, *words, *pace, *url, errors=None)
        if done.returncode:
            raise BenchmarkError(f"The replay failed. {done.stdout}")
        log(done.stdout.strip())
    return dict(command.env)


def weeks(env: Mapping[str, str], log: Log) -> Iterator[Week]:
    """Yields what is known of each week.

    Args:
        env: From `replay`.
        log: Takes what is being done.

    Raises:
        BenchmarkError: A report failed.
    """
    for since, late, expected in _rates(Path(env["SWITCHYARD_HOME"])):
        until = since + WEEK
        words = ("drift", "run", "--endpoint", "flights", "--window", "7d", "--until", str(until))
        done = _switchyard(env, *words, "--json")
        if done.returncode not in (0, BAD_NEWS):
            raise BenchmarkError(f"The report up to {until} failed. {done.stdout}{done.stderr}")
        verdict = Verdict.model_validate_json(done.stdout)
        log(f"{since}: {verdict.summary}")
        fields, performance = verdict.data.fields, verdict.performance
        yield Week(since, late, expected, verdict.summary, fields, performance)


def _rates(home: Path) -> Sequence[tuple[date, float, float]]:
    """Returns each week's Monday, share of late flights, and mean of the probabilities of that."""
    with open_joined(home / "log", "flights") as db:
        return db.execute(
            """
            SELECT date_trunc('week', event_time)::DATE AS week, avg(actual_number),
                avg(probabilities[2])
            FROM joined WHERE actual IS NOT NULL AND status = 'ok'
            GROUP BY week ORDER BY week LIMIT ?
            """,
            [WEEKS],
        ).fetchall()


def _switchyard(
    env: Mapping[str, str], *words: str, errors: int | None = subprocess.PIPE
) -> subprocess.CompletedProcess[str]:
    """Runs a command; with `errors` None what it says on standard error is seen at once."""
    command = [str(Path(sys.executable).with_name("switchyard")), *words]
    return subprocess.run(
        command, cwd=ROOT, env=dict(env), stdout=subprocess.PIPE, stderr=errors, text=True
    )
