"""`docs/schema.md` from the migrations and the words below: `python -m harness.store.schema > docs/schema.md`."""

from __future__ import annotations

import sqlite3

from sqlite_utils import Database

from harness.store.migrations import migrations

TABLES = {
    "tasks": "Data sets, by the fingerprint of their splits and corpus.",
    "items": "Items of a task, kept so that a prediction can be judged after the data files have changed.",
    "runs": "One row for each experiment that was run. The same command again finds the same row by its key.",
    "trials": "One arm with one seed. Trials are shared by all runs that need the same predictions.",
    "run_trials": "Which trials make up a run, and under which arm's name.",
    "run_candidates": "Which candidates an arm's sweep had in a run, and which was chosen.",
    "candidates": "One setting of an arm, adapted with the first seed and scored on validation examples.",
    "run_curve_trials": "Which trials make up a run's learning curves.",
    "predictions": "One answer of one trial to one item.",
    "scores": "One metric's record of one prediction.",
    "error_labels": "Error categories of a prediction, as one classifier found them.",
    "measurements": "What was measured on the trial's model after its answers, for metrics that ask for it.",
    "ledger": "Costs as physical quantities. Money is worked out when a report is made.",
    "latencies": "Seconds of single requests: batch of one, warm, retrieval included.",
    "curves": "Values by step, such as the training loss.",
    "artifacts": "What adapting left on disk.",
    "benchmarks": "One metric of one benchmark task on one adapted model, shared by all trials with that model.",
    "benchmark_items": "A benchmark's values by item; arms are paired by them.",
    "task_vocabularies": "The words of a task's corpus, inputs and references: no spelling mistakes.",
    "rescorings": "When `harness rescore` changed what a run shows.",
}

