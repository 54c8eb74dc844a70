"""Time of scoring and classifying stored answers: `python -m perf.evals` prints one JSON object.

Answers are made by rule from the quickstart's own questions and documents (right, wrong, in a sentence, long, looping,
misspelt, refused, empty), with prompts of three documents, so that nothing depends on a model. Every metric that needs
neither settings nor a model and every error classifier judges all of them, in one process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import time
from pathlib import Path
from typing import Any

from harness.config import Use, load_experiment
from harness.plugins import load_plugins
from harness.runner.evaluate import Evaluator
from harness.runner.rescore import StoredCriteria
from harness.tasks.task import Task, load_task
from harness.types import Passage, Prediction

EXPERIMENT = Path(__file__).parent.parent / "experiments" / "quickstart.toml"
NEEDS_SETTINGS = ("regex", "json_schema", "contains_text", "python")


def answers(task: Task, count: int) -> list[Prediction]:
    """`count` predictions over the task's items, again and again."""
    rng = random.Random(0)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, default=100_000)
    parser.add_argument("--chunk", type=int, default=64, help="answers at a time, as they come from a worker")
    options = parser.parse_args()
    registry = load_plugins()
    experiment = load_experiment(EXPERIMENT, registry)
    task = load_task(experiment, registry)
    names = [
        entry.name
        for entry in sorted(registry.of_kind("metric"), key=lambda entry: entry.name)
        if entry.name not in NEEDS_SETTINGS and not is_model_asked(entry.spec)
    ]
    metrics = tuple(Use(name, name, {}) for name in names)
    evaluator = Evaluator(StoredCriteria(metrics, experiment.errors, experiment.generation), task, registry)
    made = answers(task, options.answers)
    seconds: dict[str, float] = {}
    started = time.perf_counter()
    for start in range(0, len(made), options.chunk):
        chunk = made[start : start + options.chunk]
        for judge in evaluator.metrics:
            begun = time.perf_counter()
            evaluator.score(chunk, judge)
            seconds[judge.id] = seconds.get(judge.id, 0.0) + time.perf_counter() - begun
        for judge in evaluator.classifiers:
            begun = time.perf_counter()
            evaluator.classify(chunk, judge, {})
            seconds[judge.id] = seconds.get(judge.id, 0.0) + time.perf_counter() - begun
    result = {
        "answers": len(made),
        "total_s": round(time.perf_counter() - started, 2),
        "by_judge_s": {name: round(value, 2) for name, value in sorted(seconds.items(), key=lambda pair: -pair[1])},
        "processes": 1,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "machine": platform.processor() or platform.machine(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
