"""What the engine is asked and what it answers; ids are token ids of the loaded tokenizer. No torch here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ScoreRequest:
    """Log-likelihoods wanted for each continuation after one shared context."""

    context: tuple[int, ...]
    continuations: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class ContinuationScore:
    """`logprob`: sum over the continuation's tokens of ln p(token | everything before). `greedy`: every token was the
    most likely one. `truncated`: context tokens dropped from the left to fit the window."""

    logprob: float
    greedy: bool
    tokens: int
    truncated: int = 0


@dataclass(frozen=True)
class GenerateRequest:
    """One text wanted. `seed` makes a sampled text independent of its neighbours in the batch."""

    prompt: tuple[int, ...]
    max_new_tokens: int
    seed: int = 0


@dataclass(frozen=True)
class Decoding:
    """How texts are drawn: temperature 0 is greedy. `stop` strings end a text and are cut off; so do `eos_ids`.

    `choices`, (text, ids) pairs, allow nothing else: the text is the one whose ids greedy decoding spells when it can
    take no other token; all other settings are of no interest then. The ids end with a token that stands nowhere else
    in them, such as the end of turn.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    eos_ids: tuple[int, ...] = ()
    choices: tuple[tuple[str, tuple[int, ...]], ...] = ()


@dataclass(frozen=True)
class Generation:
    """`text`: decoded without special tokens, cut before the stop string. `finish`: "stop", "length", or "choice" for
    one of the decoding's choices, whose `ids` are whole."""

    ids: tuple[int, ...]
    text: str
    finish: str


@dataclass(frozen=True)
class TrainSequence:
    """One training sequence: the loss reads `target` only; both are seen."""

    prompt: tuple[int, ...]
    target: tuple[int, ...]
