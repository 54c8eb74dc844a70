"""What an arm's prompt alone makes the model say: the prior of each label, for readouts with `calibrate = true`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from harness.adaptation import Adaptation, Readout
from harness.models.engine import Engine
from harness.models.variant import Variant
from harness.readout import log_prior
from harness.rendering import Renderer
from harness.runner.context import Emit
from harness.runner.meter import Stopwatch
from harness.tasks.task import WorkerTask
from harness.types import Draft, LedgerEntry, Query

ANCHORS = 8  # training examples whose shots and passages stand in for those of any question


def bind_readout(adaptation: Adaptation, task: WorkerTask) -> Adaptation:
    """The task's options for an adaptation whose strategies set none. They are bound after the adaptation is made and
    stored, so that other options do not train again; a strategy that generates while it adapts reads plainly."""
    if replace(adaptation.readout, steps=()) != Readout(task.readout):
        return adaptation
    return adaptation.with_readout(Readout(task.readout, task.readout_options))


def calibrate(
    adaptation: Adaptation, variant: Variant, engine: Engine, renderer: Renderer, task: WorkerTask, emit: Emit
) -> Adaptation:
    """The adaptation with its labels' priors, where its readout asks for them; booked once, under "prepare"."""
    settings = adaptation.readout.settings
    if adaptation.readout.kind != "choose" or not settings.get("calibrate"):
        return adaptation
    watch = Stopwatch(engine.loaded.device)
    watch.start()
    drafts = content_free_drafts(adaptation, renderer, task, settings["content_free"])
    prompts = [engine.loaded.chat.encode(renderer.messages(draft)) for draft in drafts]
    asked = list(dict.fromkeys(prompts))  # a prompt that is the same for all questions is asked and paid once
    answers = [answer for answer in engine.answer(variant, adaptation, asked, labels=task.labels) if answer is not None]
    found = dict(zip(asked, answers, strict=True))
    if scores := [table for prompt in prompts if (table := found[prompt].scores) is not None]:
        adaptation = adaptation.with_readout(Readout("choose", {**settings, "prior": log_prior(scores)}))
    else:
        emit("note", "the labels are not calibrated: no content-free prompt fits the model's window.")
    cost = watch.cost()
    tokens_in = float(sum(answer.tokens_in for answer in answers))
    tokens_out = float(sum(answer.tokens_out for answer in answers))
    for row in (
        cost.wall("prepare"),
        LedgerEntry("prepare", "tokens_in", tokens_in, "tokens"),
        LedgerEntry("prepare", "tokens_out", tokens_out, "tokens"),
        cost.peak("prepare"),
    ):
        emit("ledger", row)
    return adaptation


def content_free_drafts(
    adaptation: Adaptation, renderer: Renderer, task: WorkerTask, texts: Sequence[str]
) -> Iterator[Draft]:
    """The arm's own prompts with every field of the input replaced by a content-free text.

    Instruction, template and fixed shots are the arm's. Where shots or retrieved passages depend on the question, those
    of a few training examples stand in, and the mean over them is taken. They are not those of the question that is
    answered: its own passages and similar shots speak for its answer, and dividing by what they say would take away
    what they brought; and those found for "N/A" itself would be one accidental set. Without training examples the
    content-free text is the question that is searched with.
    """
    count = min(ANCHORS, len(task.train))
    anchors = [task.train[place * len(task.train) // count].query for place in range(count)]
    for text in texts:
        blank = Query("content-free", dict.fromkeys(task.test[0].fields, text))
        for anchor in anchors or [blank]:
            yield replace(renderer.draft(adaptation, anchor), input=renderer.input(blank))
