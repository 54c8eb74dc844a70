"""The engine every arm predicts through: an adaptation's deltas become weights here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.adaptation import Adaptation, Delta
from harness.models.chat import Encoded
from harness.models.generation import generate
from harness.models.loading import Loaded
from harness.models.requests import Decoding, GenerateRequest, ScoreRequest
from harness.models.scoring import probe, score
from harness.models.variant import Variant


@dataclass(frozen=True)
class Answer:
    """One answer of the engine. `scores`: log-likelihood of each label, for choices."""

    text: str
    finish: str
    tokens_in: int
    tokens_out: int
    scores: Mapping[str, float] | None = None


AnswerSink = Callable[[Sequence[int], Sequence[Answer]], None]


class Engine:
    """Holds one loaded base model and switches deltas on and off around it."""

    def __init__(self, loaded: Loaded, artifacts: Path, decoding: Decoding, max_new_tokens: int) -> None:
        self.loaded, self.artifacts = loaded, artifacts
        self.decoding, self.max_new_tokens = decoding, max_new_tokens
        #: Why this model must be run plainly, whole sequences at a time; None when the shared-prefix engine is exact.
        self.plain = probe(Variant(loaded.model))

    @contextmanager
    def variant(self, deltas: Sequence[Delta]) -> Iterator[Variant]:
        """The model with an adaptation's deltas applied, in order; the base again afterwards."""
        from harness.training.deltas import applied

        with applied(self.loaded.model, [(delta.kind, self.artifacts / delta.path) for delta in deltas]) as variant:
            yield variant

    def root_length(self, variant: Variant) -> int:
        return 0 if variant.root is None else int(variant.root.shape[0])

    def answer(
        self,
        variant: Variant,
        adaptation: Adaptation,
        prompts: Sequence[Encoded],
        *,
        labels: Sequence[str] = (),
        seed: int = 0,
        skip: Callable[[Sequence[int]], bool] | None = None,
        sink: AnswerSink | None = None,
    ) -> list[Answer | None]:
        """Answers for prompts, in order; None where `skip` left a finished batch out. Prompts that do not fit get the
        finish "overflow" and an empty text."""
        answers: list[Answer | None] = [None] * len(prompts)
        root = self.root_length(variant)
        choose = adaptation.readout.kind == "choose"
        replies = [self.loaded.chat.encode_reply(label) for label in labels] if choose else []
        room = max(map(len, replies), default=0) if choose else self.max_new_tokens
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
        if choose:
            self._choose(variant, prompts, positions, dict(zip(labels, replies, strict=True)), skip, deliver)
        else:
            self._generate(variant, prompts, positions, seed, skip, deliver)
        return answers

    def _generate(
        self,
        variant: Variant,
        prompts: Sequence[Encoded],
        positions: Sequence[int],
        seed: int,
        skip: Callable[[Sequence[int]], bool] | None,
        deliver: AnswerSink,
    ) -> None:
        root = self.root_length(variant)
        requests = [
            GenerateRequest(prompts[position].ids, self.max_new_tokens, seed=seed * 1_000_003 + position)
            for position in positions
        ]

        def on_batch(indices: Sequence[int], made: Sequence[Any]) -> None:
            deliver(
                [positions[index] for index in indices],
                [
                    Answer(text.text, text.finish, root + len(requests[index].prompt), len(text.ids))
                    for index, text in zip(indices, made, strict=True)
                ],
            )

        generate(
            variant,
            self.loaded.tokenizer,
            requests,
            self.decoding,
            plain=self.plain is not None,
            skip=None if skip is None else lambda indices: skip([positions[index] for index in indices]),
            on_batch=on_batch,
        )

    def _choose(
        self,
        variant: Variant,
        prompts: Sequence[Encoded],
        positions: Sequence[int],
        replies: Mapping[str, tuple[int, ...]],
        skip: Callable[[Sequence[int]], bool] | None,
        deliver: AnswerSink,
    ) -> None:
        """The most likely label, end of turn included; chunks of questions so that finished ones can be stored."""
        root = self.root_length(variant)
        for start in range(0, len(positions), 64):
            chunk = positions[start : start + 64]
            if skip is not None and skip(chunk):
                continue
            requests = [ScoreRequest(prompts[position].ids, tuple(replies.values())) for position in chunk]
            made = []
            for position, scores in zip(chunk, score(variant, requests, plain=self.plain is not None), strict=True):
                by_label = {label: found.logprob for label, found in zip(replies, scores, strict=True)}
                best = max(by_label, key=lambda label: by_label[label])
                tokens = root + len(prompts[position].ids)
                made.append(Answer(best, "choice", tokens, len(replies[best]), by_label))
            deliver(chunk, made)
