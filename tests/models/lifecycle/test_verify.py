"""Verification: a bad version gets a sentence, whatever it does to its process."""

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
from e2e.server import wait_until
from sklearn.linear_model import LogisticRegression

import models.sklearn as sklearn_loader
from models import files, store
from models.lifecycle import check
from models.lifecycle.verify import verify
from switchyard.errors import ModelRefused, NotFound, SwitchyardError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]

HOSTILE = "tests.models.hostile"


@pytest.fixture
def stored(home: Path, rows: np.ndarray, tmp_path: Path, manifest_of) -> Callable[..., str]:
    """Stores a small classifier as `m` with its answers, and changes its manifest afterwards."""

    def make(**changes: Any) -> str:
        folder = tmp_path / "artefact"
        model = LogisticRegression().fit(rows, np.where(rows[:, 0] > 0, "yes", "no"))
        manifest = manifest_of(trusted=sklearn_loader.save(model, folder))
        frame = pd.DataFrame(rows, columns=list("abc")).assign(prediction=model.predict(rows))
        chance = model.predict_proba(rows)
        frame = frame.assign(probability_no=chance[:, 0], probability_yes=chance[:, 1])
        version = store.create("m", manifest, folder, frame)
        rewrite(store.path("m", version), changes)
        return version

    return make


def rewrite(folder: Path, changes: dict[str, Any]) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def checked(version: str) -> dict[str, Any]:
    """Runs the check in this process; returns all it said."""
    said: dict[str, Any] = {}
    check.check("m", version, lambda **fields: said.update(fields))
    return said


# A version that is not there, or not what was stored.


def test_a_version_that_is_not_there(home) -> None:
    with pytest.raises(NotFound, match="switchyard models list"):
        verify("m", "nope")


def test_an_altered_file(stored) -> None:
    version = stored()
    path = store.path("m", version) / "model.skops"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    report = verify("m", version)
    assert not report.ok
    assert "model.skops" in str(report.problem)
    assert "was altered" in str(report.problem)
    assert (report.digest_ok, report.loads, report.latency_seconds) == (False, False, None)


def test_other_answers_than_those_stored(stored) -> None:
    report = verify("m", stored(transform=f"{HOSTILE}:drift"))
    assert f"answers {report.mismatches} of its 40 reference rows differently" in str(
        report.problem
    )
    assert (report.digest_ok, report.loads, report.rows) == (True, True, 40)
    assert report.mismatches > 20
    assert report.largest_difference > 0.01


# A version that harms its process.


def test_a_crash(stored) -> None:
    report = verify("m", stored(transform=f"{HOSTILE}:segfault"))
    assert "was ended by SIGSEGV while it answered its reference rows" in str(report.problem)
    assert (report.digest_ok, report.loads) == (True, True)


def test_an_exit(stored) -> None:
    report = verify("m", stored(transform=f"{HOSTILE}:leave"))
    expected = "ended its process with exit code 0 while it answered its reference rows (leaving)"
    assert expected in str(report.problem)


def test_a_hang_is_ended_in_time(stored) -> None:
    report = verify("m", stored(transform=f"{HOSTILE}:hang"), timeout=10)
    assert "its time was up while it answered its reference rows" in str(report.problem)


def test_a_hanging_check_ends_itself_when_nobody_waits_for_it(stored) -> None:
    tag = f"m:{stored(transform=f'{HOSTILE}:hang')}"
    command = [sys.executable, "-m", "models.lifecycle.check", tag, "10"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=60)
    assert run.returncode == -14
    assert [json.loads(line) for line in run.stdout.splitlines()] == [
        {"digest_ok": True},
        {"loads": True},
    ]


def test_memory_beyond_the_limit(stored) -> None:
    limits = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (psutil.Process().memory_info().data + 2**30, -1))
    try:
        report = verify("m", stored(transform=f"{HOSTILE}:eat"))
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, limits)
    assert "failed on a batch" in str(report.problem)
    assert "MemoryError: Unable to allocate" in str(report.problem)


def test_what_a_model_prints_is_no_report(stored) -> None:
    report = verify("m", stored(transform=f"{HOSTILE}:chatter"))
    assert report.ok
    assert report.rows == 40


def test_processes_that_a_model_starts_end_with_it(stored, tmp_path) -> None:
    report = verify("m", stored(transform=f"{HOSTILE}:breed"))
    assert "exit code 7" in str(report.problem)
    left = int((tmp_path / "child").read_text())
    wait_until(lambda: gone(left), "the child is ended", seconds=10)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


# Manifests that lie. They are not covered by a digest: they hold the digests.


