"""Training examples as the model sees them: the prompt that an arm's chain builds, and the tokens the loss reads."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from harness.adaptation import Adaptation, ModelState, Readout
from harness.config import Arm
from harness.exceptions import HarnessError, nearest
from harness.rendering import Indexes, Renderer
from harness.runner.prepare import Prepared
from harness.tasks.task import read_worker_task, write_worker_task


@dataclass(frozen=True)
class RenderedExample:
    """`prompt` is seen and not trained on; `trained` lists the target's tokens as text, end of turn included."""

    arm: str
    item_id: str
    prompt: str
    trained: tuple[str, ...]
    prompt_tokens: int


def rendered_examples(prepared: Prepared, arm_name: str | None, count: int) -> list[RenderedExample]:
    """The first `count` training examples of one arm, or of every arm. Loads the tokenizer, never the model."""
    from transformers import AutoTokenizer

    from harness.models.chat import ChatFormat
    from harness.models.loading import converted_folder
    from harness.runner.context import AdaptContext

    experiment = prepared.experiment
    arms = [arm for arm in experiment.arms if arm_name in (None, arm.name)]
    if not arms:
        names = [arm.name for arm in experiment.arms]
        raise HarnessError(f"no arm '{arm_name}'.", hint=nearest(str(arm_name), names))
    chat = ChatFormat(AutoTokenizer.from_pretrained(converted_folder(prepared.source), local_files_only=True))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "task.json"
        write_worker_task(prepared.task, path)
        task = read_worker_task(path)
    renderer = Renderer(
        prepared.registry,
        input_template=experiment.task.input,
        instruction=experiment.task.instruction,
        train=task.train,
        exclusions=task.exclusions,
        indexes=Indexes(prepared.registry, task.corpus),
        labels=task.labels,
    )
    engine: Any = SimpleNamespace(loaded=SimpleNamespace(chat=chat, folder="", tokenizer=chat.tokenizer))
    result = []
    for arm in arms:
        adaptation = _prompt_part(
            prepared,
            arm,
            lambda use: AdaptContext(
                use=use,
                task=task,
                engine=engine,
                renderer=renderer,
                seed=experiment.seeds[0],
                workdir=Path(),
                emit=_ignore,
            ),
        )
        for example in task.train[:count]:
            encoded = chat.encode(renderer.messages(renderer.draft(adaptation, example.query)))
            target = chat.encode_reply(example.references[0])
            pieces = tuple(chat.tokenizer.decode([token]) for token in target)
            result.append(RenderedExample(arm.name, example.id, encoded.text, pieces, len(encoded.ids)))
    return result


def _ignore(kind: str, value: Any) -> None:
    return None


def _prompt_part(prepared: Prepared, arm: Arm, context_for: Any) -> Adaptation:
    """The adaptation that the arm's first weight-changing strategy starts from."""
    adaptation = Adaptation(ModelState(prepared.source.digest), readout=Readout(prepared.task.readout))
    for use in arm.chain:
        entry = prepared.registry.get("strategy", use.use)
        changes = getattr(entry.spec, "changes", "prompt")
        if changes == "model":
            break
        if changes == "readout":  # how the answer is read leaves the prompt alone
            continue
        adaptation = entry.create(use.settings).adapt(adaptation, context_for(use))
    return adaptation
