"""What a controller does for the logs of its machine."""

from __future__ import annotations

import sys
from pathlib import Path
from subprocess import run

from e2e.server import ROOT
from log_parts import numbers, write_part

KEEPING = """
import sys
from pathlib import Path
import prometheus_client
from monitoring.log import shipping
from services.log_keeping import LogKeeping
from switchyard.plan_monitoring import LogSettings

folder, leads = Path(sys.argv[1]), sys.argv[2] == "leads"
keeping = LogKeeping(LogSettings.model_validate_json(sys.argv[3]), folder, lambda: leads)
for step in sys.argv[4:]:
    getattr(keeping, step)()
print(prometheus_client.generate_latest().decode())
"""


def keep(folder: Path, settings: str, *steps: str, leads: str = "leads") -> dict[str, float]:
    """Runs a controller's log keeping in a process of its own; returns its metrics."""
    command = [sys.executable, "-c", KEEPING, folder, leads, settings, *steps]
    done = run(
        [*map(str, command)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stdout.splitlines() if line and not line.startswith("#")]
    found = {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}
    found["warnings"] = done.stderr.count("Until then the rows of the logs wait here.")
    return found


def test_without_a_store_files_are_merged_deleted_and_counted(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    for number in range(3):
        write_part(folder, f"{number}", [number])
    found = keep(folder, "{}", "tidy", "ship")
    assert found['prediction_log_local_files{kind="predictions"}'] == 1
    assert found['prediction_log_local_files{kind="feedback"}'] == 0
    assert found['prediction_log_local_bytes{kind="predictions"}'] > 0
    assert found["prediction_log_store_errors_total"] == 0
    assert numbers(folder) == [0, 1, 2]
    keep(folder, '{"keep_days": 1}', "tidy")
    assert numbers(folder) == []


def test_a_torn_file_is_counted(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    torn = write_part(folder, "a", range(3))
    torn.write_bytes(torn.read_bytes()[:50])
    found = keep(folder, "{}", "tidy", "ship")
    assert found['prediction_log_torn_files{kind="predictions"}'] == 1


def test_files_go_to_the_store_where_only_the_leader_merges_them(tmp_path: Path) -> None:
    folder, away = tmp_path / "log", tmp_path / "store"
    for number in range(3):
        write_part(folder, f"{number}", [number])
    settings = f'{{"store": "file://{away}"}}'
    found = keep(folder, settings, "ship", "ship", "tidy", leads="follows")
    assert found['prediction_log_local_files{kind="predictions"}'] == 0
    assert len(list(away.rglob("*.parquet"))) == 3
    assert numbers(folder) == [0, 1, 2]
    made = keep(folder, settings, "ship")
    assert made["prediction_log_store_errors_total"] == 0


def test_a_store_that_is_away_is_told_of_once_and_counted_and_the_rows_wait(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "log"
    write_part(folder, "a", [1])
    found = keep(folder, '{"store": "file:///proc/nothing"}', "ship", "ship", "ship")
    assert found["prediction_log_store_errors_total"] == 3
    assert found["warnings"] == 1
    assert found['prediction_log_local_files{kind="predictions"}'] == 1


def test_a_store_whose_package_is_missing_is_told_of_at_start(tmp_path: Path) -> None:
    """Before there is a row to send: both steps are taken when a controller starts."""
    found = keep(tmp_path / "log", '{"store": "oci://bucket/log"}', "ship", "tidy")
    assert (found["prediction_log_store_errors_total"], found["warnings"]) == (1, 1)


def test_a_store_that_the_plan_no_longer_names_is_forgotten(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    write_part(folder, "a", [1])
    settings = f'{{"store": "file://{tmp_path / "store"}"}}'
    keep(folder, settings, "ship", "ship")
    keep(folder, "{}", "ship")
    assert numbers(folder) == []
    keep(folder, settings, "ship")
    assert numbers(folder) == [1]
