from __future__ import annotations

import pytest
import yaml
from ruamel.yaml import YAML

from deploy.documents import Document, filled, names_of, secrets, text
from deploy.errors import ValuesError

DEPLOYMENT = Document(
    "deployment.yaml",
    {
        "kind": "Deployment",
        "args": ["--url", "postgresql://me:${DB_PASSWORD}@db/${DB_NAME}", "--price", "$5"],
        "count": 2,
        "env": {"TOKEN": "${TOKEN}", "shell": "${lower} $HOME $${TOKEN}"},
    },
)
SCRIPT = Document("run.sh", "#!/bin/sh\nexec serve --token ${TOKEN}\n")
ENVIRON = {"DB_PASSWORD": "p$&\\1 w", "DB_NAME": "state", "TOKEN": "${DB_NAME}"}


def test_documents_are_printed_in_order_under_their_names_without_secrets() -> None:
    printed = text([DEPLOYMENT, SCRIPT])
    assert printed.index("# deployment.yaml\nkind: Deployment") < printed.index(
        "# run.sh\n#!/bin/sh"
    )
    assert "${DB_PASSWORD}" in printed
    first, _, second = printed.removeprefix("---\n").partition("---\n")
    assert YAML(typ="safe").load(first) == DEPLOYMENT.content
    assert second == f"# run.sh\n{SCRIPT.content}"
    assert text([]) == ""


@pytest.mark.parametrize(
    "value",
    [
        *("no", "On", "y", "22:22", "1_000", "010", "0b1", "=", "2013-01-01"),
        *("1.0", "", "a: b", "two\nlines", "é", "0x1f"),
    ],
)
def test_texts_that_look_like_something_else_stay_texts(value: str) -> None:
    printed = text([Document("a", {"value": value, "none": None, "empty": {}})])
    expected = {"value": value, "none": None, "empty": {}}
    assert YAML(typ="safe", pure=True).load(printed) == expected
    assert yaml.safe_load(printed) == expected  # PyYAML knows YAML 1.1 alone


def test_the_variables_that_documents_need_are_known() -> None:
    assert names_of([DEPLOYMENT, SCRIPT]) == ("DB_NAME", "DB_PASSWORD", "TOKEN")
    assert names_of([]) == ()


def test_secrets_are_put_in_as_they_are_and_the_documents_keep_their_names() -> None:
    deployment, script = filled([DEPLOYMENT, SCRIPT], ENVIRON)
    assert isinstance(deployment.content, dict)
    assert deployment.content["args"][1] == "postgresql://me:p$&\\1 w@db/state"
    assert deployment.content["args"][3] == "$5"
    assert deployment.content["count"] == 2
    assert deployment.content["env"]["TOKEN"] == "${DB_NAME}"  # a secret is not looked into again
    assert deployment.content["env"]["shell"].startswith("${lower} $HOME ")
    assert script.content == "#!/bin/sh\nexec serve --token ${DB_NAME}\n"
    assert "${DB_PASSWORD}" in str(DEPLOYMENT.content)


def test_what_is_no_secret_stays_as_it_is() -> None:
    words = {"plan.yaml": "transform: ${TOKEN}-${MODEL_DIR}", "env": "${HOME}"}
    (found,) = filled([Document("config", words)], {"TOKEN": "sesame"})
    assert found.content == {"plan.yaml": "transform: sesame-${MODEL_DIR}", "env": "${HOME}"}


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, "DB_NAME, DB_PASSWORD, TOKEN are not set"),
        ({**ENVIRON, "TOKEN": ""}, "TOKEN is not set"),
    ],
)
def test_all_variables_that_are_not_set_are_named(environ: dict[str, str], said: str) -> None:
    with pytest.raises(ValuesError, match=said):
        secrets(("TOKEN", "DB_PASSWORD", "DB_NAME"), environ)


def test_secrets_are_read_and_nothing_else() -> None:
    assert secrets(("TOKEN",), {**ENVIRON, "HOME": "/root"}) == {"TOKEN": "${DB_NAME}"}
    assert secrets((), ENVIRON) == {}


def test_a_document_can_be_recorded() -> None:
    for document in (DEPLOYMENT, SCRIPT):
        assert Document.from_dict(document.as_dict()) == document
