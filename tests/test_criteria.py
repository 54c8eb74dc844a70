"""Own criteria in the experiment file: [[eval]], [[category]], [errors]; what they refuse and how they say it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import taxonomy
from harness.analysis.rows import MetricInfo
from harness.config import Experiment, load_experiment
from harness.criteria import own_categories
from harness.exceptions import ConfigError, PluginError
from harness.local_code import LocalCode
from harness.plugins import Registry
from harness.runner.evaluate import Judge, judges, metric_infos
from harness.types import EvalContext, Example, Passage, Prediction, Query

Write = Callable[[str, str], Path]

FILE = """
[experiment]
name = "demo"

[task]
loader = "jsonl"
test = "test.jsonl"
metrics = ["exact_match"]

[[arm]]
name = "zero"
strategies = ["prompt"]

"""
MINE = """
def polite(answer, references):
    return "please" in answer

def wordy(answer, limit=3):
    return f"{len(answer.split())} words" if len(answer.split()) > limit else None

def everything(**facts):
    return len(facts) / 10

def broken(answer):
    return 1 / 0

def strange(answer):
    return {"a": 1}

def typo(anwser):
    return 1

def positional(answer, /):
    return 1

def nothing():
    return 1

async def later(answer):
    return 1

number = 3
"""


def loaded(write: Write, registry: Registry, text: str) -> Experiment:
    write("mine.py", MINE)
    return load_experiment(write("e.toml", FILE + text), registry)


def problem(write: Write, registry: Registry, text: str, code: LocalCode | None = None) -> str:
    write("mine.py", MINE)
    with pytest.raises(ConfigError) as caught:
        load_experiment(write("e.toml", FILE + text), registry, code)
    return "\n".join(str(found) for found in caught.value.problems)


def predicted(text: str) -> Prediction:
    return Prediction("1", "the prompt", text, text, "stop", 1, 1, passages=(Passage("d", "t", "shown", 1.0, 1),))


ITEM = Example(Query("1", {"question": "q?"}), ("gold",))
CONTEXT = EvalContext("generate", input="q?")


def metric(experiment: Experiment, registry: Registry, name: str) -> Judge:
    return next(judge for judge in judges("metric", experiment.metrics, registry) if judge.id == name)


def classifier(experiment: Experiment, registry: Registry, name: str) -> Judge:
    return next(judge for judge in judges("error classifier", experiment.errors, registry) if judge.id == name)


# ---------------------------------------------------------------------------------------------------- [[eval]]


@pytest.mark.parametrize(
    ("table", "text", "value"),
    [
        ('kind = "regex"\npattern = "^[0-9]+$"', "12", 1.0),
        ('kind = "regex"\npattern = "^[0-9]+$"', "twelve", 0.0),
        ('kind = "contains"\ntexts = ["km", "miles"]', "12 km", 1.0),
        ('kind = "contains"\ntexts = ["km", "miles"]\nmatch = "all"', "12 km", 0.0),
        ('kind = "contains"\ntexts = ["KM"]\nignore_case = true', "12 km", 1.0),
        ('kind = "json_schema"\nschema = { type = "object" }', '{"a": 1}', 1.0),
        ('kind = "json_schema"\nschema = { type = "object" }', "[]", 0.0),
        ('kind = "python"\npython = "mine.py:polite"', "please", 1.0),
        ('kind = "python"\npython = "mine.py:polite"', "no", 0.0),
        ('kind = "python"\npython = "mine.py:everything"', "x", 0.9),
        ('kind = "python"\npython = "mine.py:broken"', "x", None),
        ('kind = "python"\npython = "mine.py:strange"', "x", None),
        ('kind = "python"\npython = "mine.py:wordy"', "x", None),
    ],
)
def test_own_criteria_judge(write: Write, registry: Registry, table: str, text: str, value: float | None) -> None:
    experiment = loaded(write, registry, f'[[eval]]\nname = "own"\n{table}\n')
    assert [use.id for use in experiment.metrics] == ["exact_match", "own"]
    plugin = metric(experiment, registry, "own").plugin
    record = plugin.record(predicted(text), ITEM, CONTEXT)
    assert record["value"] == value
    if value is None:
        assert "mine.py:" in record["reason"]
        assert plugin.aggregate([record]) is None


def test_an_own_criterion_can_decide(write: Write, registry: Registry) -> None:
    text = FILE.replace("metrics =", 'primary_metric = "short"\nmetrics =')
    toml = write("e.toml", text + '[[eval]]\nname = "short"\nkind = "regex"\npattern = "^.{1,9}$"\n')
    experiment = load_experiment(toml, registry)
    assert experiment.primary_metric == "short"
    infos: list[MetricInfo] = metric_infos(judges("metric", experiment.metrics, registry))
    assert [info.name for info in infos] == ["exact_match", "short"]


def test_the_digest_is_recorded_and_another_file_is_another_version(write: Write, registry: Registry) -> None:
    table = '[[eval]]\nkind = "python"\npython = "mine.py:polite"\n'
    one = loaded(write, registry, table)
    assert len(one.resolved()["task"]["metrics"][1]["settings"]["sha256"]) == 64
    write("mine.py", MINE + "\n# changed\n")
    two = load_experiment(write("e.toml", FILE + table), registry)
    assert metric(one, registry, "python").version != metric(two, registry, "python").version


def test_stored_results_are_read_without_running_the_file(registry: Registry) -> None:
    settings = {"python": "gone.py:judge", "sha256": "1" * 64}
    plugin = registry.get("metric", "python").create(settings)
    assert plugin.aggregate([{"value": 1.0}, {"value": 0.0}, {"value": None, "reason": "x"}]) == 0.5
    with pytest.raises(PluginError, match="not loaded"):
        plugin.record(predicted("x"), ITEM, CONTEXT)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('kind = "regexp"\npattern = "x"', "eval[1].kind: input should be 'regex'"),
        ('pattern = "x"', "is missing"),
        ('kind = "regex"', "pattern"),
        ('kind = "regex"\npattern = "("', "not a regular expression"),
        ('kind = "regex"\npatern = "x"', "unknown key"),
        ('kind = "contains"\ntexts = []', "texts"),
        ('kind = "contains"\ntexts = [""]', "an empty text is found in every answer"),
        ('kind = "json_schema"\nschema = { type = "objekt" }', "not a JSON schema"),
        ('kind = "regex"\nname = "exact_match"\npattern = "x"', "'exact_match' stands twice"),
        ('kind = "python"', "names no function"),
        ('kind = "python"\npython = "mine.py"', "names no function"),
        ('kind = "python"\npython = 3', "names no function"),
        ('kind = "python"\npython = "../mine.py:polite"', "outside the experiment file's folder"),
        ('kind = "python"\npython = "/mine.py:polite"', "outside the experiment file's folder"),
        ('kind = "python"\npython = "your.py:polite"', "Python files in that folder: mine.py"),
        ('kind = "python"\npython = "mine.py:polit"', "has no 'polit'"),
        ('kind = "python"\npython = "mine.py:typo"', "asks for 'anwser', which is not known"),
        ('kind = "python"\npython = "mine.py:positional"', "cannot be given by name"),
        ('kind = "python"\npython = "mine.py:nothing"', "takes nothing to judge"),
        ('kind = "python"\npython = "mine.py:later"', "is asynchronous"),
        ('kind = "python"\npython = "mine.py:number"', "is a int, not a function"),
        ('kind = "python"\npython = "mine.py:polite"\nsha256 = "00"', "is another file: its sha256 is"),
    ],
)
def test_mistakes_are_explained(write: Write, registry: Registry, table: str, says: str) -> None:
    assert says in problem(write, registry, f"[[eval]]\n{table}\n")


def test_mistakes_have_a_line(write: Write, registry: Registry) -> None:
    assert "line 15" in problem(write, registry, '[[eval]]\nkind = "python"\npython = "mine.py:typo"\n')


def test_local_code_can_be_refused(write: Write, registry: Registry, folder: Path) -> None:
    table = '[[eval]]\nkind = "python"\npython = "mine.py:polite"\n[[category]]\nname = "c"\npython = "mine.py:wordy"\n'
    said = problem(write, registry, table, LocalCode(folder, allowed=False))
    assert said.count("is refused: --no-local-code is given") == 2


@pytest.mark.parametrize("text", ["eval = 3", "category = 3", "errors = 3", "eval = [3]"])
def test_tables_must_be_tables(write: Write, registry: Registry, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_experiment(write("e.toml", f"{text}\n{FILE}"), registry)
    assert "must be a" in str(caught.value)


# ------------------------------------------------------------------------------------- [[category]] and [errors]


def test_own_categories(write: Write, registry: Registry) -> None:
    text = """
    [[category]]
    name = "hedging"
    pattern = "perhaps|maybe"
    ignore_case = true
    severity = 1
    remedy = "Say that one answer is wanted."
    [[category]]
    name = "wordy"
    python = "mine.py:wordy"
    """
    experiment = loaded(write, registry, text)
    hedging, wordy = (classifier(experiment, registry, name).plugin for name in ("hedging", "wordy"))
    assert [found.evidence for found in hedging.classify(predicted("Well, Perhaps."), ITEM, CONTEXT)] == [
        "at 6: 'Perhaps'"
    ]
    assert hedging.classify(predicted("No."), ITEM, CONTEXT) == []
    (found,) = wordy.classify(predicted("one two three four"), ITEM, CONTEXT)
    assert (found.category, found.evidence) == ("wordy", "4 words")
    assert taxonomy.primary([found]) == "wordy"
    own = own_categories(experiment.resolved())
    assert own["hedging"].severity == 1 and own["hedging"].remedy.startswith("Say") and own["wordy"].severity == 2


def test_a_category_function_that_fails_stops_and_says_where(write: Write, registry: Registry) -> None:
    text = '[[category]]\nname = "a"\npython = "mine.py:broken"\n[[category]]\nname = "b"\npython = "mine.py:strange"\n'
    experiment = loaded(write, registry, text)
    for name, says in (("a", "ZeroDivisionError"), ("b", "returned")):
        with pytest.raises(PluginError, match=says) as caught:
            classifier(experiment, registry, name).plugin.classify(predicted("x"), ITEM, CONTEXT)
        assert "item 1" in str(caught.value)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('[[category]]\nname = "verbose"\npattern = "x"', "'verbose' is a built-in category"),
        ('[[category]]\nname = "a"', "give one of them"),
        ('[[category]]\nname = "a"\npattern = "x"\npython = "mine.py:polite"', "give one of them"),
        ('[[category]]\nname = "a"\npattern = "("', "not a regular expression"),
        ('[[category]]\nname = "a"\npattern = "x"\nseverity = 9', "severity"),
        ('[[category]]\nname = "a"\npattern = "x"\n[[category]]\nname = "a"\npattern = "y"', "stands twice"),
        ('[[category]]\nname = "a"\npython = "mine.py:typo"', "asks for 'anwser'"),
        ("[errors.surfase]\nverbose_ratio = 2", "Did you mean 'surface'?"),
        ("[errors.surface]\nverbose_ration = 2", "Did you mean 'verbose_ratio'?"),
        ('[errors.surface]\nverbose_ratio = "x"', "verbose_ratio"),
    ],
)
def test_mistakes_in_categories(write: Write, registry: Registry, table: str, says: str) -> None:
    assert says in problem(write, registry, f"{table}\n")


def test_thresholds_are_settings_and_classifiers_can_be_left_out(write: Write, registry: Registry) -> None:
    usual = loaded(write, registry, "")
    strict = loaded(write, registry, "[errors]\ngrounding = false\nsurface = { verbose_ratio = 1.5 }\n")
    assert {use.id for use in usual.errors} - {use.id for use in strict.errors} == {"grounding"}
    assert classifier(strict, registry, "surface").plugin.config.verbose_ratio == 1.5
    assert classifier(strict, registry, "surface").version != classifier(usual, registry, "surface").version


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200))
def test_any_answer_is_judged_by_texts_and_patterns(text: str) -> None:
    from harness_plugins.own import ContainsText, Pattern

    found = ContainsText(ContainsText.Config(texts=["a", "🙂"])).record(predicted(text), ITEM, CONTEXT)
    assert found["value"] == float("a" in text or "🙂" in text)
    labels = Pattern(Pattern.Config(name="any", pattern=r"\w")).classify(predicted(text), ITEM, CONTEXT)
    assert len(labels) == any(character.isalnum() or character == "_" for character in text)
