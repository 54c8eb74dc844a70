"""Generation against transformers' `generate`: `python -m perf.generation [--data DIR] [--model FOLDER] [--quick]`.

200 prompts of about 60 tokens that share an instruction, greedy, natural stops, at most 64 new tokens. Same model,
dtype, threads and token ids on both sides, in turns, whole calls timed (ours decodes text as well). The peer pads on
the left, sorts by length and runs at the fastest of several batch sizes. Where llama-cpp-python is installed and a GGUF
file is given (--gguf), its speed is shown too, one prompt at a time.
"""

from __future__ import annotations

import csv
import importlib
import importlib.util
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from harness.models.generation import generate
from harness.models.requests import Decoding, GenerateRequest, Generation
from harness.models.variant import Variant
from perf._common import PeakMemory, arguments, finish, in_turns, load, machine, read_jsonl, say, versions

PROMPTS, QUICK_PROMPTS = 200, 64
NEW_TOKENS = 64
PEER_BATCH_SIZES = (32, 64, 128)
OUR_MAX_ROWS = 64
INSTRUCTION = "You answer questions briefly and truthfully. If you do not know the answer, say so in one sentence."


def questions(folder: str | None, count: int) -> list[str]:
    """Questions from the data folder, else made-up ones of about the same length."""
    if folder is not None:
        root = Path(folder)
        texts = [row["question"] for row in read_jsonl(root / "truthfulqa" / "truthfulqa_mc.jsonl")]
        with (root / "banking77" / "banking77_test.csv").open(encoding="utf-8", newline="") as file:
            texts += [row["text"] for row in csv.DictReader(file)][: len(texts) // 2]
        return random.Random(11).sample(texts, count)
    things = ["the moon", "rain", "a bank", "gold", "bread", "the sea", "music", "a passport", "glass", "winter"]
    forms = [
        "What is {} made of, and why?",
        "Who first wrote about {} and in which country?",
        "Why do people say that {} is good for you?",
        "How old is {} compared with {}?",
        "Can you lose {} when you travel far away from home?",
    ]
    draw = random.Random(11)
    return [draw.choice(forms).format(draw.choice(things), draw.choice(things)) for _ in range(count)]


def encode(tokenizer: Any, texts: Sequence[str]) -> list[GenerateRequest]:
    requests = []
    for text in texts:
        messages = [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": text}]
        rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        ids = tokenizer.encode(rendered, add_special_tokens=False)
        requests.append(GenerateRequest(tuple(ids), NEW_TOKENS))
    return requests


def peer_run(model: Any, requests: Sequence[GenerateRequest], size: int, end: int) -> tuple[list[list[int]], float]:
    """transformers' greedy `generate` over left-padded batches of similar length; new ids without the end token."""
    order = sorted(range(len(requests)), key=lambda index: -len(requests[index].prompt))
    answers: list[list[int]] = [[] for _ in requests]
    start = time.perf_counter()
    for first in range(0, len(order), size):
        batch = order[first : first + size]
        width = max(len(requests[index].prompt) for index in batch)
        ids = torch.full((len(batch), width), end)
        mask = torch.zeros(len(batch), width, dtype=torch.long)
        for row, index in enumerate(batch):
            prompt = torch.tensor(requests[index].prompt)
            ids[row, width - len(prompt) :] = prompt
            mask[row, width - len(prompt) :] = 1
        with torch.inference_mode():
            out = model.generate(
                ids, attention_mask=mask, max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=end, pad_token_id=end
            )
        for row, index in enumerate(batch):
            new = out[row, width:].tolist()
            answers[index] = new[: new.index(end)] if end in new else new
    return answers, time.perf_counter() - start


def measure(
    model: Any, tokenizer: Any, requests: list[GenerateRequest], rounds: int, sizes: Sequence[int]
) -> tuple[dict[str, Any], list[tuple[int, ...]]]:
    end = int(tokenizer.eos_token_id)
    trial = random.Random(2).sample(requests, min(len(requests), max(sizes)))
    times = {size: peer_run(model, trial, size, end)[1] for size in sizes}
    say("  peer batch sizes tried: " + ", ".join(f"{size}: {spent:.2f} s" for size, spent in times.items()))
    size = min(times, key=lambda key: times[key])
    variant, decoding = Variant(model), Decoding(eos_ids=(end,))

    def run() -> tuple[list[Generation | None], float]:
        start = time.perf_counter()
        made = generate(variant, tokenizer, requests, decoding, max_rows=OUR_MAX_ROWS)
        return made, time.perf_counter() - start

    generate(variant, tokenizer, requests[:2], decoding)
    ours, theirs = in_turns(run, lambda: peer_run(model, requests, size, end), rounds)
    ids = [text.ids for text in ours.output]
    same = sum(list(mine) == other for mine, other in zip(ids, theirs.output, strict=True))
    tokens = sum(len(text) + (len(text) < NEW_TOKENS) for text in ids)  # an end token was computed as well
    result = {
        "name": "generation_shared_instruction",
        "ours": ours.median,
        "peer": theirs.median,
        "unit": "s",
        "ratio": theirs.median / ours.median,
        "ours_tokens_per_second": tokens / ours.median,
        "peer_tokens_per_second": tokens / theirs.median,
        "max_abs_difference": None,
        "argmax_agreement": same / len(ids),
        "peak_memory_bytes": ours.peak,
        "peer_peak_memory_bytes": theirs.peak,
        "items": len(ids),
        "prompt_tokens": sum(len(request.prompt) for request in requests),
        "new_tokens": tokens,
        "rounds": rounds,
        "peer_batch_size": size,
    }
    say(
        f"generation: ours {ours.median:.2f} s ({result['ours_tokens_per_second']:.0f} tokens/s), peer "
        f"{theirs.median:.2f} s ({result['peer_tokens_per_second']:.0f} tokens/s), {result['ratio']:.2f}x, texts equal "
        f"{same}/{len(ids)}, memory {ours.peak / 2**20:.0f} / {theirs.peak / 2**20:.0f} MiB"
    )
    return result, ids


def llama_cpp(gguf: str, requests: Sequence[GenerateRequest], end: int) -> dict[str, Any]:
    """llama-cpp-python on its own quantised file: another number format, so speed only."""
    Llama = importlib.import_module("llama_cpp").Llama  # an extra that need not be there

    engine = Llama(gguf, n_ctx=512, n_threads=torch.get_num_threads(), verbose=False)
    tokens, start = 0, time.perf_counter()
    with PeakMemory() as memory:
        for request in requests:
            for token in engine.generate(list(request.prompt), temp=0.0, reset=True):
                tokens += 1
                if token == end or tokens % NEW_TOKENS == 0:
                    break
    spent = time.perf_counter() - start
    return {
        "name": "llama_cpp",
        "tokens_per_second": tokens / spent,
        "seconds": spent,
        "peak_memory_bytes": memory.peak,
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--gguf", help="GGUF file for llama-cpp-python, where that is installed")
    options = parser.parse_args(argv)
    rounds = options.rounds or (1 if options.quick else 3)
    result: dict[str, Any] = {
        "machine": machine(),
        "versions": versions("torch", "transformers", "llama-cpp-python"),
        "data": "public data sets" if options.data else "generated items",
        "workloads": [],
        "workloads_bf16": [],
    }
    texts = questions(options.data, QUICK_PROMPTS if options.quick else PROMPTS)
    sizes = PEER_BATCH_SIZES[:2] if options.quick else PEER_BATCH_SIZES
    reference: list[tuple[int, ...]] | None = None
    for dtype in ("float32", "bfloat16"):
        if options.dtype not in (dtype, "both"):
            continue
        model, tokenizer = load(options.model, getattr(torch, dtype))
        requests = encode(tokenizer, texts)
        say(f"generation, {dtype}: {len(requests)} prompts, {sum(len(r.prompt) for r in requests)} prompt tokens")
        row, ids = measure(model, tokenizer, requests, rounds, sizes)
        if dtype == "float32":
            reference = ids
            result["workloads"].append(row)
            if options.gguf and importlib.util.find_spec("llama_cpp"):
                result["llama_cpp"] = llama_cpp(options.gguf, requests[:20], int(tokenizer.eos_token_id))
            continue
        if reference is not None:
            row["agreement_with_float32"] = sum(a == b for a, b in zip(ids, reference, strict=True)) / len(ids)
        result["workloads_bf16"].append(row)
        del model
    finish(result)


if __name__ == "__main__":
    main()
