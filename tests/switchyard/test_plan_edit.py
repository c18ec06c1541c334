"""Additions to the plan: what is new is there, and nothing else has changed."""

import difflib
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from switchyard import plan as plans
from switchyard.errors import Conflict, PlanError
from switchyard.plan_edit import Addition, add_variant, stage

PLAN = """\
# What we serve.
endpoints:
  flights:            # late or not
    stable: sklearn
    variants:
      sklearn:    {model: "flights-sklearn:production"}
      torch:      {model: "flights-torch:production"}   # the challenger
      # tensorflow comes later
    traffic:
      split: {sklearn: 0.7, torch: 0.3}     # sums to 1

    # later: metrics, canary

# How hosts run.
hosts:
  torch: {workers: 1,  threads: 1}
"""
CHURN = Addition("churn", "churn:production", ("sklearn", "churn"))
ALSO_FLIGHTS = Addition("flights", "mine:production", ("sklearn", "mine"))


def value(text: str) -> dict:
    return YAML(typ="safe").load(text)


def added(before: str, after: str) -> list[str]:
    """The new lines; fails if any old line is gone."""
    marks = list(difflib.ndiff(before.splitlines(True), after.splitlines(True)))
    assert not [mark for mark in marks if mark.startswith("- ")]
    return [mark[2:] for mark in marks if mark.startswith("+ ")]


# A plan that cannot be added to.


def test_a_plan_that_is_wrong_already_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN.replace("0.3}", "0.4}"))
    with pytest.raises(PlanError, match=r"plan.yaml, line 10: .* sums to 1.1"), stage(path, CHURN):
        pass
    assert [file.name for file in tmp_path.iterdir()] == ["plan.yaml"]


def test_an_endpoint_name_that_no_plan_allows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN)
    wrong = Addition("not/a name", "churn:production", ("sklearn",))
    sentence = "With the addition the plan would be wrong"
    with pytest.raises(PlanError, match=sentence), stage(path, wrong):
        pass
    assert path.read_text() == PLAN


def test_a_plan_in_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="cannot be written"), stage(tmp_path / "no" / "p", CHURN):
        pass


def test_a_folder_in_place_of_the_plan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="cannot be read"), stage(tmp_path, CHURN):
        pass


def test_no_free_name_for_the_variant() -> None:
    taken = Addition("flights", "mine:production", ("sklearn", "torch"))
    with pytest.raises(PlanError, match="no name is left for mine:production"):
        add_variant(PLAN, taken)


def test_variants_shared_by_an_anchor_are_not_changed_in_two_places() -> None:
    text = """\
endpoints:
  a:
    stable: x
    variants: &v
      x: {model: "m:production"}
  b:
    stable: x
    variants: *v
"""
    with pytest.raises(PlanError, match=r"put these lines in yourself:\nsklearn: \{model"):
        add_variant(text, Addition("b", "mine:production", ("sklearn",)))


# What is added.


def test_a_new_endpoint_stands_after_the_last_and_keeps_every_line() -> None:
    edit = add_variant(PLAN, CHURN)
    assert edit.created
    assert edit.variant == "sklearn"
    assert added(PLAN, edit.after) == [
        "    default: true\n",
        "  churn:\n",
        "    stable: sklearn\n",
        "    variants:\n",
        '      sklearn: {model: "churn:production"}\n',
        "    traffic:\n",
        "      split: {sklearn: 1.0}\n",
    ]
    position = edit.after.index
    assert position("# later: metrics") < position("  churn:") < position("# How hosts run")


def test_the_endpoint_that_was_alone_becomes_the_default() -> None:
    assert add_variant(PLAN, CHURN).defaulted == "flights"
    marked = PLAN.replace("    stable", "    default: true\n    stable")
    assert add_variant(marked, CHURN).defaulted is None


def test_a_second_addition_leaves_the_default_alone() -> None:
    once = add_variant(PLAN, CHURN).after
    twice = add_variant(once, Addition("other", "other:production", ("torch",)))
    assert twice.defaulted is None
    assert list(value(twice.after)["endpoints"]) == ["flights", "churn", "other"]


def test_an_endpoint_that_is_there_gets_a_variant_and_keeps_its_split() -> None:
    edit = add_variant(PLAN, ALSO_FLIGHTS)
    assert (edit.created, edit.variant) == (False, "mine")
    assert added(PLAN, edit.after) == ['      mine: {model: "mine:production"}\n']
    assert edit.after.index("tensorflow comes later") < edit.after.index("mine:")


