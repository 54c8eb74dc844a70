"""Training against transformers' `Trainer` with peft, and TRL's `SFTTrainer` where it is installed:
`python -m perf.training [--model FOLDER] [--quick]`.

Same made-up question-answer items as token ids (rendered as this harness renders them: chat template, instruction, for
half of them a passage), same sequences per optimiser step on average, AdamW, constant learning rate and number of
steps, the loss on answers only. We run at our default (bfloat16 where the processor is fast at it) and, for the
comparison of losses, also in float32; `Trainer` at its defaults (float32) and at its best setting (bf16=True, grouped
by length); `SFTTrainer` in bfloat16, grouped by length, without recomputing activations. Every run is a process of its
own, all sides in turns, each round with another seed. Tokens per second are those of prompts and answers without
padding over the time of the whole call that trains. Validation losses come from one plain float32 forward for all
sides, as means over the rounds.
"""

from __future__ import annotations

import importlib.util
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from harness.models.device import resolve_dtype
from harness.models.requests import TrainSequence
from perf._common import PeakMemory, arguments, finish, load, machine, say, versions

BATCH = 8  # sequences per optimiser step of the peer (its default); ours gets as many tokens
STEPS, QUICK_STEPS = 12, 4
HELD_OUT, QUICK_HELD_OUT = 60, 16
LR = {"lora": 5e-4, "full": 5e-5}
# Key of a peer's rows in the result; the peer. "float32" and "bfloat16" of `--dtype` choose among them.
FLOAT32 = "ours in float32"
PEERS = {"workloads": "defaults", "workloads_bf16": "best", "workloads_trl": "trl"}
INSTRUCTION = "Answer the question with a short phrase, without explanation."


def items(tokenizer: Any, count: int, seed: int) -> list[TrainSequence]:
    """Questions about made-up towns; the answer follows a rule that can be learnt, half of them show a passage."""
    draw = random.Random(seed)
    starts, ends = ("Kar", "Bel", "Tor", "Min", "Sal", "Ost"), ("hafen", "mont", "by", "ville", "grad", "ford")
    goods = {"hafen": "dried fish", "mont": "slate", "by": "rye", "ville": "wine", "grad": "steel", "ford": "wool"}
    facts = (
        "{} lies {} kilometres from the coast.",
        "About {1} thousand people live in {0}, most of them near the old market.",
        "The railway reached {} in the year 18{}.",
        "In {} it rains on {} days of the year, mostly in spring and late autumn.",
        "The mayor of {} is elected every {} years by all inhabitants over sixteen.",
    )
    asked = (
        "What does {} mainly export?",
        "Which good is {} known for abroad?",
        "If a ship leaves {} fully loaded, what does it most probably carry to the other ports of the region?",
    )
    found = []
    for number in range(count):
        end = draw.choice(ends)
        town = draw.choice(starts) + end
        text = f"Question: {draw.choice(asked).format(town)}"
        if number % 2:
            chosen = [draw.choice(facts).format(town, draw.randint(11, 98)) for _ in range(draw.randint(1, 7))]
            text = f"Passage: {' '.join(chosen)}\n\n{text}"
        messages = [{"role": "user", "content": f"{INSTRUCTION}\n\n{text}"}]
        prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        answer = f"{goods[end]}, mostly by {draw.choice(('sea', 'rail'))}" if len(town) % 2 else goods[end]
        found.append(
            TrainSequence(
                tuple(tokenizer.encode(prompt, add_special_tokens=False)),
                (*tokenizer.encode(answer, add_special_tokens=False), tokenizer.eos_token_id),
            )
        )
    return found


def plain_loss(model: Any, sequences: Sequence[TrainSequence]) -> float:
    """Mean over answer tokens, one sequence at a time, in the model's own format."""
    total, count = 0.0, 0
    model.eval()
    with torch.inference_mode():
        for sequence in sequences:
            ids = torch.tensor([[*sequence.prompt, *sequence.target]])
            keep = len(sequence.target) + 1
            logits = model(input_ids=ids, logits_to_keep=keep).logits[0, :-1].float()
            total += float(torch.nn.functional.cross_entropy(logits, ids[0, 1 - keep :], reduction="sum"))
            count += len(sequence.target)
    return total / count


