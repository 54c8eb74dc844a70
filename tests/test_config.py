"""experiment.toml: what is accepted, what is refused, and what the refusal says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config import load_experiment
from harness.exceptions import ConfigError
from harness.plugins import Registry
from harness.toml_lines import key_lines, line_of, show_path

Write = Callable[[str, str], Path]

GOOD = """
[experiment]
name = "demo"
seeds = [0, 1, 1]

[task]
loader = "jsonl"
test = "test.jsonl"
train = "train.jsonl"
input = "{question}"
metrics = ["exact_match", "token_f1"]
primary_metric = "token_f1"

[[arm]]
name = "zero"
strategies = ["prompt"]

[[arm]]
name = "both"
strategies = ["rag", { use = "prompt", id = "style", k = 2 }]
rag = { k = 5 }
"""


def problems(write: Write, registry: Registry, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_experiment(write("e.toml", text), registry)
    return [str(problem) for problem in caught.value.problems]


def test_a_good_file_is_resolved(write: Write, registry: Registry) -> None:
    experiment = load_experiment(write("e.toml", GOOD), registry)
    assert experiment.seeds == (0, 1)
    assert experiment.baseline == "zero"
    assert experiment.readout == "generate"
    assert [use.id for use in experiment.arms[1].chain] == ["rag", "style"]
    assert experiment.arms[1].chain[0].settings["k"] == 5
    assert experiment.arms[1].chain[1].settings["k"] == 2
    assert experiment.primary_metric == "token_f1"
    assert experiment.resolved()["arms"][0]["chain"][0]["settings"]["k"] == 0


def test_all_mistakes_are_reported_together_with_line_and_nearest_name(write: Write, registry: Registry) -> None:
    text = GOOD.replace("seeds", "seads").replace('"exact_match"', '"exact_mach"').replace("k = 5", "kk = 5")
    text = text.replace('strategies = ["prompt"]', 'strategies = ["promt"]') + "\n[decison]\nmargin = 0.1\n"
    found = "\n".join(problems(write, registry, text.lstrip("\n")))
    for wanted in (
        "line 3, experiment.seads",
        "Did you mean 'seeds'?",
        "Did you mean 'exact_match'?",
        "line 15",
        "Did you mean 'prompt'?",
        "line 20, arm[2].rag.kk",
        "Did you mean 'decision'?",
    ):
        assert wanted in found, found


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (("seeds = [0, 1, 1]", 'seeds = "0"'), "experiment.seeds"),
        (('name = "both"', 'name = "zero"'), "arm 'zero' stands twice"),
        (('"token_f1"]', '"token_f1", "token_f1"]'), "metric 'token_f1' stands twice"),
        (('primary_metric = "token_f1"', 'primary_metric = "f1"'), "not among the metrics"),
        (("rag = { k = 5 }", "lora = { r = 4 }"), "neither a key of an arm nor one of its strategies"),
        (("rag = { k = 5 }", "rag = { k = 0 }"), "greater than or equal to 1"),
        (("rag = { k = 5 }", "rag = 5"), "must be a table of settings"),
        (('loader = "jsonl"', 'loader = "jsonnl"'), "Did you mean 'jsonl'?"),
        (('["prompt"]', '["prompt_tuning", "lora"]'), "Put 'lora' before 'prompt_tuning'"),
        (("[experiment]", "[experiment]\nbaseline = 'zerro'"), "Did you mean 'zero'?"),
        (('["prompt"]', "[]"), "at least 1 item"),
        (("[[arm]]", "[cost]\nusd_per_hour = -1\n[[arm]]"), "greater than or equal to 0"),
        (("[[arm]]", "[decision]\nlimits = { latency = 1 }\n[[arm]]"), "unknown limit"),
    ],
)
def test_one_mistake(write: Write, registry: Registry, change: tuple[str, str], wanted: str) -> None:
    found = problems(write, registry, GOOD.replace(change[0], change[1], 1))
    assert any(wanted in problem for problem in found), found


@pytest.mark.parametrize(
    ("readout", "wanted"),
    [
        ('"chose"', ["Did you mean 'choose'?"]),
        ('{ kind = "chose", normalise = "token", by = "generatin" }', ["'choose'?", "'tokens'?", "'generation'?"]),
        ("{ calibrat = true }", ["task.readout.calibrat: unknown key", "Did you mean 'calibrate'?"]),
        ('{ kind = "generate", calibrate = true }', ["task.readout.calibrate: bears on a choice only"]),
        (
            '{ by = "generation", calibrate = true, normalise = "bytes" }',
            ["normalise corrects the scores", "calibrate corrects the scores"],
        ),
        ('{ content_free = ["?"] }', ["content_free is read with calibrate = true only"]),
        ("{ calibrate = true, content_free = [] }", ["task.readout.content_free: list should have at least 1 item"]),
    ],
)
def test_a_readout_that_cannot_be(write: Write, registry: Registry, readout: str, wanted: list[str]) -> None:
    found = "\n".join(problems(write, registry, GOOD.replace("[task]", f"[task]\nreadout = {readout}")))
    assert all(sentence in found for sentence in wanted) and "line 6" in found, found


@pytest.mark.parametrize(
    ("task", "kind", "options"),
    [
        ('labels = ["a", "b"]', "choose", {}),
        ('readout = "generate"', "generate", {}),
        ('readout = { kind = "generate" }', "generate", {}),
        ("readout = { calibrate = false }", "choose", {}),
        ('readout = { by = "generation" }', "choose", {"by": "generation"}),
        ('readout = { kind = "choose", normalise = "bytes" }', "choose", {"normalise": "bytes"}),
        ("readout = { calibrate = true }", "choose", {"calibrate": True, "content_free": ["N/A", "", "[MASK]"]}),
    ],
)
def test_a_readout_is_a_name_or_a_table(
    write: Write, registry: Registry, task: str, kind: str, options: dict[str, object]
) -> None:
    experiment = load_experiment(write("e.toml", GOOD.replace("[task]", f"[task]\n{task}")), registry)
    assert experiment.readout == kind
    assert bool(experiment.readout_options) is bool(options) and options.items() <= experiment.readout_options.items()
    assert experiment.resolved()["task"]["readout"] == {"kind": kind, **experiment.readout_options}


def test_broken_toml_names_the_line(write: Write, registry: Registry) -> None:
    assert "line 2" in problems(write, registry, '[experiment]\nname = demo"\n')[0]


def test_a_missing_file_names_a_near_one(write: Write, registry: Registry) -> None:
    write("experiment.toml", GOOD)
    with pytest.raises(ConfigError) as caught:
        load_experiment(Path("experimnt.toml"), registry)
    assert "experiment.toml" in str(caught.value)
    assert caught.value.exit_code == 2


def test_empty_file_says_what_is_missing(write: Write, registry: Registry) -> None:
    found = "\n".join(problems(write, registry, ""))
    assert "[experiment]" in found and "[task]" in found and "arm" in found


def test_key_lines() -> None:
    text = '[a]\nx = 1\ny = [\n  "k = 1",\n]\nz = """\nq = 2\n"""\n[[b]]\nn.m = 1\n[[b]]\nn = 2\n[b.c]\nd = 1\n'
    lines = key_lines(text)
    assert lines[("a", "x")] == 2
    assert lines[("a", "y")] == 3
    assert lines[("a", "z")] == 6
    assert ("a", "q") not in lines and ("a", "k") not in lines
    assert lines[("b", 0, "n", "m")] == 10
    assert lines[("b", 1, "n")] == 12
    assert lines[("b", 1, "c", "d")] == 14
    assert line_of(lines, ("b", 1, "c", "nothing")) == 13
    assert show_path(("b", 1, "n")) == "b[2].n"


@given(st.text(max_size=200))
def test_key_lines_never_fails(text: str) -> None:
    assert all(line >= 1 for line in key_lines(text).values())
