"""lm-eval's tasks (ARC, HellaSwag, MMLU, TruthfulQA and thousands more) as benchmarks, offline where data is local."""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from harness.exceptions import DataError, HarnessError, TrialError
from harness.models.source import file_digest
from harness.types import BenchmarkResult
from harness_plugins.benchmarks.catalogue import Catalogue, Function, Leaf
from harness_plugins.benchmarks.local_data import columns, in_hub_cache, needed_columns, rows

SHOT_SEED = 1234  # lm-eval's own default: the same shots for every arm and seed, and the numbers of its command line
_SHOWN = 3  # sentences of one kind before "and N more"
_SCORED = ("multiple_choice", "loglikelihood", "loglikelihood_rolling")


@dataclass(frozen=True)
class _Planned:
    """One task as it will run. `files`: split to local file, None where the data comes from a hub's cache."""

    leaf: Leaf
    settings: Mapping[str, Any]
    group: str
    shots: int
    limit: int | None
    files: Mapping[str, Path] | None

    @property
    def name(self) -> str:
        return self.leaf.name

    def splits(self) -> tuple[str | None, str | None, bool]:
        """(split of the evaluated items, split of the shots, whether shots would come from the evaluated items with
        nothing to keep an item's own answer out)."""
        settings, files = self.settings, self.files

        def named(key: str) -> str | None:
            name = settings.get(key)
            return name if isinstance(name, str) and (files is None or name in files) else None

        test, validation = named("test_split"), named("validation_split")
        own = settings.get("fewshot_config")
        own = own if isinstance(own, Mapping) else {}
        explicit = own.get("split") or settings.get("fewshot_split")
        if not explicit and own.get("samples"):  # the task file brings its shots along
            return test or validation, None, False
        shots = explicit or named("training_split") or validation or test
        return test or validation, shots, explicit is None and shots == test and test is not None


