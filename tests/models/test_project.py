import pytest

from models import project
from models.nn import Mlp
from switchyard.errors import ModelRefused


def test_a_class_of_the_project_is_found():
    assert project.resolve("models.nn:Mlp") is Mlp


@pytest.mark.parametrize(
    "reference",
    [
        "Mlp",
        "models.nn",
        "models.nn:",
        ":Mlp",
        "models/nn:Mlp",
        "models.nn:Mlp.forward",
        "..nn:Mlp",
        "models.nn:Mlp:x",
    ],
)
def test_a_malformed_reference_is_refused(reference):
    with pytest.raises(ModelRefused, match="not of the form module:name"):
        project.resolve(reference)


@pytest.mark.parametrize(
    "reference",
    [
        "os:system",
        "subprocess:run",
        "torch.nn:Linear",
        "builtins:eval",
        "numpy:load",
        "models.absent:f",
    ],
)
def test_installed_code_is_out_of_reach(reference):
    with pytest.raises(ModelRefused, match="not code of this project"):
        project.resolve(reference)


def test_a_name_that_a_module_only_imports_is_out_of_reach(own_project, project_module):
    name = project_module(own_project, "from os import system\nimport os\n")
    for imported in ("system", "os", "absent"):
        with pytest.raises(ModelRefused, match="does not define"):
            project.resolve(f"{name}:{imported}")


def test_a_module_of_the_project_cannot_shadow_an_installed_one(own_project):
    marker = own_project / "ran"
    (own_project / "json.py").write_text(f"open({str(marker)!r}, 'w')\ndef loads(text): pass\n")
    with pytest.raises(ModelRefused, match="installed module has the same name"):
        project.resolve("json:loads")
    assert not marker.exists()


def test_a_file_that_is_a_link_out_of_the_project_is_refused(own_project, tmp_path):
    outside = tmp_path / "outside.py"
    outside.write_text("def f(): pass\n")
    (own_project / "inside.py").symlink_to(outside)
    with pytest.raises(ModelRefused, match="not code of this project"):
        project.resolve("inside:f")
