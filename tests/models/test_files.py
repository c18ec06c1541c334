import hashlib
import os
from pathlib import Path

import pytest

from models import files
from switchyard.errors import ModelRefused


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "variables").mkdir()
    (tmp_path / "model.bin").write_bytes(b"model")
    (tmp_path / "variables" / "index").write_bytes(b"index")
    return tmp_path


def test_digests_are_sha256_by_relative_path(folder):
    assert files.digests(folder) == {
        "model.bin": hashlib.sha256(b"model").hexdigest(),
        "variables/index": hashlib.sha256(b"index").hexdigest(),
    }


def test_manifest_and_bentomls_record_are_left_out_at_the_top_only(folder):
    for name in ("manifest.json", "model.yaml", "variables/manifest.json"):
        (folder / name).write_text("{}")
    assert set(files.digests(folder)) == {"model.bin", "variables/index", "variables/manifest.json"}


def test_check_accepts_what_was_saved(folder, manifest_of):
    files.check(folder, manifest_of(folder))


def test_check_names_an_altered_file(folder, manifest_of):
    manifest = manifest_of(folder)
    (folder / "variables" / "index").write_bytes(b"indeX")
    with pytest.raises(ModelRefused, match=r"variables/index .* was altered"):
        files.check(folder, manifest)


def test_check_names_a_missing_file(folder, manifest_of):
    manifest = manifest_of(folder)
    (folder / "model.bin").unlink()
    with pytest.raises(ModelRefused, match=r"model.bin .* is missing"):
        files.check(folder, manifest)


def test_check_names_an_added_file(folder, manifest_of):
    manifest = manifest_of(folder)
    (folder / "model.joblib").write_bytes(b"")
    with pytest.raises(ModelRefused, match=r"model.joblib .* not in the model's manifest"):
        files.check(folder, manifest)


def test_links_are_refused_even_to_the_same_bytes(folder, manifest_of, tmp_path_factory):
    manifest = manifest_of(folder)
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "model.bin"
    elsewhere.write_bytes(b"model")
    (folder / "model.bin").unlink()
    (folder / "model.bin").symlink_to(elsewhere)
    with pytest.raises(ModelRefused, match=r"model.bin .* is a link"):
        files.check(folder, manifest)


def test_a_linked_folder_is_refused(folder, tmp_path_factory):
    (folder / "more").symlink_to(tmp_path_factory.mktemp("elsewhere"), target_is_directory=True)
    with pytest.raises(ModelRefused, match=r"more .* is a link"):
        files.digests(folder)


def test_a_pipe_is_refused_without_being_opened(folder):
    os.mkfifo(folder / "pipe")
    with pytest.raises(ModelRefused, match=r"pipe .* neither a plain file"):
        files.digests(folder)


def test_a_missing_folder_is_refused(tmp_path, manifest_of):
    with pytest.raises(ModelRefused, match="no model folder"):
        files.check(tmp_path / "gone", manifest_of())