COLUMNS = {
    "tasks.fingerprint": "digest of all splits and the corpus",
    "tasks.name": "loader that read the data",
    "tasks.created_at": "UTC, ISO 8601",
    "items.task_fingerprint": "task",
    "items.item_id": "id within the task",
    "items.split": "train, validation or test",
    "items.position": "place within the split, from 0",
    "items.group_name": "group that never stands in two splits; NULL without groups",
    "items.input": "rendered input, as the prompt contains it",
    "items.fields": "JSON object: fields of the item",
    "items.gold": "JSON array: acceptable answers, best first",
    "items.evidence": "JSON array: ids of documents that state the answer, where known",
    "runs.id": "time of the start (UTC) and four random digits",
    "runs.key": "digest of the resolved experiment with its fingerprints, trials and score versions",
    "runs.name": "experiment's name",
    "runs.status": "running, done, failed (a trial failed) or interrupted",
    "runs.created_at": "UTC, ISO 8601",
    "runs.finished_at": "UTC, ISO 8601; NULL while it runs",
    "runs.task_fingerprint": "task",
    "runs.baseline": "arm that the others are compared with",
    "runs.primary_metric": "metric that decides",
    "runs.arms": "JSON array: arms in the file's order",
    "runs.config_written": "experiment file as written",
    "runs.config_resolved": "JSON object: experiment with all defaults filled in",
    "runs.versions": "JSON object: versions of packages and plugins",
    "runs.machine": "JSON object: processor, cores, memory",
    "runs.model": "JSON object: reference, label, digest, dtype, device",
    "runs.task": "JSON object: sizes, fingerprints and warnings of the data",
    "runs.score_versions": "JSON object: version of each metric and classifier that belongs to this run",
    "runs.analysis": "JSON object: the comparison as of the end of the run",
    "trials.id": "number of the trial",
    "trials.prediction_key": "equal keys: the same predictions would come out",
    "trials.adaptation_key": "equal keys: the same adaptation would come out",
    "trials.arm": "arm's name when the trial was first made; see run_trials for its name in a run",
    "trials.seed": "random seed",
    "trials.chain": "JSON array: strategies with their settings",
    "trials.status": "pending, running, done or failed",
    "trials.error": "why it failed, for people",
    "trials.error_detail": "why it failed, with the traceback",
    "trials.started_at": "UTC, ISO 8601",
    "trials.finished_at": "UTC, ISO 8601",
    "trials.adaptation": "JSON object: prompt steps, deltas of the model, readout",
    "trials.dtype": "number format of the model",
    "trials.prediction_digest": "equal digests: every item was answered alike",
    "trials.model_key": "equal keys: the same adapted model; benchmarks are kept under it",
    "trials.notes": "JSON array: what people should know about the trial",
    "run_trials.run_id": "run",
    "run_trials.trial_id": "trial",
    "run_trials.arm": "arm's name in this run",
    "run_trials.arm_index": "arm's place in the file, from 0",
    "run_trials.seed": "random seed",
    "run_candidates.run_id": "run",
    "run_candidates.arm": "arm's name in this run",
    "run_candidates.position": "place in the search, from 0",
    "run_candidates.candidate_key": "candidate",
    "run_candidates.settings": "JSON object: value by strategy.setting",
    "run_candidates.chosen": "1 for the one that the arm's trials use",
    "candidates.key": "equal keys: the same score would come out",
    "candidates.adaptation_key": "equal keys: the same adaptation would come out",
    "candidates.seed": "random seed",
    "candidates.metric": "metric that decides",
    "candidates.metric_version": "digest of the metric's version and settings",
    "candidates.status": "done or failed",
    "candidates.value": "metric over the validation examples; NULL where unknown",
    "candidates.n": "validation examples that were scored",
    "candidates.seconds": "from start to end, loading included",
    "candidates.costs": "JSON array: ledger entries of adapting (prepare, train) and of answering (predict)",
    "candidates.error": "why it failed, for people",
    "candidates.error_detail": "why it failed, with the traceback",
    "candidates.created_at": "UTC, ISO 8601",
    "run_curve_trials.run_id": "run",
    "run_curve_trials.arm": "arm's name in this run",
    "run_curve_trials.size": "training examples",
    "run_curve_trials.trial_id": "trial",
    "predictions.trial_id": "trial",
    "predictions.item_id": "item",
    "predictions.position": "place in the test split, from 0",
    "predictions.finish": "stop, length, choice, overflow, or error (ours: not counted as wrong)",
    "predictions.tokens_in": "tokens of the prompt",
    "predictions.tokens_out": "tokens of the answer",
    "predictions.error": "what failed",
    "predictions.document_ids": "JSON array: ids of the passages; NULL without retrieval",
    "predictions.parsed": "answer as it was scored",
    "predictions.raw": "text as the model wrote it",
    "predictions.prompt": "prompt as sent",
    "predictions.passages": "JSON array: retrieved texts with title, score and rank",
    "predictions.label_scores": "JSON object: log-likelihood of each label, in nats, as normalised and calibrated",
    "scores.trial_id": "trial",
    "scores.item_id": "item",
    "scores.metric": "metric",
    "scores.version": "digest of the metric's version and settings",
    "scores.value": "value of the item; NULL for unknown",
    "scores.record": 'JSON object: facts behind the value; NULL where the record is just {"value": value}',
    "error_labels.trial_id": "trial",
    "error_labels.item_id": "item",
    "error_labels.classifier": "classifier",
    "error_labels.version": "digest of the classifier's version and settings",
    "error_labels.category": "category; nothing_found where the classifier had nothing to say",
    "error_labels.is_primary": "1 for the category that ranks first among this classifier's (reports rank over all)",
    "error_labels.evidence": "what it was seen by",
    "measurements.trial_id": "trial",
    "measurements.kind": "gold_likelihoods or repeats",
    "measurements.key": "digest of the kind and its settings: the same is measured once",
    "measurements.item_id": "item",
    "measurements.value": "JSON object: what was found",
    "ledger.id": "number of the row",
    "ledger.trial_id": "trial",
    "ledger.phase": "prepare, train, predict or evaluate",
    "ledger.quantity": "wall_s, cpu_s, gpu_s, energy_j, flops, trained_tokens, peak_memory_bytes, …",
    "ledger.value": "amount; NULL for unknown",
    "ledger.unit": "unit",
    "ledger.basis": "measured, sampled, estimated or unknown",
    "latencies.trial_id": "trial",
    "latencies.item_id": "item",
    "latencies.seconds": "seconds from request to answer",
    "curves.trial_id": "trial",
    "curves.series": "what is plotted, e.g. loss",
    "curves.step": "step, from the series' own count",
    "curves.value": "value; NULL for not finite",
    "artifacts.adaptation_key": "adaptation that it belongs to",
    "artifacts.path": "place under the artifacts folder",
    "artifacts.trial_id": "trial that reported it last",
    "artifacts.kind": "peft, soft_prompt or weights",
    "artifacts.bytes": "size of all its files",
    "artifacts.digest": "digest of its tensors and configuration",
    "benchmarks.id": "number of the result",
    "benchmarks.model_key": "adapted model: see trials.model_key",
    "benchmarks.task_key": "digest of the task, its data, shots, limit and versions",
    "benchmarks.task": "task, such as mmlu_anatomy",
    "benchmarks.group_name": "name in the experiment file that brought the task in, such as mmlu",
    "benchmarks.metric": "metric, such as acc",
    "benchmarks.value": "value over all items; NULL where unknown",
    "benchmarks.higher_is_better": "1 or 0",
    "benchmarks.is_mean": "1 where the value is the mean of its items' values",
    "benchmarks.is_primary": "1 for the task's first metric",
    "benchmarks.shots": "worked examples in each prompt",
    "benchmarks.truncated": "requests whose context was cut to fit the window",
    "benchmarks.created_at": "UTC, ISO 8601",
    "benchmark_items.benchmark_id": "result",
    "benchmark_items.item_id": "item within the task",
    "benchmark_items.value": "the item's value; NULL where unknown",
    "task_vocabularies.task_fingerprint": "task",
    "task_vocabularies.words": "zlib: words in lower case, one a line, UTF-8",
    "rescorings.id": "number of the change",
    "rescorings.run_id": "run",
    "rescorings.created_at": "UTC, ISO 8601",
    "rescorings.before": "JSON object: runs.score_versions until then; those scores stay",
    "rescorings.after": "JSON object: runs.score_versions from then on",
    "rescorings.versions": "JSON object: versions of packages and plugins that judged",
}

