"""Repair: mends the form of an answer after it was made. No model is asked, so it costs next to nothing; standing last
in a chain (`["rag", "repair"]`) it shows how much of what training is wanted for a few rules would do as well."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from harness.adaptation import Adaptation
from harness.strategy import AnswerStrategy, Context, ReadView
from harness.types import Prediction
from harness_plugins.errors.loops import MAX_PERIOD, LoopLimits, find_loop
from harness_plugins.errors.spelling import correct
from harness_plugins.metrics.numbers import numbers
from harness_plugins.metrics.structured import parse_json
from harness_plugins.metrics.text import match_label, mentioned_labels, normalise

MOST_CHARACTERS = 20_000
_FENCE = re.compile(r"```\w*\n?(.*?)(?:```|\Z)", re.DOTALL)
_LEAD = re.compile(
    r"\A\s*(?:(?:sure|certainly|of course|okay|ok|yes|great question)\b[^.:!\n]{0,60}[.:!,]\s*)?"
    r"(?:(?:the|my)\s+)?(?:(?:final|correct|short|best)\s+)?(?:answer|response|output|label|category|result)\b"
    r"(?:\s+(?:to|for)\b[^.:\n]{0,120}?)?\s*(?:is\b\s*:?|:|=)\s*",
    re.IGNORECASE,
)
_COPULA = re.compile(r"\s+(?:is|are|was|were|equals)\s+", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<=[^\s.!?][.!?])[\"'”)\]]*\s+(?=[\"'“(\[]?[A-ZÀ-Þ0-9])")
_NUMBER = re.compile(r"[-−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?")
_QUOTES = "\"'“”‘’`*"


class Repair(AnswerStrategy):
    """Learns from the training answers what an answer looks like (labels, numbers, JSON or text; how long; with or
    without a full stop) and brings each answer nearer to that: extracts the label, number or JSON value, takes off
    "The answer is" and a repeated question, cuts loops and what is much too long, corrects misspelt words that stand
    nowhere in prompt or task. An answer that has the wanted form is left as it is."""

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

        format: bool = Field(True, description="Extract the label, number, JSON value or short answer.")
        repetition: bool = Field(True, description="Cut an answer where it begins to run in a loop.")
        verbosity: bool = Field(True, description="Keep the first sentences of an answer that is much too long.")
        spelling: bool = Field(True, description="Correct misspelt words.")
        language: str = Field("en", description="Dictionary for the spelling (see the classifier `spelling`).")

    def adapt(self, start: Adaptation, context: Context) -> Adaptation:
        references = [example.references[0] for example in context.train if example.references]
        return start.with_answer_step(context.step(learn_form(references, context.labels)))

    def read(self, prediction: Prediction, view: ReadView, state: Mapping[str, Any]) -> str:
        text = prediction.parsed
        if prediction.finish not in ("stop", "length") or not text or len(text) > MOST_CHARACTERS:
            return text
        if self.config.repetition:
            text = cut_loop(text)
        if self.config.format:
            text = extract(text, state, view)
        if self.config.verbosity and state["words"] is not None:
            text = shorten(text, state["words"])
        if self.config.format and state["kind"] == "text":
            text = bare_end(text, state)
        if self.config.spelling and state["kind"] == "text":
            cut = prediction.finish == "length" and text == prediction.parsed
            known = f"{prediction.prompt}\n{view.input}"
            text = correct(text, self.config.language, known, view.vocabulary, cut=cut)
        return text.strip() or prediction.parsed


def learn_form(references: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    """What answers look like: `kind` "label", "number", "json" or "text"; `words` of the longest (but for one in
    twenty), None without examples; `full_stop`: whether most end in one."""
    if labels:
        return {"kind": "label", "words": None, "full_stop": False}
    if not references:
        return {"kind": "text", "words": None, "full_stop": True}
    count = len(references)
    lengths = sorted(len(reference.split()) for reference in references)
    kind = "text"
    if sum(bool(_NUMBER.fullmatch(reference.strip())) for reference in references) >= 0.95 * count:
        kind = "number"
    elif sum(_is_json(reference) for reference in references) >= 0.95 * count:
        kind = "json"
    stops = sum(reference.rstrip().endswith((".", "!", "?")) for reference in references)
    words = lengths[min(count - 1, int(0.95 * count))] if kind == "text" else None
    return {"kind": kind, "words": words, "full_stop": stops * 2 > count}


def cut_loop(text: str) -> str:
    """The text up to where its loop begins to repeat; whole when there is none."""
    pieces = list(re.finditer(r"\S+", text))
    words = [normalise(piece.group(0)) for piece in pieces]
    if not find_loop(words, text, LoopLimits()):
        return text
    for start in range(len(words)):
        for period in range(1, min(MAX_PERIOD, (len(words) - start) // 2) + 1):
            unit = words[start : start + period]
            times = 1
            while words[start + times * period : start + (times + 1) * period] == unit:
                times += 1
            if times >= 3 + (period == 1) and period * times >= (4 if period == 1 else 6):
                return text[: pieces[start + period - 1].end()].rstrip(",;: ")
    return text


def extract(text: str, state: Mapping[str, Any], view: ReadView) -> str:
    """The label, number, JSON value or short answer inside a text; the text itself where there is none."""
    if state["kind"] == "label":
        labels = tuple(view.labels)
        if (label := match_label(text, labels)) is not None:
            return label
        named = mentioned_labels(text, labels)
        return named[0] if len(named) == 1 else text
    if state["kind"] == "number":
        return _number(text)
    if state["kind"] == "json":
        return _json(text)
    bare = _LEAD.sub("", text, count=1).strip()
    text = bare or text
    if state["words"] is not None and state["words"] <= 5:
        text = _without_question(text, view.input)
    inner = text.strip()
    if len(inner) > 2 and inner[0] in _QUOTES and inner[-1] in _QUOTES:
        text = inner.strip(_QUOTES).strip() or inner
    return text


def _number(text: str) -> str:
    """The text's one number, or the last one after an equals sign or "is"; whole when it is not clear which."""
    found = [match.group(0) for match in _NUMBER.finditer(text)]
    if len({next(numbers(each), None) for each in found}) == 1:
        return found[0]
    lead = _LEAD.search(text)
    after = _NUMBER.match(text[lead.end() :].lstrip("$€£ ")) if lead else None
    return after.group(0) if after else text


