"""The labels of a task as replies of the model, and the scores by which one of them is chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.models.chat import ChatFormat
from harness.models.requests import ContinuationScore, Decoding
from harness.readout import Choose, calibrated, normalised


class Choice:
    """One readout "choose" over labels. `settings` are the readout's: the options of `harness.readout.Choose`, and
    under "prior" ln p_cf of each label where the readout has been calibrated."""

    def __init__(self, labels: Sequence[str], chat: ChatFormat, settings: Mapping[str, Any]) -> None:
        self.labels = tuple(labels)
        self.replies = tuple(chat.encode_reply(label) for label in labels)
        self.prior: Mapping[str, float] | None = settings.get("prior")
        self.options = Choose(**{name: value for name, value in settings.items() if name != "prior"})

    @property
    def room(self) -> int:
        """Tokens of the longest reply."""
        return max(map(len, self.replies), default=0)

    @property
    def decoding(self) -> Decoding:
        """Greedy, and only labels can be spelt."""
        return Decoding(choices=tuple(zip(self.labels, self.replies, strict=True)))

    def scores(self, found: Sequence[ContinuationScore]) -> dict[str, float]:
        """The final scores of the labels: by length, then calibrated."""
        pairs = zip(self.labels, found, strict=True)
        scores = {label: normalised(one.logprob, label, one.tokens, self.options.normalise) for label, one in pairs}
        return scores if self.prior is None else calibrated(scores, self.prior)
