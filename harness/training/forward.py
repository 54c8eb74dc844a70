"""The loss of a few sequences under a trainable model, with as little arithmetic as the model allows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from harness.exceptions import HarnessError
from harness.models.engine_model import prefix_cache
from harness.models.requests import TrainSequence
from harness.models.variant import Variant
from harness.training import packing
from harness.training.fast import fast_layers
from harness.training.head import head_loss
from harness.training.trainable import Trainable

# Configuration entries by which a model changes its logits after the vocabulary head.
_LOGIT_CHANGES = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier")


class Forward:
    """Computes losses. `packed`: sequences share one row without padding; else they are padded rows under the model's
    own attention. `why_plain` says why not packed."""

    def __init__(self, trainable: Trainable) -> None:
        self.trainable = trainable
        self.model = trainable.model
        self.embedding = self.model.get_input_embeddings()
        self.head = self.model.get_output_embeddings()
        self.device = self.embedding.weight.device
        config = self.model.config.get_text_config()
        self.apart = (
            self.head is not None
            and self.model.get_decoder() is not self.model
            and all(getattr(config, name, None) in (None, 1, 1.0) for name in _LOGIT_CHANGES)
        )
        self.packed = False
        self.why_plain = ""
        self._own_attention = self.model.config._attn_implementation

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """The model under its own attention inside this context, for the engines that answer with it."""
        self.model.set_attn_implementation(self._own_attention)
        try:
            yield
        finally:
            if self.packed:
                self.model.set_attn_implementation(packing.IMPLEMENTATION)

    @contextmanager
    def running(self, sample: Sequence[TrainSequence]) -> Iterator[Forward]:
        """Packs where the model can: it takes part in transformers' attention interface, and on `sample` the packed
        loss equals the plain one. Lean layers run inside."""
        self.packed = False
        stack = ExitStack()
        try:
            self.why_plain = self._try_packed(sample)
            self.packed = not self.why_plain
            if not self.packed:
                self.model.set_attn_implementation(self._own_attention)
            stack.enter_context(fast_layers(self.model))
            yield self
        finally:
            stack.close()
            self.packed = False
            self.model.set_attn_implementation(self._own_attention)

    def _try_packed(self, sample: Sequence[TrainSequence]) -> str:
        if self.device.type != "cpu":
            return "packed attention runs on processors only"
        if not self.apart:
            return "its decoder and vocabulary head cannot be called apart"
        mode = self.model.training
        self.model.eval()
        try:
            with torch.no_grad():
                plain, count = self._plain_loss(sample)
                packing.register()
                self.model.set_attn_implementation(packing.IMPLEMENTATION)
                if self.model.config._attn_implementation != packing.IMPLEMENTATION:
                    return "it takes no part in transformers' attention interface"
                packed, _ = self._packed_loss(sample)
        except (HarnessError, RuntimeError, TypeError, ValueError, IndexError) as error:
            return str(error).splitlines()[0]
        finally:
            self.model.train(mode)
        # In bfloat16 two right answers differ by some hundredths; a wrong mask or position costs whole nats.
        allowed = 1e-4 if self.embedding.weight.dtype == torch.float32 else 0.05 + 0.05 * float(plain) / max(1, count)
        gap = abs(float(plain - packed)) / max(1, count)
        return f"packed and plain losses differ by {gap:.2g}" if gap > allowed else ""

    def loss(self, sequences: Sequence[TrainSequence]) -> tuple[Tensor, int]:
        """Sum of -ln p(target token) over all target tokens, float32 with gradient, and their number."""
        return self._packed_loss(sequences) if self.packed else self._plain_loss(sequences)

    def _packed_loss(self, sequences: Sequence[TrainSequence]) -> tuple[Tensor, int]:
        root, prefix = self.trainable.root(), self.trainable.prefix()
        variant = Variant(self.model, root, prefix)
        batch = packing.pack(sequences, variant.root_length, self.device, silent=prefix is not None)
        inputs: dict[str, Any] = {"input_ids": batch.ids[None]}
        if root is not None:
            embeds = self.embedding(batch.ids)
            inputs = {"inputs_embeds": torch.cat([root.to(embeds.dtype), embeds])[None]}
        if prefix is not None:  # any tokens hold its places: their key-values are not used, and nothing else of them is
            places = batch.ids.new_zeros(variant.root_length)
            inputs = {"input_ids": torch.cat([places, batch.ids])[None], packing.PREFIX: prefix}
        output = self.model.get_decoder()(
            **inputs, position_ids=batch.positions[None], use_cache=False, **{packing.LAYOUT: batch.layout}
        )
        hidden = output.last_hidden_state[0].index_select(0, batch.read)
        return head_loss(self.head, hidden, batch.targets), len(batch.targets)

    def _plain_loss(self, sequences: Sequence[TrainSequence]) -> tuple[Tensor, int]:
        """Rows padded on the right: under a causal mask padding changes nothing that is read, so no mask is needed."""
        root, prefix = self.trainable.root(), self.trainable.prefix()
        shift = 0 if root is None else len(root)
        whole = [(*sequence.prompt, *sequence.target) for sequence in sequences]
        width = max(map(len, whole)) - 1
        ids = torch.tensor([[*row[:-1], *[0] * (width + 1 - len(row))] for row in whole], device=self.device)
        row_index, column, targets = [], [], []
        for number, (sequence, full) in enumerate(zip(sequences, whole, strict=True)):
            for place in range(max(len(sequence.prompt), 1 - shift), len(full)):
                row_index.append(number)
                column.append(shift + place - 1)
                targets.append(full[place])
        inputs: dict[str, Any] = {"input_ids": ids}
        if root is not None:
            embeds = self.embedding(ids)
            inputs = {"inputs_embeds": torch.cat([root.to(embeds.dtype).expand(len(ids), -1, -1), embeds], dim=1)}
        before = 0 if prefix is None else prefix.shape[3]
        caching: dict[str, Any] = {"use_cache": False}
        if prefix is not None:
            cache = prefix_cache(prefix.to(self.embedding.weight.dtype), len(ids))
            caching = {"use_cache": True, "past_key_values": cache}
        positions = torch.arange(before, before + shift + width, device=self.device)[None].expand(len(ids), -1)
        wanted = torch.tensor(targets, device=self.device, dtype=torch.long)
        if self.apart:
            output = self.model.get_decoder()(**inputs, position_ids=positions, **caching)
            return head_loss(self.head, output.last_hidden_state[row_index, column], wanted), len(targets)
        keep = sorted(set(column))
        place_of = {value: index for index, value in enumerate(keep)}
        kept = torch.tensor(keep, device=self.device)
        output = self.model(**inputs, position_ids=positions, logits_to_keep=kept, **caching)
        logits = output.logits[row_index, [place_of[value] for value in column]]
        return torch.nn.functional.cross_entropy(logits.float(), wanted, reduction="sum"), len(targets)