def test_a_model_that_answers_already_changes_nothing() -> None:
    edit = add_variant(PLAN, Addition("flights", "flights-torch:production", ("torch",)))
    assert (edit.after, edit.variant) == (PLAN, "torch")


@pytest.mark.parametrize("text", [None, "", "# nothing yet\n", "# nothing yet"])
def test_a_plan_without_anything_gets_its_first_endpoint(text: str | None) -> None:
    edit = add_variant(text, CHURN)
    assert edit.after.startswith(text or "")
    assert value(edit.after)["endpoints"]["churn"]["stable"] == "sklearn"
    assert edit.defaulted is None


@pytest.mark.parametrize(
    "variants", ['{a: {model: "m:x"}}', '{a: {model: "m:x"},}', '{ a: {model: "m:x"} }']
)
def test_braces(variants: str) -> None:
    text = f"endpoints: {{e: {{stable: a, variants: {variants}}}}}"
    edit = add_variant(text, Addition("e", "mine:production", ("torch",)))
    assert list(value(edit.after)["endpoints"]["e"]["variants"]) == ["a", "torch"]
    new = value(add_variant(text, CHURN).after)["endpoints"]
    assert list(new) == ["e", "churn"]
    assert new["e"]["default"] is True


@pytest.mark.parametrize("name", ["true", "null", "12", "1e3", "on"])
def test_names_that_yaml_would_read_as_something_else_are_quoted(name: str) -> None:
    edit = add_variant(PLAN, Addition(name, "m:production", (name,)))
    assert name in value(edit.after)["endpoints"]


def test_line_breaks_of_windows_stay() -> None:
    text = PLAN.replace("\n", "\r\n")
    after = add_variant(text, CHURN).after
    assert after.count("\n") == after.count("\r\n")
    assert value(after) == value(add_variant(PLAN, CHURN).after)


COMMENT = st.sampled_from(["", "\n", "# a\n", "  # b\n", "    # c\n", "      # d\n", "\n\n# e\n"])


@given(comments=st.lists(COMMENT, min_size=8, max_size=8), wide=st.booleans(), ended=st.booleans())
def test_any_layout_keeps_its_lines_and_its_meaning(
    comments: list[str], wide: bool, ended: bool
) -> None:
    lines = [
        "endpoints:\n",
        "  a:\n",
        "    stable: x\n",
        "    variants:\n",
        '      x: {model: "m:production"}\n' if wide else "      x:\n",
        "" if wide else '        model: "m:production"   # why\n',
        "mode: static\n",
    ]
    text = "".join(line + comment for line, comment in zip(lines, comments, strict=False))
    text = text if ended else text.rstrip("\n")
    for addition in (CHURN, Addition("a", "mine:production", ("torch",))):
        after = add_variant(text, addition).after
        added(text if ended else text + "\n", after)
        plan = plans.Plan.model_validate(value(after))
        models = {v.model for v in plan.endpoints[addition.endpoint].variants.values()}
        assert addition.model in models
        assert plan.default_endpoint == "a"
        assert plan.mode == "static"


# The file.


def test_nothing_changes_before_commit_and_no_draft_stays(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN)
    with stage(path, CHURN) as staged:
        assert set(staged.plan.endpoints) == {"flights", "churn"}
        assert path.read_text() == PLAN
    assert [file.name for file in tmp_path.iterdir()] == ["plan.yaml"]
    assert path.read_text() == PLAN


def test_commit_keeps_mode_and_link(tmp_path: Path) -> None:
    path, link = tmp_path / "plan.yaml", tmp_path / "link.yaml"
    path.write_text(PLAN)
    path.chmod(0o640)
    link.symlink_to(path)
    with stage(link, CHURN) as staged:
        staged.commit()
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert "churn" in plans.load(path).endpoints


def test_a_new_file_can_be_read_by_the_server(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    with stage(path, CHURN) as staged:
        staged.commit()
    assert plans.load(path).default_endpoint == "churn"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_change_by_somebody_else_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN)
    with stage(path, CHURN) as staged:
        path.write_text(PLAN + "\n")
        with pytest.raises(Conflict, match="changed meanwhile"):
            staged.commit()
    assert path.read_text() == PLAN + "\n"


def test_a_file_that_cannot_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN)

    def busy(*_: object) -> None:
        raise OSError(16, "Device or resource busy")

    with stage(path, CHURN) as staged:
        monkeypatch.setattr(os, "replace", busy)
        with pytest.raises(PlanError, match=r"cannot be written \(Device or resource busy\)"):
            staged.commit()
    assert path.read_text() == PLAN
