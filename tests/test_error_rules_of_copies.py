"""Rules that tell a copy of the given text from a piece of a passage, and both from an answer."""

from __future__ import annotations

import pytest

from harness.types import EvalContext
from tests.test_error_rules import labels

PASSAGE = (
    "Context:\nThe Otley mill made paper from rags until 1951. Two hundred women worked there. When wood came, the "
    "owner, Vera Otley, turned the halls into flats for the poor families of the town.\n\nQuestion: "
)
WHO = "Who turned the halls into flats?"
JOIN = "Join the two sentences.\nHe was ill. He went to work."
KINDS = ("refund", "question", "bug", "praise")
TURN = "<|im_end|>\n<|im_start|>"
MAIL = "Kinds: refund, question, bug, praise\nMail: The app closes whenever I press Save.\nKind:"


def found(text: str, reference: str, prompt: str, asked: str, *, task_labels=(), finish="stop") -> bool:
    context = EvalContext("generate", labels=task_labels, input=asked)
    return "copied_prompt" in labels(text, reference, prompt=prompt, context=context, finish=finish)


@pytest.mark.parametrize(
    ("text", "copied"),
    [
        ("The Otley mill turned the halls into flats.", False),  # three words of the passage, which are the answer
        ("The Otley mill made paper from rags until 1951.", True),
        ("The poor families of the town turned the halls into flats.", False),
        ("paper from rags until 1951\n\nThe answer is: paper from rags until 1951", False),  # five words, said twice
        ("Nobody turned the halls into flats.", False),
        ("The halls were not turned into flats.", False),
    ],
)
def test_a_piece_of_a_passage_in_the_words_of_the_question_is_an_answer(text, copied):
    assert found(text, "Vera", PASSAGE + WHO, WHO) is copied


@pytest.mark.parametrize(
    ("text", "copied"),
    [
        ("The two sentences are: He was ill. He went to work.", True),
        ("The two sentences are", False),  # only the instruction
        ("He was ill, but he went to work.", False),
    ],
)
def test_a_text_given_back_after_words_of_the_instruction(text, copied):
    assert found(text, "He was ill, but he went to work.", JOIN, "He was ill. He went to work.") is copied


def test_a_list_of_labels_is_no_copy():
    assert not found("refund, question, bug, praise\n\nI", "bug", MAIL, "The app closes.", task_labels=KINDS)
    assert found("The app closes whenever I press", "praise", MAIL, "The app closes whenever I press Save.",
                 task_labels=KINDS, finish="length")  # fmt: skip


def test_the_beginning_of_the_line_that_asks_is_a_copy_in_a_label_task():
    prompt = "Review: a fine film\nThe sentiment in one word (good or bad):"
    assert found("The sentiment in one word:", "good", prompt, "a fine film", task_labels=("good", "bad"))
    assert not found("The sentiment in one word: bad", "good", prompt, "a fine film", task_labels=("good", "bad"))


def test_one_word_mended_is_a_beginning():
    mend = "Correct the mistakes.\nThe childen were playng in the gardn."
    wanted, asked = "The children were playing in the garden.", mend.partition("\n")[2]
    assert not found("The childen were playng in the garden.", wanted, mend, asked)
    assert found("The childen were playng in the gardn.", wanted, mend, asked)


def test_function_words_of_any_language_claim_nothing():
    asked = "Was ist die Hauptstadt von Kanada? Bitte antworte in einem Satz."
    assert found("Ich habe die Hauptstadt von Kanada. Bitte antworte in einem Satz.", "Ottawa", asked, asked)
    assert not found("Ich liebe die Hauptstadt von Kanada. Bitte antworte in einem Satz.", "Ottawa", asked, asked)


@pytest.mark.parametrize(
    ("text", "copied"),
    [
        ("The cake needs butter, sugar, and eggs.", False),  # a short passage, given as the answer
        ("The oven is hot.", True),  # the answer of a worked example
    ],
)
def test_a_short_passage_is_a_wrong_answer_and_an_example_a_copy(text, copied):
    shots = f"<|im_start|>user\nWhat is hot?{TURN}assistant\nThe oven is hot.{TURN}user\n"
    prompt = f"{shots}Context:\nThe cake needs butter, sugar and eggs.\n\nQuestion: Who baked it?<|im_end|>\n"
    assert found(text, "Ann", prompt, "Who baked it?") is copied


def test_what_the_prompt_quotes_given_back_is_a_copy():
    asked = "Translate 'good morning' into French."
    assert found("'Good morning.'", "bonjour", asked, asked)
    assert not found("Good evening.", "bonjour", asked, asked)


@pytest.mark.parametrize(
    ("text", "categories"),
    [
        ("A) hen\n\nThe answer is D) dolphin.", {"off_label", "format"}),
        ("D) dolphin\n\nThe answer is A) hen.", {"off_label"}),
        ("The answer is not A) hen. It is A, B or D.", {"off_label"}),
        ("D: dolphin\nA: hen", {"off_label", "format"}),
        ("A) hen\nB) cat\nD) dolphin", {"off_label"}),
    ],
)
def test_the_right_label_called_the_answer_among_others(text, categories):
    context = EvalContext("generate", labels=("A", "B", "C", "D"), input="Which of these can swim best?")
    assert labels(text, "D", context=context) & {"off_label", "format"} == categories


@pytest.mark.parametrize(
    ("text", "copied"),
    [
        ("The fruit is a banana.", True),
        ("The fruit is a banana tree.", False),
        ("The fruit has a peel.", False),
    ],
)
def test_the_input_introduced_by_a_few_words(text, copied):
    assert found(text, "tropical", "Classify the fruit.\nBanana", "Banana") is copied


def test_yes_before_the_answer_of_an_example_is_no_answer():
    prompt = (
        f"<|im_start|>user\nWho wrote Hamlet?{TURN}assistant\nIt was written by Shakespeare.{TURN}user\nWas ist kalt?"
    )
    assert found("Yes, it was written by Shakespeare.", "Eis", prompt, "Was ist kalt?")
    assert not found("Yes, it was painted by Shakespeare.", "Eis", prompt, "Was ist kalt?")


@pytest.mark.parametrize(
    ("text", "copied"),
    [
        ("A tool used to view small objects is a **camera", False),
        ("A tool used to view small objects is", True),
        ("A tool used to view small objects", True),
    ],
)
def test_a_restated_question_that_was_cut_off_in_its_answer(text, copied):
    asked = "A tool used to view small objects is a ..."
    assert found(text, "microscope", f"Complete: {asked}", asked, finish="length") is copied
