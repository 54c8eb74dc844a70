"""Measures what metrics want of an adapted model beyond its answers: the worker's side of `harness.measures`."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from harness.adaptation import Adaptation
from harness.measures import KINDS, GoldLikelihoods, Repeats, sample_seed
from harness.models.chat import Encoded
from harness.models.engine import Engine
from harness.models.requests import ScoreRequest
from harness.models.scoring import score
from harness.models.variant import Variant
from harness.plugins import Registry
from harness.rendering import Renderer
from harness.runner.context import Emit
from harness.runner.predictions import prediction
from harness.runner.reading import Reading
from harness.tasks.task import WorkerTask
from harness.types import Draft, LedgerEntry, Query

PART = 64  # items whose values are sent, and stored, together


def measure(
    spec: Mapping[str, Any], *, task: WorkerTask, engine: Engine, renderer: Renderer, registry: Registry, emit: Emit
) -> None:
    """Emits ("measured", {kind, key, values}) for each part of the items, then the costs. Parts that are done already
    are left out whole, so that results do not depend on when a run was interrupted."""
    adaptation = Adaptation.from_json(spec["adaptation"])
    done, kind = set(spec["done"]), spec["measure"]
    queries = {query.id: query for query in task.test}
    chosen = [queries[item] for item in spec["items"]]
    emit("doing", f"{kind} were measured")
    started = time.perf_counter()
    with engine.variant(adaptation.model.deltas) as variant:
        work = _Work(spec, adaptation, variant, engine, renderer, Reading(adaptation, task, renderer, registry))
        for number, first in enumerate(range(0, len(chosen), PART)):
            part = chosen[first : first + PART]
            emit("progress", {"phase": f"measure {kind}", "done": first, "total": len(chosen), "note": ""})
            if all(query.id in done for query in part):
                continue
            values = work.values(part, number)
            emit("measured", {"kind": kind, "key": spec["key"], "values": values})
    for quantity, value, unit in (
        ("measure_wall_s", time.perf_counter() - started, "s"),
        ("measure_tokens_in", float(work.tokens_in), "tokens"),
        ("measure_tokens_out", float(work.tokens_out), "tokens"),
    ):
        emit("ledger", LedgerEntry("evaluate", quantity, value, unit))


class _Work:
    """One measurement on one variant; counts tokens."""

    def __init__(
        self,
        spec: Mapping[str, Any],
        adaptation: Adaptation,
        variant: Variant,
        engine: Engine,
        renderer: Renderer,
        read: Reading,
    ) -> None:
        self.spec, self.adaptation, self.variant, self.engine = spec, adaptation, variant, engine
        self.renderer, self.read = renderer, read
        self.settings = KINDS[spec["measure"]](**spec["settings"])
        self.tokens_in = self.tokens_out = 0

    def values(self, part: Sequence[Query], number: int) -> dict[str, Any]:
        """What is found for each item of part `number`."""
        drafts = [self.renderer.draft(self.adaptation, query) for query in part]
        if isinstance(self.settings, GoldLikelihoods):
            found: Sequence[Any] = self._gold(part, drafts)
        else:
            assert isinstance(self.settings, Repeats)
            found = self._repeats(self.settings, part, drafts, number)
        return {query.id: value for query, value in zip(part, found, strict=True)}

    def _encode(self, draft: Draft) -> Encoded:
        return self.engine.loaded.chat.encode(self.renderer.messages(draft))

    # ----------------------------------------------------------------------------------------- gold_likelihoods

    def _gold(self, part: Sequence[Query], drafts: Sequence[Draft]) -> list[dict[str, Any]]:
        chat, references = self.engine.loaded.chat, self.spec["references"]
        requests, tables = [], []
        for query, draft in zip(part, drafts, strict=True):
            prompt = self._encode(draft).ids
            targets = [chat.encode_text(reference) for reference in references[query.id]]
            reasons = [self._obstacle(prompt, target) for target in targets]
            kept = tuple(target for target, reason in zip(targets, reasons, strict=True) if not reason)
            requests.append(ScoreRequest(prompt, kept))
            tables.append(reasons)
            if kept:
                self.tokens_in += self.variant.root_length + len(prompt) + sum(map(len, kept))
        found = score(self.variant, requests, plain=self.engine.plain is not None)
        values = []
        for query, reasons, scores in zip(part, tables, found, strict=True):
            rest = iter(scores)
            rows: list[dict[str, Any]] = []
            for reference, reason in zip(references[query.id], reasons, strict=True):
                if reason:
                    rows.append({"reason": reason})
                    continue
                one = next(rest)
                if math.isfinite(one.logprob):
                    rows.append({"nats": -one.logprob, "tokens": one.tokens, "bytes": len(reference.encode())})
                else:
                    rows.append({"reason": "the model gives the reference no probability that is a number"})
            values.append({"references": rows})
        return values

    def _obstacle(self, prompt: Sequence[int], target: Sequence[int]) -> str:
        """Why this reference cannot be scored after this prompt, or nothing."""
        if not target:
            return "the reference has no token"
        window = self.engine.loaded.window
        # The last token is predicted, and never read.
        if window is not None and self.variant.root_length + len(prompt) + len(target) - 1 > window:
            return "prompt and reference do not fit the model's window"
        return ""

    # -------------------------------------------------------------------------------------------------- repeats

    def _repeats(
        self, settings: Repeats, part: Sequence[Query], drafts: Sequence[Draft], number: int
    ) -> list[dict[str, Any]]:
        answers: list[list[dict[str, Any]]] = [[] for _ in part]
        seed = int(self.spec["seed"])
        everything = dict(enumerate(drafts))
        if self.adaptation.readout.kind == "generate":  # the other readouts take the likeliest label
            engine = self.engine.sampling(settings.temperature)
            for sample in range(settings.samples):
                made = self._answers(engine, part, everything, sample_seed(seed, sample, number))
                for place, answer in made.items():
                    answers[place].append({**answer, "sample": sample})
        for instruction, text in enumerate(settings.instructions):
            asked = {
                place: changed
                for place, draft in everything.items()
                if (changed := self.renderer.with_instruction(draft, text)) is not None
            }
            made = self._answers(self.engine, part, asked, seed)
            for place, answer in made.items():
                answers[place].append({**answer, "instruction": instruction})
        return [{"answers": found} for found in answers]

    def _answers(
        self, engine: Engine, part: Sequence[Query], drafts: Mapping[int, Draft], seed: int
    ) -> dict[int, dict[str, Any]]:
        """Parsed answers by place in the part."""
        prompts = {place: self._encode(draft) for place, draft in drafts.items()}
        labels = self.renderer.labels
        made = engine.answer(self.variant, self.adaptation, list(prompts.values()), labels=labels, seed=seed)
        found = {}
        for (place, prompt), answer in zip(prompts.items(), made, strict=True):
            assert answer is not None
            self.tokens_in += answer.tokens_in
            self.tokens_out += answer.tokens_out
            read = self.read(prediction(part[place], drafts[place], prompt.text, answer), part[place])
            found[place] = {"text": read.parsed, "finish": read.finish}
        return found
