import io
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from switchyard import plan, settings
from switchyard.errors import PlanError
from switchyard.plan import Plan

ONE = "endpoints: {e: {stable: a, variants: {a: {model: 'm:production'}}%s}}\n"
TWO = """\
endpoints:
  flights:
    stable: sklearn
    variants:
      sklearn: {model: "flights-sklearn:production"}
      torch: {model: "flights-torch:production"}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "switchyard.yaml"
    path.write_text(textwrap.dedent(text))
    return path


BAD = [
    ("", "line 1: the plan is empty; it needs the key 'endpoints'."),
    ("# only a comment\n", "line 1: the plan is empty; it needs the key 'endpoints'."),
    ("just text\n", "line 1: the plan is 'just text', but must be a mapping of keys."),
    ("- a\n- b\n", "line 1: the plan is a list, but must be a mapping of keys."),
    ("auth: open\n", "line 1: the plan needs the key 'endpoints'."),
    ("endpoints:\n", "line 1: endpoints has no value, but must be a mapping of keys."),
    ("endpoints: {}\n", "line 1: endpoints is empty, but needs at least one entry."),
    (
        "endpoints:\n  a: [\n",
        "line 3: this is not YAML: expected the node content, but found '<stream end>'.",
    ),
    (
        "auth: open\n\tmode: live\n",
        "line 2: this is not YAML: found character '\\t' that cannot start any token.",
    ),
    (
        "a: 1\n---\nb: 2\n",
        "line 2: this is not YAML: but found another document.",
    ),
    (
        ONE % "" + "auth: !!python/object/apply:os.system ['true']\n",
        "line 2: this is not YAML: could not determine a constructor for the tag "
        "'tag:yaml.org,2002:python/object/apply:os.system'.",
    ),
    (ONE % "" + "auth: open\nauth: open\n", "line 3: the key 'auth' stands here a second time."),
    (
        TWO + "  flights: {}\n",
        "line 7: the key 'flights' stands here a second time.",
    ),
    (
        ONE % "" + "autth: open\n",
        "line 2: autth is an unknown key; perhaps 'auth' is meant.",
    ),
    (
        ONE % "" + "router: {wrkers: 1}\n",
        "line 2: router.wrkers is an unknown key; perhaps 'workers' is meant.",
    ),
    (
        ONE % "" + "log:\n  folder: /tmp\n",
        "line 3: log.folder is an unknown key; the keys here are 'roll_seconds', 'roll_mb', "
        "'keep_days', 'keep_gb', 'store'.",
    ),
    (
        TWO + "    limits:\n      max_row: 1\n",
        "line 8: endpoints.flights.limits.max_row is an unknown key; perhaps 'max_rows' is meant.",
    ),
    (
        "endpoints:\n  e:\n    variants: {a: {model: 'm:1'}}\n",
        "line 2: endpoints.e needs the key 'stable'.",
    ),
    (
        "endpoints:\n  e:\n    stable: a\n",
        "line 2: endpoints.e needs the key 'variants'.",
    ),
    (
        "endpoints:\n  e:\n    stable: a\n    variants: {}\n",
        "line 4: endpoints.e.variants is empty, but needs at least one entry.",
    ),
    (
        "endpoints:\n  e:\n    stable: a\n    variants:\n      a: {}\n",
        "line 5: endpoints.e.variants.a needs the key 'model'.",
    ),
    (
        TWO.replace("stable: sklearn", "stable: skleran"),
        "line 3: endpoints.flights.stable is 'skleran'; perhaps 'sklearn' is meant.",
    ),
    (
        TWO.replace("stable: sklearn", "stable: x"),
        "line 3: endpoints.flights.stable is 'x'; the variants are 'sklearn', 'torch'.",
    ),
    (
        TWO + "    traffic:\n      split: {sklearn: 0.5, tensorflow: 0.5}\n",
        "line 8: endpoints.flights.traffic.split.tensorflow is no variant of this endpoint; "
        "the variants are 'sklearn', 'torch'.",
    ),
    (
        TWO + "    traffic:\n      shadow:\n        torhc: 1.0\n",
        "line 9: endpoints.flights.traffic.shadow.torhc is no variant of this endpoint; "
        "perhaps 'torch' is meant.",
    ),
    (
        TWO + "    traffic:\n      split: {sklearn: 0.5, torch: 0.4}\n",
        "line 8: endpoints.flights.traffic.split sums to 0.9, but the shares must sum to 1.",
    ),
    (
        TWO + "    traffic:\n      split: {sklearn: 0.5, torch: 0.500002}\n",
        "line 8: endpoints.flights.traffic.split sums to 1.000002, but the shares must sum to 1.",
    ),
    (
        TWO + "    traffic:\n      split:\n        sklearn: 1.5\n        torch: -0.5\n",
        "line 9: endpoints.flights.traffic.split.sklearn is 1.5, but a share lies between 0 and 1.",
    ),
    (
        TWO + "    traffic:\n      split:\n        sklearn: 1\n        torch: -0.5\n",
        "line 10: endpoints.flights.traffic.split.torch is -0.5, but a share lies between 0 and 1.",
    ),
    (
        TWO + "    traffic:\n      shadow: {torch: 2}\n",
        "line 8: endpoints.flights.traffic.shadow.torch is 2, but a share lies between 0 and 1.",
    ),
    (
        TWO + "    traffic:\n      split: {sklearn: .nan, torch: 1}\n",
        "line 8: endpoints.flights.traffic.split.sklearn is nan, but must be a finite number.",
    ),
    (
        TWO + "    traffic:\n      split: {sklearn: half, torch: 0.5}\n",
        "line 8: endpoints.flights.traffic.split.sklearn is 'half', but must be a number.",
    ),
    (
        TWO + "    traffic:\n      split: {sklearn: true}\n",
        "line 8: endpoints.flights.traffic.split.sklearn is True, but must be a number.",
    ),
    (
        TWO + "    traffic:\n      split: [0.5, 0.5]\n",
        "line 8: endpoints.flights.traffic.split is a list, but must be a mapping of keys.",
    ),
    (
        "endpoints:\n"
        "  a: {default: true, stable: x, variants: {x: {model: 'm:1'}}}\n"
        "  b: {stable: x, variants: {x: {model: 'm:1'}}}\n"
        "  c:\n    default: true\n    stable: x\n    variants: {x: {model: 'm:1'}}\n",
        "line 5: endpoints.c.default is true, but 'a' is the default already; "
        "mark one endpoint only.",
    ),
    (
        "endpoints:\n  late flights: {stable: x, variants: {x: {model: 'm:1'}}}\n",
        "line 2: endpoints.late flights is not a usable name; take letters, digits, '-' and '_', "
        "at most 64, and begin with a letter or digit.",
    ),
    (
        "endpoints:\n  ../up: {stable: x, variants: {x: {model: 'm:1'}}}\n",
        "line 2: endpoints.../up is not a usable name; take letters, digits, '-' and '_', "
        "at most 64, and begin with a letter or digit.",
    ),
    (
        "endpoints:\n  e:\n    stable: x\n    variants:\n      -x: {model: 'm:1'}\n",
        "line 5: endpoints.e.variants.-x is not a usable name; take letters, digits, '-' and '_', "
        "at most 64, and begin with a letter or digit.",
    ),
    (
        'endpoints:\n  "a\\nb": {stable: x, variants: {x: {model: "m:1"}}}\n',
        "line 2: endpoints.'a\\nb' is not a usable name; take letters, digits, '-' and '_', "
        "at most 64, and begin with a letter or digit.",
    ),
    (
        f"endpoints:\n  {'e' * 65}: {{stable: x, variants: {{x: {{model: 'm:1'}}}}}}\n",
        f"line 2: endpoints.{'e' * 65} is not a usable name; take letters, digits, '-' and '_', "
        "at most 64, and begin with a letter or digit.",
    ),
    (
        "endpoints:\n  e:\n    stable: x\n    variants:\n      1: {model: 'm:1'}\n",
        "line 5: endpoints.e.variants.1 is 1, but must be text; put it in quotes.",
    ),
    (
        TWO.replace("flights-torch:production", "flights-torch"),
        "line 6: endpoints.flights.variants.torch.model is 'flights-torch', but must be "
        "'name:alias' or 'name:version', like 'flights-torch:production'.",
    ),
    (
        TWO.replace("flights-torch:production", "../Flights:a/b"),
        "line 6: endpoints.flights.variants.torch.model is '../Flights:a/b', but must be "
        "'name:alias' or 'name:version', like 'flights-torch:production'.",
    ),
    (
        TWO.replace('"flights-torch:production"', "7"),
        "line 6: endpoints.flights.variants.torch.model is 7, but must be text; put it in quotes.",
    ),
    (
        TWO.replace('{model: "flights-torch:production"}', "flights-torch"),
        "line 6: endpoints.flights.variants.torch is 'flights-torch', "
        "but must be a mapping of keys.",
    ),
    (
        TWO + "    forced_variant: everyone\n",
        "line 7: endpoints.flights.forced_variant is 'everyone', but must be 'anyone' or 'admin'.",
    ),
    (
        TWO + "    default: yes\n",
        "line 7: endpoints.flights.default is 'yes', but must be true or false.",
    ),
    (
        TWO + "    limits: {max_rows: 10.5}\n",
        "line 7: endpoints.flights.limits.max_rows is 10.5, but must be a whole number.",
    ),
    (
        TWO + "    limits: {timeout_ms: 0}\n",
        "line 7: endpoints.flights.limits.timeout_ms is 0, but must be greater than 0.",
    ),
    (
        TWO + "    limits: {max_body_mb: .inf}\n",
        "line 7: endpoints.flights.limits.max_body_mb is inf, but must be a finite number.",
    ),
    (
        ONE % "" + "hosts:\n  pytorch: {workers: 1}\n",
        "line 3: hosts.pytorch is 'pytorch', but must be 'sklearn', 'torch', 'tensorflow' or "
        "'onnx'.",
    ),
    (
        ONE % "" + "hosts:\n  torch:\n",
        "line 3: hosts.torch has no value, but must be a mapping of keys.",
    ),
    (
        ONE % "" + "hosts: {torch: {workers: 0}}\n",
        "line 2: hosts.torch.workers is 0, but must be greater than 0.",
    ),
    (
        ONE % "" + "hosts: {torch: {workers: '2'}}\n",
        "line 2: hosts.torch.workers is '2', but must be a whole number.",
    ),
    (
        ONE % "" + "hosts:\n  torch:\n    resources:\n      gpu: 0\n",
        "line 5: hosts.torch.resources.gpu is 0; leave the key out for a host without a GPU.",
    ),
    (
        ONE % "" + "hosts:\n  torch:\n    gpu_required: true\n",
        "line 4: hosts.torch.gpu_required is true, but resources.gpu declares none; add 'gpu: 1'.",
    ),
    (
        ONE % "" + "hosts: {torch: {url: 'torch-host:3000'}}\n",
        "line 2: hosts.torch.url is 'torch-host:3000', "
        "but must look like 'http://torch-host:3000'.",
    ),
    (ONE % "" + "auth: 1\n", "line 2: auth is 1, but must be 'open' or 'required'."),
    (ONE % "" + "mode: frozen\n", "line 2: mode is 'frozen', but must be 'live' or 'static'."),
    (ONE % "" + "log: {roll_mb: -1}\n", "line 2: log.roll_mb is -1, but must be greater than 0."),
    (
        "mode: x\n" + ONE % "" + "auth: y\n",
        "line 1: mode is 'x', but must be 'live' or 'static'.",
    ),
]


@pytest.mark.parametrize(("text", "sentence"), BAD, ids=[sentence for _, sentence in BAD])
def test_a_bad_plan_is_refused_with_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(PlanError) as caught:
        plan.load(path)
    assert caught.value.message == f"{path}, {sentence}"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host",
        "http://",
        "http://host:port",
        "http://host:70000",
        "http://[::1",
        "http://host/path",
        "http://host?query",
        "http://user:secret@host",
    ],
)
def test_a_host_is_reached_at_a_plain_url(tmp_path: Path, url: str) -> None:
    path = write(tmp_path, ONE % "" + f"hosts: {{torch: {{url: '{url}'}}}}\n")
    with pytest.raises(PlanError, match=r"line 2: hosts\.torch\.url .* must look like"):
        plan.load(path)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    with pytest.raises(PlanError) as caught:
        plan.load(path)
    assert caught.value.message == f"{path} cannot be read: No such file or directory."


def test_bytes_that_are_not_text_are_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_bytes(b"auth: \xff\n")
    with pytest.raises(PlanError, match=r"plan.yaml cannot be read: it is not UTF-8\.$"):
        plan.load(path)
    path.write_bytes(b"auth: open\nmode: \x00\n")
    with pytest.raises(PlanError, match=r"line 2: the character .* is not allowed in YAML\.$"):
        plan.load(path)


def test_an_alias_that_contains_itself_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "endpoints: &all\n  e: *all\n")
    with pytest.raises(PlanError, match=r"line 2: endpoints\.e\.e is an unknown key"):
        plan.load(path)


def test_left_out_keys_have_the_documented_defaults(tmp_path: Path) -> None:
    loaded = plan.load(write(tmp_path, TWO))
    flights = loaded.endpoints["flights"]
    assert flights.traffic.split == {"sklearn": 1.0, "torch": 0.0}
    assert flights.traffic.shadow == {}
    assert flights.forced_variant == "admin"
    limits = flights.limits
    assert (limits.max_rows, limits.max_body_mb) == (1024, 8)
    assert (limits.max_queue_ms, limits.timeout_ms) == (200, 2000)
    assert (loaded.auth, loaded.mode, loaded.router.workers) == ("open", "live", 1)
    assert (loaded.log.roll_seconds, loaded.log.roll_mb) == (120, 64)
    assert loaded.hosts == {}
    assert plan.Host() == plan.Host(workers=1, threads=1, gpu_required=False, url=None)


def test_a_variant_without_a_share_counts_zero_and_order_is_that_of_the_variants(
    tmp_path: Path,
) -> None:
    text = TWO + "    traffic: {split: {torch: 1}, shadow: {sklearn: 0.25}}\n"
    traffic = plan.load(write(tmp_path, text)).endpoints["flights"].traffic
    assert list(traffic.split.items()) == [("sklearn", 0.0), ("torch", 1.0)]
    assert traffic.shadow == {"sklearn": 0.25}


def test_the_default_endpoint_is_the_one_marked_or_the_only_one(tmp_path: Path) -> None:
    only = "  {}: {{stable: x, variants: {{x: {{model: 'm:1'}}}}}}\n"
    marked = "  {}: {{default: true, stable: x, variants: {{x: {{model: 'm:1'}}}}}}\n"

    def default(*entries: str) -> str | None:
        return plan.load(write(tmp_path, "endpoints:\n" + "".join(entries))).default_endpoint

    assert default(only.format("a")) == "a"
    assert default(only.format("a"), only.format("b")) is None
    assert default(only.format("a"), marked.format("b")) == "b"


def test_hosts_and_modes_are_read(tmp_path: Path) -> None:
    text = (
        ONE % ""
        + """\
