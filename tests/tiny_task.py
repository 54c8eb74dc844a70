"""A random model with a vocabulary of words, a rule that it cannot know, and runs of it without a second process."""

from __future__ import annotations

import json
import random
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

COLOURS = {"crimson": "warm", "scarlet": "warm", "navy": "cold", "azure": "cold"}
FILLERS = tuple(f"word{number}" for number in range(24))
#: How an experiment on what is saved here begins; more keys of its task may follow.
TABLES = """
    [experiment]
    name = "colours"
    [model]
    ref = "./model"
    dtype = "float32"
    [task]
    loader = "csv"
    train = "train.csv"
    validation = "validation.csv"
    test = "test.csv"
    input = "{question}"
"""


def save_model(folder: Path) -> None:
    """Two layers, 32 wide; its tokenizer knows the words of the task and has no chat template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<end>", "<unknown>", *COLOURS, *sorted(set(COLOURS.values())), *FILLERS, "?", "is", "it", "the", "."]
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unknown>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="<unknown>").save_pretrained(
        folder
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = LlamaForCausalLM(config)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data *= 4  # far from uniform
    model.save_pretrained(folder)


def save_data(folder: Path) -> None:
    """Questions that name a colour among other words; the answer says whether it is warm or cold."""
    draw = random.Random(0)
    for split, count in (("train", 96), ("validation", 16), ("test", 24)):
        lines = ["question,answer"]
        for number in range(count):
            colour = list(COLOURS)[number % len(COLOURS)]
            before, after = (" ".join(draw.sample(FILLERS, draw.randint(1, 3))) for _ in range(2))
            lines.append(f"{before} {colour} {after} ?,{COLOURS[colour]}")
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "docs").mkdir()
    for number in range(20):
        text = " ".join(draw.choice(FILLERS[:6]) for _ in range(40))
        (folder / "docs" / f"{number}.md").write_text(text, encoding="utf-8")


class InProcessWorker:
    """A worker in this process: messages go through JSON as over the pipe."""

    def __init__(self, setup: Mapping[str, Any]) -> None:
        from harness.runner.worker import _Host

        self.host = _Host(json.loads(json.dumps(setup)))
        self.alive = True

    def wait_ready(self) -> dict[str, Any]:
        return self.host.facts

    def run(self, spec: Mapping[str, Any], **limits: Any) -> Iterator[tuple[str, Any]]:
        sent: list[str] = []

        def emit(kind: str, value: Any) -> None:
            plain = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
            sent.append(json.dumps([kind, plain], allow_nan=False))

        last = ("done", {})
        try:
            self.host.run(json.loads(json.dumps(spec)), emit)
        except Exception as error:
            last = ("failed", {"error": str(error), "detail": traceback.format_exc()})
        yield from (tuple(found) for message in sent if (found := json.loads(message))[0] != "doing")
        yield last

    def close(self, *, force: bool = False) -> None:
        self.alive = False
