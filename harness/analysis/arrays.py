"""Rows as arrays: one metric of one arm as a [seeds, items] table, groups as cluster numbers, resampling counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from harness.analysis.rows import TrialRows
from harness.types import Record

FloatArray: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]
IntArray: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class Cells:
    """Values of one metric, [seeds, items]; `mask` is False where a value is missing (the value there is 0)."""

    values: FloatArray
    mask: BoolArray

    @property
    def seen(self) -> BoolArray:
        """Items that have a value for at least one seed."""
        return np.asarray(self.mask.any(axis=0))

    def only(self, items: BoolArray) -> Cells:
        """The same table with every other item missing; seeds that are left with nothing are dropped."""
        mask = self.mask & items
        kept = mask.any(axis=1)
        return Cells(np.where(mask, self.values, 0.0)[kept], mask[kept])

    def seed_means(self) -> FloatArray:
        """The mean of each seed over the items it has."""
        return np.asarray((self.values * self.mask).sum(axis=1) / np.maximum(self.mask.sum(axis=1), 1))

    def item_means(self) -> FloatArray:
        """The mean of each item over the seeds it has; 0 where it has none."""
        return np.asarray((self.values * self.mask).sum(axis=0) / np.maximum(self.mask.sum(axis=0), 1))


def number(value: object) -> float | None:
    """A record's value as a finite float, or None: text, None, NaN and infinities are unknown."""
    if value is None or isinstance(value, str):
        return None
    try:
        result = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return result if np.isfinite(result) else None


def cells_of(trials: Sequence[TrialRows], metric: str, items: Mapping[str, int]) -> Cells:
    """The "value" of each record of `metric`; `items` maps item ids to columns. Trials without any are dropped."""
    tables, masks = [], []
    for trial in trials:
        values, mask = np.zeros(len(items)), np.zeros(len(items), dtype=bool)
        for item, record in trial.records.get(metric, {}).items():
            position, value = items.get(item), number(record.get("value"))
            if position is not None and value is not None:
                values[position], mask[position] = value, True
        if mask.any():
            tables.append(values)
            masks.append(mask)
    if not tables:
        return Cells(np.zeros((0, len(items))), np.zeros((0, len(items)), dtype=bool))
    return Cells(np.array(tables), np.array(masks))


def records_of(trial: TrialRows, metric: str, items: Mapping[str, int]) -> dict[int, Record]:
    """Records of one trial by column, without those that say that they are unknown (`"value": None`, or no value and a
    reason)."""
    found = trial.records.get(metric, {})
    return {position: found[item] for item, position in items.items() if item in found and not _unknown(found[item])}


def _unknown(record: Record) -> bool:
    return record.get("value") is None and ("value" in record or bool(record.get("reason")))


def cluster_codes(groups: Sequence[str | None] | None) -> IntArray | None:
    """Groups numbered from 0; an item without a group is a cluster of its own. None when nothing is grouped."""
    if groups is None or all(group is None for group in groups):
        return None
    numbers: dict[object, int] = {}
    return np.array(
        [numbers.setdefault(("item", i) if group is None else group, len(numbers)) for i, group in enumerate(groups)]
    )


def cluster_sums(values: FloatArray, codes: IntArray | None, used: BoolArray) -> FloatArray:
    """`values` of the used items, added up by cluster (items themselves when there are no groups)."""
    if codes is None:
        return np.asarray(values[used])
    kept, compact = np.unique(codes[used], return_inverse=True)
    return np.bincount(compact, weights=values[used], minlength=len(kept)).astype(np.float64)


def resample_counts(units: int, codes: IntArray | None, resamples: int, seed: int) -> FloatArray:
    """How often each of `units` items is drawn in each resample, [resamples, units]; groups are drawn whole.

    Drawing positions and counting them is several times faster than numpy's multinomial for many categories.
    """
    generator = np.random.default_rng(seed)
    drawn_units = units if codes is None else int(codes.max()) + 1
    drawn = generator.integers(0, drawn_units, size=(resamples, drawn_units), dtype=np.int64)
    drawn += np.arange(resamples, dtype=np.int64)[:, None] * drawn_units
    counts = np.bincount(drawn.ravel(), minlength=resamples * drawn_units).reshape(resamples, drawn_units)
    return (counts if codes is None else counts[:, codes]).astype(np.float64)
