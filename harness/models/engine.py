"""The engine every arm predicts through: an adaptation's deltas become weights here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.adaptation import Adaptation, Delta, Readout
from harness.models.chat import Encoded
from harness.models.choice import Choice
from harness.models.features import Features, LinearClassifier, hidden_features
from harness.models.generation import generate
from harness.models.loading import Loaded
from harness.models.requests import Decoding, GenerateRequest, Generation, ScoreRequest
from harness.models.scoring import probe, score
from harness.models.variant import Variant


@dataclass(frozen=True)
class Answer:
    """One answer of the engine. `scores`: the final score of each label, for choices by likelihood."""

    text: str
    finish: str
    tokens_in: int
    tokens_out: int
    scores: Mapping[str, float] | None = None


AnswerSink = Callable[[Sequence[int], Sequence[Answer]], None]
Skip = Callable[[Sequence[int]], bool]


@dataclass(frozen=True)
class _Work:
    """Prompts that fit, at `positions` of `prompts`, and where their answers go."""

    variant: Variant
    prompts: Sequence[Encoded]
    positions: Sequence[int]
    skip: Skip | None
    deliver: AnswerSink

    def tokens_in(self, position: int) -> int:
        """Tokens of the prompt as the model reads it, soft prompt included."""
        return self.variant.root_length + len(self.prompts[position].ids)


class Engine:
    """Holds one loaded base model and switches deltas on and off around it."""

    def __init__(self, loaded: Loaded, artifacts: Path, decoding: Decoding, max_new_tokens: int) -> None:
        self.loaded, self.artifacts = loaded, artifacts
        self.decoding, self.max_new_tokens = decoding, max_new_tokens
        #: Why this model must be run plainly, whole sequences at a time; None when the shared-prefix engine is exact.
        self.plain = probe(Variant(loaded.model))

    def sampling(self, temperature: float) -> Engine:
        """The same engine, whose texts are drawn at that temperature."""
        other = copy(self)
        other.decoding = replace(self.decoding, temperature=temperature)
        return other

    @contextmanager
    def variant(self, deltas: Sequence[Delta]) -> Iterator[Variant]:
        """The model with an adaptation's deltas applied, in order; the base again afterwards."""
        from harness.training.deltas import applied

        with applied(self.loaded.model, [(delta.kind, self.artifacts / delta.path) for delta in deltas]) as variant:
            yield variant

    def features(
        self,
        variant: Variant,
        prompts: Sequence[Encoded],
        settings: Mapping[str, Any],
        on_batch: Callable[[int], None] | None = None,
    ) -> Features:
        """Hidden states of prompts [prompts, hidden size] by `settings` ("pooling", "layer"; see `hidden_features`); a
        prompt longer than the window loses its start."""
        room = None if self.loaded.window is None else self.loaded.window - variant.root_length
        ids = [prompt.ids if room is None else prompt.ids[-room:] for prompt in prompts]
        pooling, layer = settings["pooling"], settings["layer"]
        return hidden_features(variant, ids, pooling=pooling, layer=layer, on_batch=on_batch)

    def answer(
        self,
        variant: Variant,
        adaptation: Adaptation,
        prompts: Sequence[Encoded],
        *,
        labels: Sequence[str] = (),
        seed: int = 0,
        skip: Skip | None = None,
        sink: AnswerSink | None = None,
    ) -> list[Answer | None]:
        """Answers for prompts, in order; None where `skip` left a finished batch out. Prompts that do not fit get the
        finish "overflow" and an empty text."""
        answers: list[Answer | None] = [None] * len(prompts)
        root = variant.root_length
        readout = adaptation.readout
        choice = Choice(labels, self.loaded.chat, readout.settings) if readout.kind == "choose" else None
        room = choice.room if choice is not None else self.max_new_tokens if readout.kind == "generate" else 0
        window = self.loaded.window
        fits = [window is None or root + len(prompt.ids) + room <= window for prompt in prompts]
        positions = [position for position, good in enumerate(fits) if good]

        def deliver(found: Sequence[int], made: Sequence[Answer]) -> None:
            for position, answer in zip(found, made, strict=True):
                answers[position] = answer
            if sink is not None and found:
                sink(found, made)

        over = [position for position, good in enumerate(fits) if not good]
        deliver(over, [Answer("", "overflow", root + len(prompts[position].ids), 0) for position in over])
        work = _Work(variant, prompts, positions, skip, deliver)
        if readout.kind == "classify":
            self._classify(work, readout)
        elif choice is None:
            self._generate(work, self.decoding, self.max_new_tokens, seed)
        elif choice.options.by == "generation":
            self._generate(work, choice.decoding, choice.room, seed)
        else:
            self._choose(work, choice)
        return answers

    def _classify(self, work: _Work, readout: Readout) -> None:
        """The label that the readout's classifier gives to the prompt's hidden states; nothing is generated."""
        settings = readout.settings
        classifier = LinearClassifier.load(self.artifacts / readout.path, settings["labels"])
        for start in range(0, len(work.positions), 64):
            chunk = work.positions[start : start + 64]
            if work.skip is not None and work.skip(chunk):
                continue
            asked = [work.prompts[position] for position in chunk]
            features = self.features(work.variant, asked, settings)
            made = []
            for position, row in zip(chunk, classifier.log_probabilities(features).tolist(), strict=True):
                scores = dict(zip(classifier.labels, row, strict=True))
                best = max(scores, key=lambda label: scores[label])
                made.append(Answer(best, "choice", work.tokens_in(position), 0, scores))
            work.deliver(chunk, made)

    def _generate(self, work: _Work, decoding: Decoding, new_tokens: int, seed: int) -> None:
        positions, skip = work.positions, work.skip
        requests = [
            GenerateRequest(work.prompts[position].ids, new_tokens, seed=seed * 1_000_003 + position)
            for position in positions
        ]

        def on_batch(indices: Sequence[int], made: Sequence[Generation]) -> None:
            found = [positions[index] for index in indices]
            answers = [
                Answer(text.text, text.finish, work.tokens_in(position), len(text.ids))
                for position, text in zip(found, made, strict=True)
            ]
            work.deliver(found, answers)

        generate(
            work.variant,
            self.loaded.tokenizer,
            requests,
            decoding,
            plain=self.plain is not None,
            skip=None if skip is None else lambda indices: skip([positions[index] for index in indices]),
            on_batch=on_batch,
        )

    def _choose(self, work: _Work, choice: Choice) -> None:
        """The label with the highest score; chunks of questions so that finished ones can be stored."""
        lengths = dict(zip(choice.labels, map(len, choice.replies), strict=True))
        for start in range(0, len(work.positions), 64):
            chunk = work.positions[start : start + 64]
            if work.skip is not None and work.skip(chunk):
                continue
            requests = [ScoreRequest(work.prompts[position].ids, choice.replies) for position in chunk]
            made = []
            for position, found in zip(chunk, score(work.variant, requests, plain=self.plain is not None), strict=True):
                scores = choice.scores(found)
                best = max(scores, key=lambda label: scores[label])
                made.append(Answer(best, "choice", work.tokens_in(position), lengths[best], scores))
            work.deliver(chunk, made)