_HEAD = """\
# The results database

One SQLite file, `results/harness.db` unless `--results` names another. Read it with any SQLite tool, also while a run
writes it. Unknown is NULL, never 0; times are UTC. New versions of the harness add to this schema by migrations and
refuse a file that a newer version has written. Nothing is deleted, except that a trial that starts again drops its
costs, curves and notes, and an answer that changes drops its scores and measurements.

This page is generated: `python -m harness.store.schema > docs/schema.md`.
"""


def schema_markdown() -> str:
    """The page, from a database made by the migrations."""
    db = Database(sqlite3.connect(":memory:"), execute_plugins=False)
    migrations.apply(db)
    parts = [_HEAD]
    for name in TABLES:
        links = db.conn.execute(f"PRAGMA foreign_key_list([{name}])").fetchall()
        keys = {column: f"{table}.{other}" for _, _, table, column, other, *_ in links}
        parts.append(f"## {name}\n\n{TABLES[name]}\n\n| column | type | meaning |\n|---|---|---|")
        for column in db.table(name).columns:
            kind = column.type.lower() + (", key" if column.is_pk else "")
            link = f" → `{keys[column.name]}`" if column.name in keys else ""
            parts[-1] += f"\n| `{column.name}` | {kind} | {COLUMNS[f'{name}.{column.name}']}{link} |"
        parts[-1] += "\n"
    db.close()
    return "\n".join(parts)


if __name__ == "__main__":
    print(schema_markdown(), end="")
