from __future__ import annotations

from pathlib import Path

import pytest

from deploy.image import entrypoint
from deploy.image.entrypoint import BENTO, command, environment, link_models, port
from services.board import board_path
from services.topology import ROUTER_NAME


@pytest.mark.parametrize(
    ("arguments", "environ", "expected"),
    [
        ([], {}, 3000),
        (["serve"], {}, 8080),
        (["serve"], {"PORT": "4"}, 4),
        (["serve-service", "Router"], {}, 3000),
        ([], {"PORT": "1", "BENTOML_PORT": "2"}, 2),
        ([], {"PORT": "1", "BENTOML_PORT": "2", "AIP_HTTP_PORT": "3"}, 3),
        ([], {"AIP_HTTP_PORT": "3", "SAGEMAKER_BIND_TO_PORT": "4"}, 4),
        ([], {"SAGEMAKER_BIND_TO_PORT": " ", "PORT": "65535"}, 65535),
    ],
)
def test_the_port_is_the_one_that_the_platform_names(
    arguments: list[str], environ: dict[str, str], expected: int
) -> None:
    assert port(arguments, environ) == expected


@pytest.mark.parametrize("given", ["http", "0", "65536", "-1", "3000.0", "٣"])
def test_a_port_that_is_none_stops_the_start(given: str) -> None:
    with pytest.raises(SystemExit, match=r"AIP_HTTP_PORT is .*from 1 to 65535"):
        port([], {"AIP_HTTP_PORT": given})


def test_without_arguments_all_services_are_served() -> None:
    expected = ["bentoml", "serve", BENTO, "--port", "5"]
    assert command([], 5) == command(["serve"], 5) == expected
    assert command(["serve", "--timeout", "9"], 5) == [*expected, "--timeout", "9"]
    assert command(["--timeout", "9"], 5) == [*expected, "--timeout", "9"]


def test_one_service_is_served_as_the_entry() -> None:
    words = command(["serve-service", "TorchHost"], 5)
    assert "services:TorchHost" in words
    assert words[words.index("--service-name") + 1] == "TorchHost"
    assert words[words.index("--port") + 1] == "5"
    assert "--depends" not in words
    assert "--depends" in command(["serve-service", "Router"], 5)
    with pytest.raises(SystemExit, match="Router or TorchHost"):
        command(["serve-service"], 5)


def test_workers_of_a_router_that_serves_alone_share_a_board() -> None:
    words = command(["serve-service", "Router"], 5)
    name, _, address = words[words.index("--depends") + 1].partition("=")
    assert board_path(ROUTER_NAME, {name: address}) == entrypoint.BOARD


def test_other_commands_run_as_they_stand() -> None:
    assert command(["switchyard", "drift", "run"], 5) == ["switchyard", "drift", "run"]


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose folders lie elsewhere."""
    for version in ("m/1", "m/2", "n/1"):
        (tmp_path / "image" / version).mkdir(parents=True)
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(entrypoint, "MODELS", tmp_path / "image")
    monkeypatch.setattr(entrypoint, "SCRATCH", tmp_path / "scratch")
    return tmp_path


def test_workers_are_restarted_as_outside(image: Path) -> None:
    found = environment(
        {"BENTOML_CONTAINERIZED": "true", "SWITCHYARD_HOME": str(image / "home"), "OTHER": "1"}
    )
    assert "BENTOML_CONTAINERIZED" not in found
    assert found["OTHER"] == "1"


def test_models_of_the_image_and_added_ones_are_in_one_store(image: Path) -> None:
    added = image / "home" / "models" / "m" / "3"
    added.mkdir(parents=True)
    found = environment({"SWITCHYARD_HOME": str(image / "home")})
    store = Path(found["BENTOML_HOME"]) / "models"
    assert sorted(path.name for path in (store / "m").iterdir()) == ["1", "2", "3"]
    assert (store / "m" / "3").resolve() == added
    assert (store / "n" / "1").resolve() == image / "image" / "n" / "1"
    assert environment({"SWITCHYARD_HOME": str(image / "home")}) == found  # a second start


def test_a_store_of_the_users_own_is_taken_as_it_is(image: Path) -> None:
    mine = image / "mine"
    (mine / "models").mkdir(parents=True)
    found = environment({"SWITCHYARD_HOME": str(image / "home"), "BENTOML_HOME": str(mine)})
    assert found["BENTOML_HOME"] == str(mine)
    assert not (mine / "models").is_symlink()
    assert (mine / "models" / "m" / "1").is_dir()


def test_a_version_that_a_volume_has_already_stays(image: Path) -> None:
    place = image / "store" / "m" / "1"
    place.mkdir(parents=True)
    link_models(image / "image", image / "store")
    assert not place.is_symlink()


def test_a_link_into_an_older_image_leads_into_this_one(image: Path) -> None:
    place = image / "store" / "m" / "1"
    place.parent.mkdir(parents=True)
    place.symlink_to(image / "gone")
    link_models(image / "image", image / "store")
    assert place.resolve() == image / "image" / "m" / "1"


def test_state_is_kept_for_a_run_where_its_folder_cannot_be_written(
    image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (image / "file").write_text("")
    found = environment({"SWITCHYARD_HOME": str(image / "file" / "home")})
    assert found["SWITCHYARD_HOME"] == str(image / "scratch" / "switchyard")
    assert "for this run only" in capsys.readouterr().err


def test_nothing_to_write_to_stops_the_start(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (image / "file").write_text("")
    monkeypatch.setattr(entrypoint, "SCRATCH", image / "file" / "scratch")
    with pytest.raises(SystemExit, match="--tmpfs"):
        environment({"SWITCHYARD_HOME": str(image / "file" / "home")})
