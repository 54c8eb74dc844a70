"""What `harness check` says about [benchmarks], without a model and without lm-eval."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from benchmark_items import four_benchmarks, generated_data, jsonl, real_data

from harness.models.source import cache_folder
from harness_plugins.benchmarks.catalogue import Catalogue
from harness_plugins.benchmarks.lm_eval import LmEval
from harness_plugins.benchmarks.local_data import columns, needed_columns, rows


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    return generated_data(tmp_path_factory.mktemp("items"))


def problems(tasks: list[Any], data: dict[str, dict[str, str]] | None = None, **settings: Any) -> str:
    own = {name: settings.pop(name) for name in ("loglikelihoods",) if name in settings}
    return "\n".join(LmEval(LmEval.Config(tasks=tasks, data=data or {}, **settings)).check(".", **own))


@pytest.fixture
def no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hub"))
    return tmp_path


def test_good_settings_have_no_problems(made: dict[str, dict[str, str]]) -> None:
    assert four_benchmarks(made).check(".") == []


def test_an_unknown_task_gets_a_suggestion() -> None:
    assert "no task 'arc_eazy'. Did you mean 'arc_easy'" in problems(["arc_eazy"])


def test_missing_data_says_which_table_to_write(no_hub: Path) -> None:
    text = problems(["arc_easy", "mmlu"])
    assert "task 'arc_easy' has no local data, and 'allenai/ai2_arc' is not in the local Hugging Face cache" in text
    assert 'give [benchmarks.data.arc_easy] with test = "…"' in text
    assert "57 tasks of 'mmlu' have no local data" in text
    assert problems(["arc_easy"], download=True) == ""
    info = no_hub / "hub" / "allenai___ai2_arc" / "ARC-Easy" / "0.0.0" / "abc" / "dataset_info.json"
    info.parent.mkdir(parents=True)
    info.write_text("{}", encoding="utf-8")
    assert problems(["arc_easy"]) == ""
    assert "arc_challenge" in problems(["arc_challenge"])


def test_missing_files_splits_and_columns_are_named(made: dict[str, dict[str, str]], tmp_path: Path) -> None:
    arc = made["arc_easy"]["test"]
    assert "nowhere.jsonl does not exist" in problems(["arc_easy"], {"arc_easy": {"test": "nowhere.jsonl"}})
    text = problems(["hellaswag"], {"hellaswag": {"validation": arc}})
    assert "needs the columns activity_label, ctx_a, ctx_b, endings, label, not found in" in text
    assert "evaluated on its validation split" in problems(["hellaswag"], {"hellaswag": {"test": arc}})
    text = problems(["mmlu_anatomy"], {"mmlu_anatomy": {"test": arc, "dev": arc}})
    assert "needs the column answer" in text
    assert "no entry of tasks asks for" in problems(["arc_easy"], {"arc_easy": {"test": arc}, "arc": {"test": arc}})
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    assert "is empty" in problems(["arc_easy"], {"arc_easy": {"test": str(empty)}})
    assert "of no known kind" in problems(["arc_easy"], {"arc_easy": {"test": __file__}})


def test_shots_that_cannot_be_had_are_refused(made: dict[str, dict[str, str]]) -> None:
    test, train = made["arc_easy"]["test"], made["arc_easy"]["train"]
    assert "from the items it is tested on" in problems(["arc_easy"], {"arc_easy": {"test": test}}, shots=2)
    text = problems(["arc_easy"], {"arc_easy": {"test": test, "train": train}}, shots=50)
    assert "asks for 50 shots" in text
    only_test = {"mmlu_anatomy": {"test": made["mmlu_*"]["test"]}}
    assert 'Write dev = "…"' in problems(["mmlu_anatomy"], only_test, shots=5)
    assert problems(["mmlu_anatomy"], only_test) == ""
    assert "fixed in its template" in problems([{"task": "truthfulqa_mc1", "shots": 2}], made)


def test_what_a_model_cannot_do_is_refused(made: dict[str, dict[str, str]]) -> None:
    assert "needs log-likelihoods" in problems(["arc_easy"], {"arc_easy": made["arc_easy"]}, loglikelihoods=False)
    assert "runs code that the model writes" in problems(["humaneval"])


def test_keys_change_with_what_results_depend_on(made: dict[str, dict[str, str]], tmp_path: Path) -> None:
    def key(path: str, **settings: Any) -> str:
        config = LmEval.Config(tasks=["arc_easy"], data={"arc_easy": {"test": path}}, **settings)
        return LmEval(config).keys(".")["arc_easy"]

    path = made["arc_easy"]["test"]
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(Path(path).read_bytes())
    assert key(path) == key(str(copy)) != key(path, limit=3) != key(path, shots=1)
    copy.write_bytes(Path(path).read_bytes()[:-1])
    assert key(path) != key(str(copy))


def test_unknown_keys_are_refused() -> None:
    for bad in ({"tasks": []}, {"tasks": ["arc_easy"], "limits": 3}, {"tasks": [{"task": "arc_easy", "fewshot": 3}]}):
        with pytest.raises(ValueError, match=r"tasks|limits|fewshot"):
            LmEval.Config(**bad)


def test_needed_columns_are_only_the_certain_ones() -> None:
    template = "{% if hint is defined %}{{hint}}{% endif %}{{ question }} {% for x in range(3) %}{{x}}{% endfor %}"
    assert needed_columns({"doc_to_text": template, "doc_to_target": "label", "doc_to_choice": ["A"]}) == {
        "question",
        "label",
    }


def documented() -> list[LmEval]:
    text = (Path(__file__).parent.parent / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    blocks = [block.split("```")[0] for block in text.split("```toml\n")[1:]]
    return [LmEval(LmEval.Config(**tomllib.loads(block)["benchmarks"])) for block in blocks]


def test_documented_tables_are_valid() -> None:
    examples = documented()
    assert len(examples) == 6
    for example in examples:
        text = "\n".join(example.check("."))
        assert text and all("does not exist" in line or "more problems" in line for line in text.splitlines()), text


def test_documented_tables_fit_the_real_data() -> None:
    real_data()
    for example in documented():
        assert example.check(os.environ["HARNESS_DATA"]) == []


def test_kinds_of_files_are_read(tmp_path: Path) -> None:
    table = [{"a": "1", "b": "x"}, {"a": "2", "b": "y"}]
    (tmp_path / "t.csv").write_text("a,b\n1,x\n2,y\n", encoding="utf-8")
    (tmp_path / "t.json").write_text(json.dumps(table), encoding="utf-8")
    jsonl(tmp_path / "t.jsonl", table)
    for name in ("t.csv", "t.json", "t.jsonl"):
        assert rows(tmp_path / name) == table
        assert columns(tmp_path / name) == {"a", "b"}


def test_checking_imports_nothing_heavy_and_the_names_are_those_of_lm_eval(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom harness_plugins.benchmarks.lm_eval import LmEval\n"
        "LmEval(LmEval.Config(tasks=['mmlu', 'arc_easy', 'nothing'])).check('.')\n"
        "print([name for name in ('torch', 'transformers', 'lm_eval', 'datasets') if name in sys.modules])"
    )
    environment = os.environ | {"HARNESS_CACHE": str(cache_folder())}
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment, cwd=tmp_path
    )
    assert result.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_catalogue_is_the_index_of_lm_eval() -> None:
    from lm_eval.tasks import TaskManager

    index, catalogue = TaskManager().task_index, Catalogue()
    assert set(index) == set(catalogue.entries)
    for name, entry in index.items():
        found = catalogue.entries[name]
        if found.kind == "tag":
            assert set(entry.tags) == set(found.members)
        else:
            assert entry.yaml_path == catalogue.root / found.path
