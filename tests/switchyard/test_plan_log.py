"""The plan's `log` section, and what endpoints keep out of the log."""

from __future__ import annotations

from pathlib import Path

import pytest

from switchyard import plan
from switchyard.errors import PlanError

ENDPOINT = 'endpoints:\n  e: {stable: x, variants: {x: {model: "m:1"}}%s}\n'


def load(folder: Path, log: str, endpoint: str = "") -> plan.Plan:
    path = folder / "plan.yaml"
    path.write_text(ENDPOINT % endpoint + f"log: {{{log}}}\n")
    return plan.load(path)


@pytest.mark.parametrize(
    ("log", "sentence"),
    [
        ("store: logs", "log.store is 'logs', but must be a URL like 's3://bucket/folder'"),
        ("store: 's3:'", "but must be a URL"),
        ("store: 's3:///folder'", "names no bucket"),
        ("store: 'http://[::1'", "but must be a URL"),
        ("store: 'file://here/x'", "but a local folder is written 'file:///folder'"),
        ("store: 5", "log.store is 5, but must be text"),
        ("keep_days: 0", "log.keep_days is 0, but must be greater than 0"),
        ("keep_days: soon", "log.keep_days is 'soon', but must be a number"),
        ("keep_gb: -1", "log.keep_gb is -1, but must be greater than 0"),
        ("keep: 1", "log.keep is an unknown key; perhaps 'keep_gb' is meant"),
    ],
)
def test_settings_of_the_log_that_are_wrong(log: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(PlanError) as refusal:
        load(tmp_path, log)
    assert sentence in refusal.value.message
    assert "line 3" in refusal.value.message


@pytest.mark.parametrize("url", ["s3://k:swordfish@b/x", "s3://b/x?secret=swordfish"])
def test_credentials_in_a_url_are_refused_and_not_repeated(url: str, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"credentials .* come from the environment") as refusal:
        load(tmp_path, f"store: '{url}'")
    assert "swordfish" not in refusal.value.message


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("s3://bucket", "s3://bucket"),
        ("file:///var/logs", "file:///var/logs"),
        ("gs://bucket/x", "gs://bucket/x"),
    ],
)
def test_stores_that_are_fine(url: str, kept: str, tmp_path: Path) -> None:
    assert load(tmp_path, f"store: '{url}'").log.store == kept


def test_without_settings_all_is_kept_here(tmp_path: Path) -> None:
    log = load(tmp_path, "").log
    assert (log.keep_days, log.keep_gb, log.store) == (None, None, None)


def test_a_field_is_redacted_or_dropped_not_both(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"e\.drop\.1 is 'b', which 'redact' names already"):
        load(tmp_path, "", ", redact: [b], drop: [a, b]")
    endpoint = load(tmp_path, "", ", redact: [b], drop: [a]").endpoints["e"]
    assert (endpoint.redact, endpoint.drop) == (["b"], ["a"])