LIES: dict[str, tuple[dict[str, Any], str]] = {
    "a field too few": (
        {"fields": [{"name": "a", "type": "float"}, {"name": "b", "type": "float"}]},
        "failed on a batch: ValueError",
    ),
    "another field": (
        {"fields": [{"name": name, "type": "float"} for name in ("a", "b", "other")]},
        "reference rows of m:.* do not fit its manifest .*other",
    ),
    "another type": (
        {"fields": [{"name": name, "type": "timestamp"} for name in "abc"]},
        "fields that are not numbers",
    ),
    "a tensor of another shape": (
        {"fields": [{"name": "a", "type": "tensor", "shape": [2, 2]}]},
        "reference rows of m:.* do not fit its manifest",
    ),
    "a class too many": (
        {"classes": ["no", "yes", "perhaps"], "task": "multiclass"},
        "knows 2 classes, its manifest names 3",
    ),
    "other classes": ({"classes": ["nay", "aye"]}, "do not fit its manifest .*probability_nay"),
    "classes in another order": ({"classes": ["yes", "no"]}, "answers 40 of its 40 reference rows"),
    "another task": (
        {"task": "regression", "output": "values", "classes": None},
        "do not fit its manifest|instead of numbers",
    ),
    "another output": ({"output": "logits"}, r"shape \(40, 1\) instead of \(40, 2\)"),
    "another framework": ({"framework": "torch"}, "skops does not belong to torch"),
    "another format": ({"framework": "torch", "format": "pt2"}, "no model.pt2"),
    "an unknown key": ({"colour": "blue"}, "manifest of m:.* cannot be read"),
    "no such format": ({"format": "pickle"}, "manifest of m:.* cannot be read"),
    "a file too many": ({"files": {"more": "0" * 64}}, "lacks its file more"),
    "a file outside": ({"files": {"../../m/latest": "0" * 64}}, r"latest .* is missing"),
    "other digests": (
        {"files": {"model.skops": "0" * 64, "reference.parquet": "0" * 64}},
        "was altered",
    ),
    "a transform that is gone": (
        {"transform": "models.gone:prepare"},
        "'models.gone:prepare' is not code of this project",
    ),
    "a function that is gone": (
        {"transform": f"{HOSTILE}:gone"},
        f"{HOSTILE} does not define 'gone'",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_manifest_that_lies(lie, stored) -> None:
    changes, sentence = LIES[lie]
    with pytest.raises(SwitchyardError, match=sentence):
        checked(stored(**changes))


def test_a_lie_is_reported(stored) -> None:
    report = verify("m", stored(colour="blue"))
    assert "cannot be read" in str(report.problem)
    assert not report.digest_ok


def test_stored_predictions_that_contradict_the_probabilities(stored) -> None:
    version = stored()
    frame = store.reference("m", version)
    wrong = frame.assign(prediction=np.where(frame.index < 5, "perhaps", frame["prediction"]))
    change_reference(version, wrong)
    with pytest.raises(ModelRefused, match="answers 5 of its 40"):
        checked(version)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda frame: frame.iloc[:0], "has no reference rows"),
        (lambda frame: frame.assign(probability_no=np.nan), "is no number"),
        (lambda frame: frame.assign(probability_no="much"), "do not fit its manifest"),
        (lambda frame: frame.drop(columns="prediction"), "do not fit its manifest"),
    ],
)
def test_reference_rows_that_do_not_fit(change, sentence, stored) -> None:
    version = stored()
    change_reference(version, change(store.reference("m", version)))
    with pytest.raises(ModelRefused, match=sentence):
        checked(version)


def change_reference(version: str, frame: pd.DataFrame) -> None:
    folder = store.path("m", version)
    frame.to_parquet(folder / "reference.parquet", index=False)
    rewrite(folder, {"files": files.digests(folder)})


def test_reference_rows_that_are_no_parquet(stored) -> None:
    version = stored()
    folder = store.path("m", version)
    (folder / "reference.parquet").write_bytes(b"PAR1 and no more")
    rewrite(folder, {"files": files.digests(folder)})
    with pytest.raises(ModelRefused, match="do not fit its manifest"):
        checked(version)


# A version that is as it was stored.


def test_a_good_version(stored) -> None:
    version = stored()
    report = verify("m", version)
    assert report.ok
    assert report.tag == f"m:{version}"
    assert (report.digest_ok, report.loads, report.rows, report.mismatches) == (True, True, 40, 0)
    assert report.largest_difference < 1e-6
    assert 0 < report.row_latency_seconds < 1
    assert 0 < report.latency_seconds < 1


def test_the_check_works_from_any_folder(stored, tmp_path, monkeypatch) -> None:
    version = stored()
    (tmp_path / "elsewhere" / "models").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert verify("m", version).ok


def test_values_are_compared_by_the_largest(rows, manifest_of) -> None:
    manifest = manifest_of(task="regression", output="values", classes=None)
    stored = np.array([[1e6], [-3.0], [0.0]])
    frame = pd.DataFrame({"prediction": stored[:, 0]})
    assert check.difference(frame, stored + np.array([[50], [0], [0]]), manifest, 1e-4) == (0, 50.0)
    assert check.difference(frame, stored + np.array([[0], [0], [101]]), manifest, 1e-4) == (
        1,
        101.0,
    )


def test_probabilities_are_compared_as_they_are(manifest_of) -> None:
    stored = np.array([[0.50005, 0.49995], [0.9, 0.1]])
    names = {"probability_no": stored[:, 0], "probability_yes": stored[:, 1]}
    frame = pd.DataFrame({"prediction": ["no", "no"], **names})
    # The other class is the larger one now, by rounding.
    near = stored + np.array([[-0.00009, 0.00009], [0, 0]])
    assert check.difference(frame, near, manifest_of(), 1e-4)[0] == 0
    far = stored + np.array([[0, 0], [-0.001, 0.001]])
    assert check.difference(frame, far, manifest_of(), 1e-4) == (1, pytest.approx(0.001))
