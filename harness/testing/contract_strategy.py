"""What every strategy promises."""

from __future__ import annotations

import gc
import json
import math
import random
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.adaptation import Adaptation, ModelState, Readout
from harness.config import Use
from harness.guard import untouched
from harness.rendering import Renderer
from harness.strategy import TaskFacts
from harness.testing.fakes import FakeContext, flat, renderer_for
from harness.testing.promise import NotApplicable, Subject, empty_folder, promise, require
from harness.testing.tiny import TinyTask, mark, tiny_labels, tiny_questions
from harness.types import PHASES, LedgerEntry, Query


@dataclass(frozen=True)
class Adapted:
    """What came of one call of `adapt`."""

    adaptation: Adaptation
    context: FakeContext
    strategy: Any


def task_for(subject: Subject) -> TinyTask:
    return tiny_labels() if "labels" in subject.spec.needs else tiny_questions()


def start_of(task: TinyTask) -> Adaptation:
    return Adaptation(ModelState("fake-model"), readout=Readout(task.readout))


def adapt(subject: Subject, task: TinyTask, *, seed: int = 0, folder: str = "work", noise: int = 0) -> Adapted:
    """One adaptation. `noise` sets the global random generator: a strategy must not depend on it."""
    strategy = subject.create()
    name = subject.entry.name
    settings = strategy.config.model_dump(mode="json") if strategy.config is not None else {}
    context = FakeContext(Use(name, name, settings), task, subject.registry, empty_folder(folder), seed=seed)
    random.seed(noise)
    return Adapted(strategy.adapt(start_of(task), context), context, strategy)


def prompts(adaptation: Adaptation, queries: Sequence[Query], renderer: Renderer) -> list[str]:
    return [flat(renderer.messages(renderer.draft(adaptation, query))) for query in queries]


def _renders(adaptation: Adaptation) -> None:
    if not adaptation.prompt:
        raise NotApplicable("it does not change the prompt")


@promise("strategy")
def returns_adaptation(subject: Subject) -> None:
    """It returns an Adaptation that changes the part its spec names, and only that."""
    task = task_for(subject)
    start, result = start_of(task), adapt(subject, task).adaptation
    require(isinstance(result, Adaptation), f"returns {type(result).__name__}, not an Adaptation.")
    changed = [part for part in ("prompt", "model", "readout") if getattr(start, part) != getattr(result, part)]
    # What happens to a finished answer is the last part of how it is read.
    allowed = "readout" if subject.spec.changes == "answer" else subject.spec.changes
    require(
        changed == [allowed], f"says that it changes the {allowed}, and changed: {', '.join(changed) or 'nothing'}."
    )


@promise("strategy")
def leaves_arguments_alone(subject: Subject) -> None:
    """It changes nothing of what it was given: other arms use it too."""
    task = task_for(subject)
    with untouched("", "adapting", task=task):
        adapted = adapt(subject, task)
        prompts(adapted.adaptation, [example.query for example in task.test], renderer_for(task, subject.registry))


@promise("strategy")
def deterministic(subject: Subject) -> None:
    """The same seed gives the same adaptation, whatever the global random generator says; unseeded ones ignore it."""
    task = task_for(subject)
    first = adapt(subject, task, seed=3, folder="one", noise=1)
    second = adapt(subject, task, seed=3, folder="two", noise=2)
    require(first.adaptation.digest == second.adaptation.digest, "gives two adaptations for one seed.")
    if not first.strategy.seeded:
        other = adapt(subject, task, seed=4, folder="three")
        require(other.adaptation.digest == first.adaptation.digest, "says it is not seeded, yet the seed matters.")


@promise("strategy")
def save_load_parity(subject: Subject) -> None:
    """An adaptation that was saved and loaded again, by another object, makes the same prompts."""
    task = task_for(subject)
    adaptation = adapt(subject, task).adaptation
    path = Path("adaptation.json")
    adaptation.save(path)
    loaded = Adaptation.load(path)
    require(loaded.digest == adaptation.digest, "leaves something in the adaptation that JSON does not keep.")
    queries = [example.query for example in task.test]
    before = prompts(adaptation, queries, renderer_for(task, subject.registry))
    after = prompts(loaded, queries, renderer_for(task, subject.registry))
    require(before == after, "makes other prompts after its adaptation was saved and loaded.")


@promise("strategy")
def order_kept(subject: Subject) -> None:
    """Each prompt depends on its own question alone: not on the order, and not on what was asked before."""
    task = task_for(subject)
    adaptation = adapt(subject, task).adaptation
    _renders(adaptation)
    queries = [example.query for example in task.test]
    forward = prompts(adaptation, queries, renderer_for(task, subject.registry))
    backward = prompts(adaptation, queries[::-1], renderer_for(task, subject.registry))[::-1]
    require(forward == backward, "makes prompts that depend on the order of the questions.")


