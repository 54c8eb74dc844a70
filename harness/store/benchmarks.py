"""Benchmark results as the analysis reads them."""

from __future__ import annotations

from harness.analysis.rows import BenchmarkRows
from harness.store.reader import Reader
from harness.store.records import RunRow, TrialRow


def benchmark_rows(store: Reader, run: RunRow, trial: TrialRow) -> list[BenchmarkRows]:
    """Results of the trial's model on the run's benchmark tasks, in the run's order."""
    keys = run.score_versions.get("benchmarks", {})
    if trial.model_key is None or not keys:
        return []
    query = """
        SELECT id, task, group_name, metric, value, higher_is_better, is_mean, is_primary, shots, truncated
        FROM benchmarks WHERE model_key = ? AND task_key = ? ORDER BY id"""
    found = []
    for key in keys.values():
        for row in store.connection.execute(query, [trial.model_key, key]).fetchall():
            items = store.connection.execute(
                "SELECT item_id, value FROM benchmark_items WHERE benchmark_id = ? ORDER BY rowid", row[:1]
            )
            found.append(
                BenchmarkRows(
                    task=row[1],
                    group=row[2],
                    metric=row[3],
                    value=row[4],
                    items=dict(items.fetchall()),
                    model_key=trial.model_key,
                    higher_is_better=bool(row[5]),
                    mean=bool(row[6]),
                    primary=bool(row[7]),
                    shots=row[8],
                    truncated=row[9],
                )
            )
    return found