def _lora_config() -> Any:
    from peft import LoraConfig

    return LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")


def run_ours(model: Any, job: dict[str, Any], train: list[TrainSequence]) -> float:
    """Trains; returns the seconds of the whole call."""
    from harness.training.loop import fit
    from harness.training.settings import TrainSettings
    from harness.training.trainable import Trainable, lora_trainable, weights_trainable

    method, steps, seed = job["method"], job["steps"], job["seed"]
    dtype = torch.float32 if job["side"] == FLOAT32 else getattr(torch, resolve_dtype("auto", "cpu"))
    trainable: Trainable
    if method == "lora":
        trainable = lora_trainable(model, _lora_config(), seed=seed, compute_dtype=dtype)
    else:
        trainable = weights_trainable(model, seed=seed, compute_dtype=dtype, keep_original=False)
    tokens = sum(len(sequence.prompt) + len(sequence.target) for sequence in train)
    settings = TrainSettings(
        lr=LR[method],
        epochs=1,
        tokens_per_batch=-(-tokens // steps) + 100,
        max_steps=steps,
        warmup_ratio=0,
        schedule="constant",
    )
    start = time.perf_counter()
    result = fit(trainable, train, [], settings, seed=seed)
    seconds = time.perf_counter() - start
    if result.steps != steps or result.seen_tokens < 0.97 * tokens:
        say(f"  note: {result.steps} steps over {result.seen_tokens} of {tokens} tokens")
    return seconds * tokens / result.seen_tokens


def _collate(batch: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    width = max(len(row["input_ids"]) for row in batch)

    def padded(name: str, fill: int) -> torch.Tensor:
        return torch.tensor([row[name] + [fill] * (width - len(row[name])) for row in batch])

    mask = torch.tensor([[1] * len(row["input_ids"]) + [0] * (width - len(row["input_ids"])) for row in batch])
    return {"input_ids": padded("input_ids", 0), "labels": padded("labels", -100), "attention_mask": mask}


def run_peer(peer: str, model: Any, tokenizer: Any, job: dict[str, Any], train: list[TrainSequence]) -> float:
    """The same by a peer; returns the seconds of its `train()` alone."""
    from transformers import Trainer, TrainingArguments, set_seed

    method = job["method"]
    set_seed(job["seed"])
    if method == "lora":
        from peft import get_peft_model

        model = get_peft_model(model, _lora_config())
    rows = [
        {
            "input_ids": [*sequence.prompt, *sequence.target],
            "labels": [*[-100] * len(sequence.prompt), *sequence.target],
            "length": len(sequence.prompt) + len(sequence.target),
        }
        for sequence in train
    ]
    best = {"bf16": True, "train_sampling_strategy": "group_by_length"}
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {
            "output_dir": folder,
            "per_device_train_batch_size": BATCH,
            "num_train_epochs": 1,
            "learning_rate": LR[method],
            "lr_scheduler_type": "constant",  # with a warm-up its first step has a rate of 0, and ours has not
            "seed": job["seed"],
            "use_cpu": True,
            "report_to": [],
            "save_strategy": "no",
            "logging_strategy": "no",
            "disable_tqdm": True,
        }
        if peer == "trl":
            from datasets import Dataset
            from trl import SFTConfig, SFTTrainer

            config = SFTConfig(**options, **best, gradient_checkpointing=False, max_length=None)
            data = Dataset.from_list(rows)
            trainer = SFTTrainer(model=model, args=config, train_dataset=data, processing_class=tokenizer)
        else:
            chosen = best if peer == "best" else {"bf16": False}
            args = TrainingArguments(**options, **chosen)
            trainer = Trainer(model=model, args=args, train_dataset=rows, data_collator=_collate)
        start = time.perf_counter()
        trainer.train()
        return time.perf_counter() - start


def child(job: dict[str, Any]) -> None:
    """One run in this process; prints its numbers."""
    threads = job.get("threads")
    if threads:
        torch.set_num_threads(threads)
    model, tokenizer = load(job["model"], torch.float32)
    steps = job["steps"]
    train = items(tokenizer, BATCH * steps, 100 + job["seed"])
    held_out = items(tokenizer, job["held_out"], 99) if job["held_out"] else []
    model.train()
    cpu = time.process_time()
    with PeakMemory() as memory:
        if job["side"] in ("ours", FLOAT32):
            seconds = run_ours(model, job, train)
        else:
            seconds = run_peer(job["side"], model, tokenizer, job, train)
    cpu = time.process_time() - cpu
    tokens = sum(len(sequence.prompt) + len(sequence.target) for sequence in train)
    loss = plain_loss(model, held_out) if held_out else None
    rates = {"tokens_per_s": tokens / seconds, "tokens_per_cpu_s": tokens / cpu}
    finish({**rates, "peak": memory.peak, "loss": loss})


def run(job: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-m", "perf.training", "--child", json.dumps(job)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=Path(__file__).parent.parent)
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def compare(method: str, peers: Sequence[str], options: Any) -> dict[str, list[dict[str, Any]]]:
    """One workload: all sides in turns, each round with another seed; rows for each peer."""
    quick = options.quick
    rounds = options.rounds or (1 if quick else 3)
    same = [FLOAT32] if "defaults" in peers else []
    sides: dict[str, list[dict[str, Any]]] = {side: [] for side in ("ours", *same, *peers)}
    for number in range(rounds):
        for side, results in sides.items():
            if side == "trl" and number:
                continue  # a further peer, and a slow one: one round says enough
            job = {
                "side": side,
                "method": method,
                "model": options.model,
                "seed": number,
                "steps": QUICK_STEPS if quick else STEPS,
                "held_out": QUICK_HELD_OUT if quick else HELD_OUT,
            }
            results.append(run(job))
            say(f"  {method} {side}: {results[-1]['tokens_per_s']:,.0f} tokens/s, loss {results[-1]['loss']:.4f}")
    rows = {peer: [_row(method, sides["ours"], sides[peer])] for peer in peers}
    if same:
        rows["defaults"].append(_row(f"{method}, {FLOAT32}", sides[FLOAT32], sides["defaults"]))
    return rows


def _row(name: str, ours: list[dict[str, Any]], peer: list[dict[str, Any]]) -> dict[str, Any]:
    ours = ours[: len(peer)]

    def middle(results: list[dict[str, Any]], key: str) -> float:
        return statistics.median(result[key] for result in results)

    rate, other = middle(ours, "tokens_per_s"), middle(peer, "tokens_per_s")
    sides = {"ours": ours, "peer": peer}
    return {
        "name": name,
        "ours": round(rate, 1),
        "peer": round(other, 1),
        "unit": "tokens/s",
        "ratio": round(rate / other, 2),
        "peak_memory_bytes": {side: max(result["peak"] for result in found) for side, found in sides.items()},
        "validation_loss": {
            side: round(statistics.mean(result["loss"] for result in found), 5) for side, found in sides.items()
        },
        "rounds": len(peer),
        # On a machine that others use too, processor time is the steadier measure.
        "ratio_of_processor_time": round(middle(ours, "tokens_per_cpu_s") / middle(peer, "tokens_per_cpu_s"), 2),
    }


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--child", help="(internal) one run, as JSON")
    options = parser.parse_args()
    if options.child:
        child(json.loads(options.child))
        return
    result: dict[str, Any] = {"machine": machine(), "versions": versions("torch", "transformers", "peft", "trl")}
    wanted = {"float32": ["workloads"], "bfloat16": ["workloads_bf16"], "both": list(PEERS)}[options.dtype]
    if importlib.util.find_spec("trl") is None:
        wanted = [key for key in wanted if key != "workloads_trl"]
    for method in ("lora", "full"):
        if options.only is None or method in options.only:
            say(f"{method}: ours, then {', '.join(PEERS[key] for key in wanted)}")
            found = compare(method, [PEERS[key] for key in wanted], options)
            for key in wanted:
                result.setdefault(key, []).extend(found[PEERS[key]])
    finish(result)


if __name__ == "__main__":
    main()