auth: required
mode: static
hosts:
  torch: {workers: 2, threads: 4, gpu_required: true,
          resources: {cpu: 1.5, gpu: 1, gpu_type: nvidia-l4}}
  sklearn: {url: "http://sklearn.example:8443/"}
"""
    )
    loaded = plan.load(write(tmp_path, text))
    assert (loaded.auth, loaded.mode) == ("required", "static")
    torch = loaded.hosts["torch"]
    assert (torch.workers, torch.threads, torch.gpu_required) == (2, 4, True)
    assert torch.resources == plan.Resources(cpu=1.5, gpu=1, gpu_type="nvidia-l4")
    assert loaded.hosts["sklearn"].url == "http://sklearn.example:8443"


def test_anchors_and_merge_keys_work(tmp_path: Path) -> None:
    text = """\
    endpoints:
      a: &base
        stable: x
        variants: {x: {model: "m:1"}}
        limits: {max_rows: 7}
      b:
        <<: *base
        forced_variant: anyone
    """
    endpoints = plan.load(write(tmp_path, text)).endpoints
    assert endpoints["b"].limits.max_rows == 7
    assert (endpoints["a"].forced_variant, endpoints["b"].forced_variant) == ("admin", "anyone")


def test_a_plan_cannot_be_changed(tmp_path: Path) -> None:
    loaded = plan.load(write(tmp_path, TWO))
    with pytest.raises(ValueError, match="frozen"):
        loaded.endpoints["flights"].stable = "torch"


def test_the_example_plan_is_the_one_of_the_design(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SWITCHYARD_PLAN", raising=False)
    loaded = plan.load()
    assert settings.plan_path() == settings.ROOT / "switchyard.yaml"
    assert loaded.default_endpoint == "flights"
    flights, digits = loaded.endpoints["flights"], loaded.endpoints["digits"]
    assert flights.traffic.split == {"sklearn": 0.5, "torch": 0.3, "tensorflow": 0.2}
    assert digits.traffic.split == {"sklearn": 0.34, "torch": 0.33, "tensorflow": 0.33}
    for name, endpoint in loaded.endpoints.items():
        assert (endpoint.stable, endpoint.forced_variant) == ("sklearn", "anyone")
        assert {variant: v.model for variant, v in endpoint.variants.items()} == {
            variant: f"{name}-{variant}:production"
            for variant in ("sklearn", "torch", "tensorflow")
        }
    assert list(loaded.hosts) == ["sklearn", "torch", "tensorflow"]
    assert {host.resources.cpu for host in loaded.hosts.values()} == {1}


def test_the_plan_variable_names_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWITCHYARD_PLAN", str(write(tmp_path, TWO)))
    assert list(plan.load().endpoints) == ["flights"]


@given(st.lists(st.integers(min_value=0, max_value=1000), min_size=1, max_size=8))
def test_a_split_is_accepted_exactly_if_it_sums_to_one(weights: list[int]) -> None:
    shares = {f"v{i}": weight / 1000 for i, weight in enumerate(weights)}
    value = {
        "endpoints": {
            "e": {
                "stable": "v0",
                "variants": {name: {"model": "m:1"} for name in shares},
                "traffic": {"split": shares},
            }
        }
    }
    if sum(weights) == 1000:
        assert Plan.model_validate(value).endpoints["e"].traffic.split == shares
    else:
        with pytest.raises(ValueError, match="must sum to 1"):
            Plan.model_validate(value)


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@given(st.sampled_from(["stable", "variants", "traffic", "limits", "default", "other"]), json_like)
def test_whatever_stands_in_a_plan_it_is_one_sentence_or_a_plan(
    tmp_path_factory: pytest.TempPathFactory, key: str, junk: object
) -> None:
    endpoint: dict[str, object] = {"stable": "a", "variants": {"a": {"model": "m:1"}}}
    text = io.StringIO()
    YAML(typ="safe", pure=True).dump({"endpoints": {"e": endpoint | {key: junk}}}, text)
    path = tmp_path_factory.mktemp("plan") / "switchyard.yaml"
    path.write_text(text.getvalue())
    message = refusal(path)
    if message is not None:
        assert message.startswith(f"{path}, line ")
        assert message.endswith(".")
        assert "\n" not in message


def refusal(path: Path) -> str | None:
    try:
        plan.load(path)
    except PlanError as error:
        return error.message
    return None
