"""Scoring against lm-eval's Hugging Face backend: `python -m perf.scoring [--data DIR] [--model FOLDER] [--quick]`.

Same model, dtype, threads and token ids on both sides, in turns. `ours` and `peer` are medians of the seconds spent in
model calls alone (for us decoder and vocabulary head, for the peer `_model_call`); `ours_whole` and `peer_whole` add
everything around them: planning, padding, log-softmax, gathering. The peer runs at the fastest of several batch sizes.
"""

from __future__ import annotations

import csv
import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from harness.models.engine_model import OpenModel
from harness.models.requests import ScoreRequest
from harness.models.scoring import score
from harness.models.variant import Variant
from perf._common import CallTimer, arguments, finish, in_turns, load, machine, read_jsonl, say, versions


@dataclass(frozen=True)
class Size:
    """Items in a full and in a quick run; batch sizes tried for the peer, on `trial` of its requests."""

    items: int
    quick: int
    batch_sizes: tuple[int, ...]
    trial: int


SIZES = {
    "hellaswag_0shot": Size(48, 16, (1, 4, 8, 16, 32), 64),
    "mmlu_5shot": Size(40, 10, (1, 2, 4, 8), 64),
    "arc_easy_25shot_by_item": Size(8, 3, (1, 2, 4), 4),
    "arc_easy_25shot_fixed": Size(32, 8, (1, 2, 4), 4),
    "labels_77_0shot": Size(16, 4, (4, 16, 32, 64), 154),
}
_TEXT = "the man moves water over green paper when people make long music under a cold first table"
_NOUNS = "light city heat river plant answer energy house food sound rain glass"
WORDS = re.findall(r"\w+", f"{_TEXT} {_NOUNS}")
MMLU_SUBJECTS = ("anatomy", "high_school_geography")
Item = tuple[str, list[str]]