def _json(text: str) -> str:
    if _is_json(text):
        return text
    fenced = _FENCE.search(text)
    for candidate in [fenced.group(1)] if fenced else []:
        if _is_json(candidate):
            return candidate.strip()
    start = min((place for place in (text.find("{"), text.find("[")) if place >= 0), default=-1)
    end = max(text.rfind("}"), text.rfind("]"))
    inside = text[start : end + 1] if 0 <= start < end else ""
    return inside if inside and _is_json(inside) else text


def _is_json(text: str) -> bool:
    if text.strip()[:1] not in ("{", "["):
        return False
    try:
        parse_json(text)
    except ValueError:
        return False
    return True


def _without_question(text: str, question: str) -> str:
    """ "The capital of France is Paris." → "Paris.": what stands before the verb, when the question says it."""
    verb = _COPULA.search(text)
    if verb is None or not text[verb.end() :].strip():
        return text
    said = normalise(text[: verb.start()]).split()
    asked = set(normalise(question).split())
    return text[verb.end() :] if said and sum(word in asked for word in said) * 3 >= 2 * len(said) else text


def shorten(text: str, words: int) -> str:
    """The first line and sentences of a text that has three times the words of a long answer, and ten more."""
    if len(text.split()) <= max(3 * words, words + 10):
        return text
    parts = _SENTENCE.split(text.strip().split("\n", 1)[0])
    kept: list[str] = []
    for part in parts:
        if kept and sum(len(done.split()) for done in kept) + len(part.split()) > max(words, 5):
            break
        kept.append(part)
    return " ".join(kept)


def bare_end(text: str, state: Mapping[str, Any]) -> str:
    """Without the full stop of a short answer, where answers have none."""
    text = text.strip()
    short = state["words"] is not None and len(text.split()) <= max(state["words"], 5)
    single = text.endswith(".") and not text.endswith("..") and "." not in text[:-1]
    return text[:-1] if short and single and len(text) > 1 and not state["full_stop"] else text
