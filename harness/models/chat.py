"""One chat template for every arm, and text from data that can never become a special token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.types import Message

# Private-use characters: no template alters them, no data is rendered through the template.
_MARK = "\ue000{}\ue001"


@dataclass(frozen=True)
class Encoded:
    """A prompt as token ids and as the text that was sent."""

    ids: tuple[int, ...]
    text: str


class ChatFormat:
    """Renders messages with the tokenizer's template around the contents, and encodes the two apart.

    The template is rendered with marks in place of contents, once per sequence of roles; its own pieces are encoded
    with special tokens, the contents without: `<|im_end|>` in a document stays text. A tokenizer without a template
    gets a plain one (`note` says so).
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.note = "" if tokenizer.chat_template else "the tokenizer has no chat template: plain text turns are used"
        self._pieces: dict[tuple[str, ...], list[str]] = {}
        self._template_ids: dict[str, tuple[int, ...]] = {}
        self.end_ids = self._end_ids()

    def pieces(self, roles: tuple[str, ...]) -> list[str]:
        """Template text before, between and after the contents of messages with these roles, ready for a reply."""
        if roles not in self._pieces:
            marks = [_MARK.format(number) for number in range(len(roles))]
            rendered = self._render([{"role": role, "content": mark} for role, mark in zip(roles, marks, strict=True)])
            pieces, rest = [], rendered
            for mark in marks:
                before, found, rest = rest.partition(mark)
                if not found:
                    raise ValueError(f"the chat template drops or reorders messages with roles {roles}")
                pieces.append(before)
            self._pieces[roles] = [*pieces, rest]
        return self._pieces[roles]

    def _render(self, messages: list[dict[str, str]]) -> str:
        if self.tokenizer.chat_template:
            return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        start = self.tokenizer.bos_token or ""
        return start + "".join(f"{message['content']}\n" for message in messages)

    def encode_text(self, text: str) -> tuple[int, ...]:
        """Ids of plain text: nothing in it is special."""
        return tuple(self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])

    def _encode_template(self, text: str) -> tuple[int, ...]:
        if text not in self._template_ids:
            self._template_ids[text] = tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        return self._template_ids[text]

    def encode(self, messages: Sequence[Message]) -> Encoded:
        """The prompt up to where the reply starts."""
        pieces = self.pieces(tuple(message.role for message in messages))
        ids, text = list(self._encode_template(pieces[0])), pieces[0]
        for message, piece in zip(messages, pieces[1:], strict=True):
            ids += self.encode_text(message.content)
            ids += self._encode_template(piece)
            text += message.content + piece
        return Encoded(tuple(ids), text)

    def encode_reply(self, text: str) -> tuple[int, ...]:
        """A reply's ids with the token that ends the turn: the target of training and the continuation of a choice."""
        return (*self.encode_text(text), self.end_ids[0])

    def _end_ids(self) -> tuple[int, ...]:
        """Ids that end a reply, the template's own end-of-turn token first."""
        ids = [self.tokenizer.eos_token_id] if self.tokenizer.eos_token_id is not None else []
        if self.tokenizer.chat_template:
            after_reply = self._after_reply()
            special = set(self.tokenizer.all_special_ids)
            ids = [token for token in self._encode_template(after_reply) if token in special][:1] + ids
        if not ids:
            raise ValueError("the tokenizer has no end-of-sequence token")
        return tuple(dict.fromkeys(ids))

    def _after_reply(self) -> str:
        messages = [{"role": "user", "content": _MARK.format(0)}, {"role": "assistant", "content": _MARK.format(1)}]
        rendered = str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=False))
        return rendered.partition(_MARK.format(1))[2]