class Source:
    """Items from the data folder, or made-up ones of about the same lengths."""

    def __init__(self, folder: str | None) -> None:
        self.folder = Path(folder) if folder else None
        self._random = random.Random(7)

    def _text(self, low: int, high: int) -> str:
        return " ".join(self._random.choice(WORDS) for _ in range(self._random.randint(low, high)))

    def hellaswag(self, count: int) -> list[Item]:
        if self.folder is None:
            return [(self._text(25, 75), [self._text(8, 35) for _ in range(4)]) for _ in range(count)]

        def clean(text: str) -> str:
            return re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". ")).replace("  ", " ")

        rows = read_jsonl(self.folder / "hellaswag" / "hellaswag_val.jsonl")
        rows = [rows[index] for index in sorted(random.Random(1).sample(range(len(rows)), count))]
        return [
            (
                clean(f"{row['activity_label']}: {row['ctx_a']} {row['ctx_b'].capitalize()}"),
                [clean(ending) for ending in row["endings"]],
            )
            for row in rows
        ]

    def mmlu(self, count: int) -> list[Item]:
        items: list[Item] = []
        for subject in MMLU_SUBJECTS:
            head = f"The following are multiple choice questions (with answers) about {subject.replace('_', ' ')}.\n\n"
            if self.folder is None:
                rows: list[dict[str, Any]] = [
                    {"question": self._text(15, 60), "choices": [self._text(2, 14) for _ in range(4)], "answer": 1}
                    for _ in range(count)
                ]
                shots, rows = rows[:5], [*rows[5:], *rows[:5]]
            else:
                shots = read_jsonl(self.folder / "mmlu" / subject / "dev.jsonl")[:5]
                rows = read_jsonl(self.folder / "mmlu" / subject / "test.jsonl")

            def ask(row: dict[str, Any]) -> str:
                letters = "\n".join(f"{letter}. {text}" for letter, text in zip("ABCD", row["choices"], strict=True))
                return f"{row['question'].strip()}\n{letters}\nAnswer:"

            head += "".join(f"{ask(shot)} {'ABCD'[shot['answer']]}\n\n" for shot in shots)
            items += [(head + ask(row), list("ABCD")) for row in rows[: count // len(MMLU_SUBJECTS)]]
        return items

    def arc(self, count: int, fixed: bool) -> list[Item]:
        if self.folder is None:
            made: list[dict[str, Any]] = [
                {
                    "question": self._text(12, 32),
                    "choices": {"text": [self._text(1, 7) for _ in range(4)], "label": list("ABCD")},
                    "answerKey": "B",
                }
                for _ in range(count + 400)
            ]
            rows, train = made[:count], made[count:]
        else:
            rows = read_jsonl(self.folder / "arc" / "arc_easy_test.jsonl")[:count]
            train = read_jsonl(self.folder / "arc" / "arc_easy_train.jsonl")

        def ask(row: dict[str, Any], answered: bool) -> str:
            right = row["choices"]["text"][row["choices"]["label"].index(row["answerKey"])]
            return f"Question: {row['question']}\nAnswer:" + (f" {right}\n\n" if answered else "")

        draw = random.Random(3)
        shots = draw.sample(train, 25)
        items = []
        for row in rows:
            shots = shots if fixed else draw.sample(train, 25)
            items.append(("".join(ask(shot, True) for shot in shots) + ask(row, False), row["choices"]["text"]))
        return items

    def labels(self, count: int) -> list[Item]:
        if self.folder is None:
            names = sorted({self._text(2, 4) for _ in range(90)})[:77]
            texts = [self._text(6, 20) for _ in range(count)]
        else:
            with (self.folder / "banking77" / "banking77_test.csv").open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
            names = sorted({row["category"].replace("_", " ") for row in rows})
            texts = [row["text"] for row in random.Random(5).sample(rows, count)]
        head = "Name the intent of the customer's message.\n"
        return [(f"{head}Message: {text.strip()}\nIntent:", names) for text in texts]


def encode(tokenizer: Any, items: Sequence[Item]) -> list[ScoreRequest]:
    """Context and continuation ids, split as lm-eval splits them."""
    requests = []
    for context, endings in items:
        ids = tuple(tokenizer.encode(context, add_special_tokens=False))
        continuations = []
        for ending in endings:
            whole = tokenizer.encode(f"{context} {ending}", add_special_tokens=False)
            continuations.append(tuple(whole[len(ids) :]))
        requests.append(ScoreRequest(ids, tuple(continuations)))
    return requests


class Peer:
    """lm-eval's HFLM on the same model object, its model calls timed."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        from lm_eval.models.huggingface import HFLM

        self.lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, max_length=8192)
        self.timer = CallTimer()
        self.lm._model_call = self.timer.timed(self.lm._model_call)

    def run(self, requests: Sequence[ScoreRequest], batch_size: int) -> tuple[list[list[tuple[float, bool]]], float]:
        self.timer.seconds = 0.0
        self.lm.batch_size_per_gpu = batch_size
        flat = [
            (("", ""), list(request.context), list(continuation))
            for request in requests
            for continuation in request.continuations
        ]
        answers = iter(self.lm._loglikelihood_tokens(flat, disable_tqdm=True))
        return [[next(answers) for _ in request.continuations] for request in requests], self.timer.seconds

    def best_batch_size(self, requests: Sequence[ScoreRequest], sizes: Sequence[int], trial: int) -> int:
        flat = [ScoreRequest(request.context, (one,)) for request in requests for one in request.continuations]
        middle = flat[max(0, (len(flat) - trial) // 2) :][:trial]
        times = {}
        for size in sizes:
            start = time.perf_counter()
            self.run(middle, size)
            times[size] = time.perf_counter() - start
        say("  peer batch sizes tried: " + ", ".join(f"{size}: {spent:.2f} s" for size, spent in times.items()))
        return min(times, key=lambda size: times[size])


def compare(ours: list[list[Any]], peer: list[list[tuple[float, bool]]]) -> dict[str, Any]:
    """Largest difference of a log-likelihood; share of items whose most likely continuation is the same."""
    apart, same, greedy = 0.0, 0, True
    for mine, theirs in zip(ours, peer, strict=True):
        logprobs = [value.logprob for value in mine]
        apart = max(apart, *(abs(a - b[0]) for a, b in zip(logprobs, theirs, strict=True)))
        same += logprobs.index(max(logprobs)) == max(range(len(theirs)), key=lambda index: theirs[index][0])
        greedy &= all(a.greedy == b[1] for a, b in zip(mine, theirs, strict=True))
    return {"max_abs_difference": apart, "argmax_agreement": same / len(ours), "greedy_equal": greedy}


def measure(
    name: str, model: Any, peer: Peer, requests: list[ScoreRequest], rounds: int
) -> tuple[dict[str, Any], list[list[Any]]]:
    size = peer.best_batch_size(requests, SIZES[name].batch_sizes, SIZES[name].trial)
    variant = Variant(model)

    def run() -> tuple[list[list[Any]], float]:
        timer = CallTimer()
        with (
            patch.object(OpenModel, "hidden", timer.timed(OpenModel.hidden)),
            patch.object(OpenModel, "logits", timer.timed(OpenModel.logits)),
        ):
            scores = score(variant, requests)
        return scores, timer.seconds

    score(variant, requests[:2])
    ours, theirs = in_turns(run, lambda: peer.run(requests, size), rounds)
    result = {
        "name": name,
        "ours": ours.median,
        "peer": theirs.median,
        "unit": "s",
        "ratio": theirs.median / ours.median,
        "ours_whole": ours.median_whole,
        "peer_whole": theirs.median_whole,
        "ratio_whole": theirs.median_whole / ours.median_whole,
        **compare(ours.output, theirs.output),
        "peak_memory_bytes": ours.peak,
        "peer_peak_memory_bytes": theirs.peak,
        "items": len(requests),
        "rounds": rounds,
        "peer_batch_size": size,
    }
    say(
        f"{name}: ours {ours.median:.2f} s, peer {theirs.median:.2f} s, {result['ratio']:.2f}x (whole call "
        f"{result['ratio_whole']:.2f}x), largest difference {result['max_abs_difference']:.1e}, "
        f"decisions equal {result['argmax_agreement']:.1%}, "
        f"memory {ours.peak / 2**20:.0f} / {theirs.peak / 2**20:.0f} MiB"
    )
    return result, ours.output


def main(argv: Sequence[str] | None = None) -> None:
    options = arguments(__doc__.splitlines()[0]).parse_args(argv)
    rounds = options.rounds or (1 if options.quick else 3)
    names = [name for name in SIZES if not options.only or name in options.only]
    result: dict[str, Any] = {
        "machine": machine(),
        "versions": versions("torch", "transformers", "lm-eval"),
        "data": "public data sets" if options.data else "generated items",
        "workloads": [],
        "workloads_bf16": [],
    }
    reference: dict[str, list[list[Any]]] = {}
    for dtype in ("float32", "bfloat16"):
        if options.dtype not in (dtype, "both"):
            continue
        model, tokenizer = load(options.model, getattr(torch, dtype))
        peer = Peer(model, tokenizer)
        source = Source(options.data)
        makers: dict[str, Callable[[int], list[Item]]] = {
            "hellaswag_0shot": source.hellaswag,
            "mmlu_5shot": source.mmlu,
            "arc_easy_25shot_by_item": lambda count, source=source: source.arc(count, False),  # type: ignore[misc]
            "arc_easy_25shot_fixed": lambda count, source=source: source.arc(count, True),  # type: ignore[misc]
            "labels_77_0shot": source.labels,
        }
        for name in names:
            count = SIZES[name].quick if options.quick else SIZES[name].items
            requests = encode(tokenizer, makers[name](count))
            say(f"{name}, {dtype}: {count} items, {sum(len(r.context) for r in requests) // count} context tokens each")
            row, scores = measure(name, model, peer, requests, rounds)
            if dtype == "float32":
                reference[name] = scores
                result["workloads"].append(row)
                continue
            if name in reference:
                exact = [[(value.logprob, value.greedy) for value in item] for item in reference[name]]
                against = compare(scores, exact)
                row["difference_to_float32"] = against["max_abs_difference"]
                row["agreement_with_float32"] = against["argmax_agreement"]
            result["workloads_bf16"].append(row)
        del model, peer
    finish(result)


if __name__ == "__main__":
    main()
