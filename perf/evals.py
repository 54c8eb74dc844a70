"""Time of scoring and classifying stored answers: `python -m perf.evals` prints one JSON object.

Answers are made by rule from the quickstart's own questions and documents (right, wrong, in a sentence, long, looping,
misspelt, refused, empty), with prompts of three documents, so that nothing depends on a model. Every metric that needs
neither settings nor a model and every error classifier judges all of them, in one process. With `--stored` the answers
are put into a results database, and `harness rescore` is timed on it as a whole process.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from harness.config import Experiment, Use, load_experiment
from harness.plugins import Registry, load_plugins
from harness.runner.evaluate import Evaluator
from harness.runner.rescore import StoredCriteria
from harness.store import NewRun, NewTrial, open_store
from harness.store.rescoring import save_vocabulary
from harness.tasks.task import Task, load_task
from harness.tasks.vocabulary import Vocabulary, task_texts
from harness.types import Passage, Prediction

EXPERIMENT = Path(__file__).parent.parent / "experiments" / "quickstart.toml"
ARMS = 6
NEEDS_SETTINGS = ("regex", "json_schema", "contains_text", "python")


def answers(task: Task, count: int, seed: int = 0) -> list[Prediction]:
    """`count` predictions over the task's items, again and again."""
    rng = random.Random(seed)
    made = []
    for number in range(count):
        example = task.test[number % len(task.test)]
        gold = example.references[0]
        documents = rng.choices(task.corpus, k=3)
        text = documents[0].text
        kinds = (
            gold,
            rng.choice(task.test).references[0],
            f"The answer is {gold}.",
            f"The goverment says that it is {gold}, and that is all.",
            " ".join(text.split()[:30]),
            " ".join([" ".join(text.split()[:3])] * 8),
            "I'm sorry, but I cannot answer that question.",
            "",
        )
        answer = kinds[number % len(kinds)] if number % 3 else rng.choice(task.corpus).text[:120]
        passages = tuple(
            Passage(found.id, found.title, found.text, 1.0, rank) for rank, found in enumerate(documents, 1)
        )
        prompt = "\n\n".join(found.text for found in documents) + "\n\n" + task.inputs[example.id]
        made.append(Prediction(example.id, prompt, answer, answer, "stop", 200, 20, passages=passages))
    return made


def is_model_asked(spec: Any) -> bool:
    """Metrics that a model computes, of language or of embeddings: their time is the model's."""
    return bool(spec.measures or spec.packages)


def judge_here(experiment: Experiment, task: Task, registry: Registry, count: int, chunk: int) -> dict[str, Any]:
    """Every metric that needs neither settings nor a model and every classifier, in this process."""
    entries = sorted(registry.of_kind("metric"), key=lambda entry: entry.name)
    names = [one.name for one in entries if one.name not in NEEDS_SETTINGS and not is_model_asked(one.spec)]
    metrics = tuple(Use(name, name, {}) for name in names)
    evaluator = Evaluator(StoredCriteria(metrics, experiment.errors, experiment.generation), task, registry)
    made = answers(task, count)
    seconds: dict[str, float] = {}
    started = time.perf_counter()
    for start in range(0, len(made), chunk):
        batch = made[start : start + chunk]
        for judge in evaluator.metrics:
            begun = time.perf_counter()
            evaluator.score(batch, judge)
            seconds[judge.id] = seconds.get(judge.id, 0.0) + time.perf_counter() - begun
        for judge in evaluator.classifiers:
            begun = time.perf_counter()
            evaluator.classify(batch, judge, {})
            seconds[judge.id] = seconds.get(judge.id, 0.0) + time.perf_counter() - begun
    return {
        "total_s": round(time.perf_counter() - started, 2),
        "by_judge_s": {name: round(value, 2) for name, value in sorted(seconds.items(), key=lambda pair: -pair[1])},
    }


def rescore_stored(experiment: Experiment, task: Task, count: int) -> dict[str, Any]:
    """`harness rescore` as a whole process on a run of six arms that has these answers and no scores: the quickstart's
    metrics and the classifiers that are asked unnamed."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "harness.db"
        _store(results, experiment, task, count // ARMS)
        command = [sys.executable, "-m", "harness", "rescore", "--results", str(results)]
        seconds = []
        for _ in range(2):  # the second time everything is there
            started = time.perf_counter()
            subprocess.run(command, check=True, cwd=EXPERIMENT.parent.parent, stdout=sys.stderr)
            seconds.append(round(time.perf_counter() - started, 2))
        done = count // ARMS * ARMS
        return {"answers": done, "rescore_s": seconds[0], "nothing_new_s": seconds[1], "bytes": results.stat().st_size}


def _store(results: Path, experiment: Experiment, task: Task, items: int) -> None:
    tests = task.test
    examples = [
        replace(one, query=replace(one.query, id=f"{number}/{one.id}"))
        for number, one in enumerate(itertools.islice(itertools.cycle(tests), items))
    ]
    inputs = {example.id: task.inputs[example.id.split("/", 1)[1]] for example in examples}
    config = {
        "task": {"metrics": [asdict(use) for use in experiment.metrics]},
        "errors": [asdict(use) for use in experiment.errors],
        "generation": experiment.generation.model_dump(mode="json"),
    }
    with open_store(results) as store:
        store.save_items("data", "factbook", {"test": examples}, inputs)
        save_vocabulary(store, "data", Vocabulary(lambda: task_texts(task)).words)
        names = [f"arm {number}" for number in range(ARMS)]
        primary = experiment.primary_metric
        run = store.begin_run(NewRun("key", "made up", "data", names[0], primary, names, config_resolved=config))
        for index, name in enumerate(names):
            trial = store.begin_trial(NewTrial(name, name, name, 0))
            store.link_trial(run, trial, name, index, 0)
            pairs = zip(answers(task, items, seed=index), examples, strict=True)
            made = [replace(one, item_id=example.id) for one, example in pairs]
            store.add_predictions(trial, made)
            store.finish_trial(trial, "done")
        store.finish_run(run, "done")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, default=100_000)
    parser.add_argument("--chunk", type=int, default=64, help="answers at a time, as they come from a worker")
    parser.add_argument("--stored", action="store_true", help="time `harness rescore` on a stored run instead")
    options = parser.parse_args()
    registry = load_plugins()
    experiment = load_experiment(EXPERIMENT, registry)
    task = load_task(experiment, registry)
    if options.stored:
        result = rescore_stored(experiment, task, options.answers)
    else:
        result = judge_here(experiment, task, registry, options.answers, options.chunk)
    result = {
        "answers": options.answers,
        **result,
        "processes": 1,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "machine": platform.processor() or platform.machine(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