@promise("strategy")
def ids_match(subject: Subject) -> None:
    """Shots and passages name the examples and documents they come from."""
    task = task_for(subject)
    adaptation = adapt(subject, task).adaptation
    _renders(adaptation)
    renderer = renderer_for(task, subject.registry)
    examples = {example.id: example for example in task.train}
    documents = {document.id: document for document in task.corpus}
    for item in task.test:
        draft = renderer.draft(adaptation, item.query)
        for shot in draft.shots:
            known = examples.get(shot.example_id)
            require(known is not None, f"shows the example '{shot.example_id}', which is no training example.")
            assert known is not None
            require(shot.target in known.references, f"shows '{shot.example_id}' with an answer that is not its own.")
        for passage in draft.passages:
            document = documents.get(passage.document_id)
            require(document is not None, f"shows the document '{passage.document_id}', which is not in the corpus.")
            assert document is not None
            require(passage.text == document.text, f"shows '{passage.document_id}' with another document's text.")


@promise("strategy")
def hides_test_split(subject: Subject) -> None:
    """No test question shows up in another question's prompt or in the adaptation."""
    task = task_for(subject)
    adaptation = adapt(subject, task).adaptation
    renderer = renderer_for(task, subject.registry)
    shown = prompts(adaptation, [example.query for example in task.test], renderer)
    for example, prompt in zip(task.test, shown, strict=True):
        others = [other.id for other in task.test if other.id != example.id and mark(other.id) in prompt]
        require(not others, f"shows the test question '{others and others[0]}' in the prompt of '{example.id}'.")
    require("marktest" not in json.dumps(adaptation.to_json()), "keeps a test question in its adaptation.")


@promise("strategy")
def leave_one_out(subject: Subject) -> None:
    """No training example sees its own answer, its duplicates' or its group's in its prompt."""
    task = task_for(subject)
    adaptation = adapt(subject, task).adaptation
    _renders(adaptation)
    renderer = renderer_for(task, subject.registry)
    for example in (*task.train, *task.validation):
        draft = renderer.draft(adaptation, example.query)  # raises LeakError for shots and passages
        own = example.references[0]
        added = f"{draft.context}\n{draft.system or ''}".replace(draft.input, "")
        require(
            bool(task.labels) or own.lower() not in added.lower(),
            f"shows the answer of '{example.id}' in its own prompt: '{own}'.",
        )


@promise("strategy")
def costs_recorded(subject: Subject) -> None:
    """What it computes is booked: valid ledger entries, trained tokens where the model changes, unknown as None."""
    task = task_for(subject)
    adapted = adapt(subject, task)
    for entry in adapted.context.booked:
        require(isinstance(entry, LedgerEntry) and entry.phase in PHASES, f"books {entry!r}.")
        require(entry.value is None or (math.isfinite(entry.value) and entry.value >= 0), f"books {entry!r}.")
        require(
            (entry.value is None) == (entry.basis == "unknown"), f"books {entry!r}: unknown is None, never a number."
        )
    if subject.spec.changes == "model":
        names = {entry.quantity for entry in adapted.context.booked}
        require("trained_tokens" in names, "changes the model and books no trained_tokens; use context.fit.")
        require(bool(adapted.adaptation.model.deltas), "says that it changes the model and leaves no delta.")


@promise("strategy")
def memory_released(subject: Subject) -> None:
    """It does not hold on to the context: a model and its data must be able to go when the trial ends."""
    task = task_for(subject)
    adapted = adapt(subject, task)
    strategy, context = adapted.strategy, weakref.ref(adapted.context)
    del adapted
    gc.collect()
    require(context() is None, f"keeps its context alive ({type(strategy).__name__} or its module refers to it).")


@promise("strategy")
def checks_in_sentences(subject: Subject) -> None:
    """`check` returns a list of sentences, empty for a task that fits, and never raises."""
    task = task_for(subject)
    fits = TaskFacts(len(task.train), len(task.validation), len(task.test), len(task.corpus), task.labels, task.readout)
    for facts in (fits, TaskFacts(0, 0, 1, 0, (), "generate")):
        found = subject.create().check(facts)
        require(isinstance(found, list) and all(isinstance(text, str) for text in found), f"check returns {found!r}.")
        if facts is fits:
            require(not found, f"refuses a task that has all it needs: {found}.")
    for entry in subject.create().plugins():
        require(len(entry) == 2 and isinstance(entry[1], dict) and "use" in entry[1], f"plugins() names {entry!r}.")
