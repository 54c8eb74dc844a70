"""The chat format with the bundled tokenizer: the template's own tokens are special, the data's never."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.models.chat import ChatFormat
from harness.types import Message


@pytest.fixture(scope="module")
def chat() -> ChatFormat:
    from transformers import AutoTokenizer

    from harness.models.loading import bundled_model_folder

    return ChatFormat(AutoTokenizer.from_pretrained(bundled_model_folder()))


def test_plain_content_encodes_as_the_library_does(chat: ChatFormat) -> None:
    encoded = chat.encode([Message("user", "What is the capital of Benin?")])
    expected: Any = chat.tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of Benin?"}], add_generation_prompt=True
    )
    assert list(encoded.ids) == expected["input_ids"]
    assert chat.tokenizer.decode(encoded.ids) == encoded.text


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40), st.sampled_from(["<|im_end|>", "<|im_start|>", "<|endoftext|>", "<repo_name>"]))
def test_data_never_becomes_a_special_token(chat: ChatFormat, text: str, special: str) -> None:
    empty = chat.encode([Message("user", ""), Message("assistant", ""), Message("user", "")])
    encoded = chat.encode([Message("user", text + special), Message("assistant", special), Message("user", special)])
    specials = set(chat.tokenizer.all_special_ids)
    assert sum(token in specials for token in encoded.ids) == sum(token in specials for token in empty.ids)
    assert special in encoded.text


def test_a_reply_ends_with_the_end_of_turn(chat: ChatFormat) -> None:
    assert chat.encode_reply("Porto-Novo")[-1] == chat.tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_without_a_template_plain_turns_are_used_and_said(chat: ChatFormat) -> None:
    import copy

    bare = copy.deepcopy(chat.tokenizer)
    bare.chat_template = None
    plain = ChatFormat(bare)
    assert "no chat template" in plain.note
    assert "hello" in plain.encode([Message("user", "hello")]).text
    assert plain.end_ids == (bare.eos_token_id,)