class LmEval:
    """Runs tasks of EleutherAI's lm-evaluation-harness through the engine of the arms, with plain prompts (no chat
    template), lm-eval's own shot order and its own metrics."""

    class TaskTable(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

        task: str = Field(min_length=1, description="Name of a task, group or tag of lm-eval, or a task's YAML file.")
        shots: int | None = Field(None, ge=0, description="Worked examples in the prompt of this task.")
        limit: int | None = Field(None, ge=1, description="Items of this task; of a group, of each of its tasks.")

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

        tasks: list[str | LmEval.TaskTable] = Field(
            min_length=1, description="lm-eval tasks, groups or tags by name, or { task = …, shots = …, limit = … }."
        )
        shots: int | None = Field(None, ge=0, description="Worked examples in each prompt; default: the task's own.")
        limit: int | None = Field(None, ge=1, description="At most so many items per task; default: all.")
        data: dict[str, dict[str, str]] = Field(
            default_factory=dict,
            description="Local files by task or group, then by split: test, validation, train, dev.",
        )
        download: bool = Field(
            False, description="Whether `harness run` may fetch data sets that are not on this machine from the hub."
        )

    def __init__(self, config: Config) -> None:
        self.config = config
        self.online = config.download

    @cached_property
    def catalogue(self) -> Catalogue:
        return Catalogue()

    # ----------------------------------------------------------------------------------------------------- plan

    def _entries(self) -> list[LmEval.TaskTable]:
        return [LmEval.TaskTable(task=entry) if isinstance(entry, str) else entry for entry in self.config.tasks]

    def _planned(self, entry: LmEval.TaskTable, folder: str) -> list[_Planned]:
        planned = []
        for leaf in self.catalogue.expand(entry.task, folder):
            settings = leaf.settings()
            own = settings.get("num_fewshot")
            shots = entry.shots if entry.shots is not None else own
            # A task whose file says 0 shots has them in its template: like lm-eval, a general setting leaves it alone.
            if entry.shots is None and own != 0 and self.config.shots is not None:
                shots = self.config.shots
            limit = entry.limit if entry.limit is not None else self.config.limit
            files = self._files(leaf, entry.task, settings, folder)
            group = leaf.name if entry.task.endswith((".yaml", ".yml")) else entry.task
            planned.append(_Planned(leaf, settings, group, int(shots or 0), limit, files))
        return planned

    def _data_key(self, leaf: Leaf, written: str) -> str | None:
        """The key of [benchmarks.data] for a task: its own name, else its nearest group's, else a matching pattern."""
        for name in (leaf.name, *reversed(leaf.groups), written):
            if name in self.config.data:
                return name
        return next((key for key in self.config.data if fnmatch.fnmatchcase(leaf.name, key)), None)

    def _files(self, leaf: Leaf, written: str, settings: Mapping[str, Any], folder: str) -> dict[str, Path] | None:
        key = self._data_key(leaf, written)
        if key is None:
            return None
        subject = str(settings.get("dataset_name") or leaf.name)
        return {
            split: Path(folder, path.replace("{task}", leaf.name).replace("{subject}", subject)).absolute()
            for split, path in self.config.data[key].items()
        }

    # ---------------------------------------------------------------------------------------------------- check

    def check(self, folder: str, *, loglikelihoods: bool = True) -> list[str]:
        """Sentences on what cannot work; see `harness.types.Benchmark`."""
        sentences: list[str] = []
        seen: set[str] = set()
        used: set[str | None] = set()
        for entry in self._entries():
            try:
                planned = self._planned(entry, folder)
            except HarnessError as error:
                sentences.append(f"{error.message} {error.hint}".strip())
                continue
            used |= {self._data_key(one.leaf, entry.task) for one in planned}
            found: list[str] = [f"task '{one.name}' is asked for twice." for one in planned if one.name in seen]
            seen |= {one.name for one in planned}
            missing = []
            for one in planned:
                if one.files is None and not self.online and _needs_data(one) and not in_hub_cache(one.settings):
                    missing.append(one)
                found += [f"task '{one.name}' {text}" for text in _problems(one, entry, self.online, loglikelihoods)]
            if missing:
                found.append(_no_data(entry.task, missing))
            sentences += found[:_SHOWN]
            if len(found) > _SHOWN:
                sentences.append(f"task '{entry.task}': {len(found) - _SHOWN} more problems of its tasks.")
        if len(used | set(self.config.data)) > len(used) and not sentences:  # a wrong task name explains an unused key
            unused = ", ".join(f"'{key}'" for key in self.config.data if key not in used)
            sentences.append(f"local data is given for {unused}, which no entry of tasks asks for.")
        return sentences

    def keys(self, folder: str) -> dict[str, str]:
        """A digest for each task; see `harness.types.Benchmark`."""
        return {
            one.name: _digest(one, self.catalogue) for entry in self._entries() for one in self._planned(entry, folder)
        }

    # ------------------------------------------------------------------------------------------------------ run

    def run(self, lm: Any, seed: int, folder: str, *, skip: Collection[str] = ()) -> Iterator[BenchmarkResult]:
        """Results task by task; see `harness.types.Benchmark`."""
        from harness_plugins.benchmarks.evaluation import evaluate

        for entry in self._entries():
            for one in self._planned(entry, folder):
                if one.name in skip:
                    continue
                truncated = getattr(lm, "truncated", 0)
                try:
                    outcome = evaluate(lm, one.leaf, overlay(one), one.limit, seed, SHOT_SEED)
                except HarnessError as error:
                    raise TrialError(f"benchmark '{one.name}': {error.message}", hint=error.hint) from error
                except Exception as error:
                    first = (str(error).splitlines() or [""])[0]
                    raise TrialError(f"benchmark '{one.name}' failed: {type(error).__name__}: {first}") from error
                truncated = getattr(lm, "truncated", 0) - truncated
                for number, (metric, higher, value, items) in enumerate(outcome):
                    values = [item.value for item in items if item.value is not None]
                    yield BenchmarkResult(
                        task=one.name,
                        group=one.group,
                        metric=metric,
                        value=value,
                        higher_is_better=higher,
                        n=len(items),
                        shots=one.shots,
                        items=items,
                        mean=_is_mean(value, values, len(items)),
                        primary=number == 0,
                        truncated=truncated,
                    )


# pydantic cannot see the outer class while its body runs.
LmEval.Config.model_rebuild(_types_namespace={"LmEval": LmEval})


def overlay(one: _Planned) -> dict[str, Any]:
    """What changes in a task's file: shots, and where data is local the splits that exist."""
    changes: dict[str, Any] = {**one.leaf.overrides, "task": one.name, "num_fewshot": one.shots}
    if one.files is None:
        return changes
    changes |= {"dataset_path": None, "dataset_name": None}
    changes["dataset_kwargs"] = {"files": {split: str(path) for split, path in one.files.items()}}
    for key in ("training_split", "validation_split", "test_split", "fewshot_split"):
        if one.settings.get(key) not in one.files:
            changes[key] = None
    own = one.settings.get("fewshot_config")
    if isinstance(own, Mapping) and own.get("split") is not None and own["split"] not in one.files:
        changes["fewshot_config"] = {**own, "split": None}
    return changes


def _needs_data(one: _Planned) -> bool:
    return bool(one.settings.get("dataset_path")) and "custom_dataset" not in one.settings


def _problems(one: _Planned, entry: LmEval.TaskTable, download: bool, loglikelihoods: bool) -> Iterator[str]:
    """What is wrong with one task, as the ends of sentences that begin with its name."""
    settings = one.settings
    output = settings.get("output_type", "generate_until")
    if output in _SCORED and not loglikelihoods:
        yield "needs log-likelihoods of given texts, which this model cannot give."
    if settings.get("unsafe_code"):
        yield "runs code that the model writes; the harness does not do that."
    if settings.get("doc_to_image") or settings.get("doc_to_audio"):
        yield "needs a model that sees images or hears audio."
    if entry.shots and settings.get("num_fewshot") == 0:
        yield f"has its shots fixed in its template: shots = {entry.shots} would add to them. Leave shots out."
    metrics = settings.get("metric_list") or []
    if not download and any(isinstance(metric, Mapping) and metric.get("hf_evaluate") for metric in metrics):
        yield "uses a metric that lm-eval fetches from a hub."
    if not _plain(one.leaf.overrides):
        yield "is changed by its group in ways that only lm-eval's own command line can follow. Name the task itself."
    if one.files is None:
        return
    if "class" in settings:
        yield "is a Python class that loads its own data; local files cannot be given."
        return
    yield from _split_problems(one)
    needed = needed_columns(settings)
    evaluated, shots, _ = one.splits()
    for split, path in one.files.items():
        try:
            missing = needed - columns(path) if split in (evaluated, shots) else needed - needed
        except DataError as error:
            yield f"cannot use its {split} file: {error.message} {error.hint}".strip()
            continue
        if missing:
            yield f"needs the column{'s' * (len(missing) > 1)} {', '.join(sorted(missing))}, not found in {path}."


def _split_problems(one: _Planned) -> Iterator[str]:
    assert one.files is not None
    settings = one.settings
    evaluated, shots, leaks = one.splits()
    known = [settings.get(key) for key in ("test_split", "validation_split")]
    wanted = " or ".join(str(name) for name in known if name)
    if evaluated is None:
        given = ", ".join(one.files) or "nothing"
        yield f'is evaluated on its {wanted} split, and [benchmarks.data] gives {given}. Write {wanted} = "…".'
        return
    if one.shots and shots is not None and shots not in one.files:
        yield f'takes its {one.shots} shots from its {shots} split. Write {shots} = "…" in its [benchmarks.data].'
    elif one.shots and leaks:
        training = settings.get("training_split") or settings.get("validation_split") or "train"
        yield f'would take its {one.shots} shots from the items it is tested on. Give {training} = "…" as well.'
    elif one.shots and shots is not None and (path := one.files[shots]).is_file() and path.suffix != ".parquet":
        try:
            count = len(rows(path)) - (shots == evaluated)
        except DataError:
            return  # told with the file's other problems
        if count < one.shots:
            yield f"asks for {one.shots} shots, and {path} has {count} rows for them."


def _no_data(written: str, missing: Sequence[_Planned]) -> str:
    first = missing[0]
    splits = [first.settings.get("test_split") or first.settings.get("validation_split") or "test"]
    if first.shots:
        splits.append(first.splits()[1] or "train")
    lines = ", ".join(f'{split} = "…"' for split in dict.fromkeys(splits))
    where = f"[benchmarks.data.{written}]" if written == first.name or len(missing) > 1 else ""
    where = where or f"[benchmarks.data.{first.name}]"
    whose = f"task '{first.name}' has" if len(missing) == 1 else f"{len(missing)} tasks of '{written}' have"
    example = f" (a path may hold {{subject}}, here '{first.settings.get('dataset_name')}')" if len(missing) > 1 else ""
    return (
        f"{whose} no local data, and '{first.settings.get('dataset_path')}' is not in the local Hugging Face cache; "
        f"give {where} with {lines}{example}, or write download = true under [benchmarks]."
    )


def _plain(value: Any) -> bool:
    """Whether a setting can be written down again: no functions inside."""
    if isinstance(value, Mapping):
        return all(_plain(part) for part in value.values())
    if isinstance(value, list):
        return all(_plain(part) for part in value)
    return not isinstance(value, Function)


def _functions(value: Any) -> Iterator[Function]:
    if isinstance(value, Function):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _functions(part)
    elif isinstance(value, list):
        for part in value:
            yield from _functions(part)


def _digest(one: _Planned, catalogue: Catalogue) -> str:
    files = {split: file_digest(path) for split, path in (one.files or {}).items()}
    code = {}
    for function in _functions(one.settings):  # lm-eval's own code is covered by its version
        path = function.folder / (function.rpartition(".")[0].replace(".", "/") + ".py")
        if path.is_file() and not path.is_relative_to(catalogue.root.resolve()):
            code[path.name] = file_digest(path)
    mark = [catalogue.version, one.name, one.shots, one.limit, SHOT_SEED, one.settings, files, code]
    return hashlib.sha256(json.dumps(mark, sort_keys=True, default=str).encode()).hexdigest()


def _is_mean(value: float | None, values: Sequence[float], n: int) -> bool:
    return value is not None and len(values) == n > 0 and abs(sum(values) / n - value) <= 1e-9 * max(1, abs(value))
