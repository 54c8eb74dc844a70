"""Error categories: what they mean, who is to blame, what to try next, and which of several is the primary one.

Categories are data; classifiers (plugins) find them. A plugin's own categories need no entry here: they rank just
before the general ones.

When is a prediction correct? When it satisfies the task:
- label tasks: the answer is the gold label (see the metric `accuracy`);
- other tasks: it equals a reference after normalisation (and is JSON where that is, and a number of the same sign); or
  it contains one ("Buddhism" for "Buddhist", too, but no number on the way to another result), is not the whole input
  given back, is neither much longer (three times and ten words) nor repetitive, and the prompt asked for no closed form
  ("one word only").
So "The capital is Paris." is correct for "Paris"; it is not where one word was asked for, and neither is a page with
"Paris" somewhere in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.exceptions import PluginError, nearest
from harness.types import ErrorLabel

Blame = Literal["model", "retrieval", "data", "harness"]


@dataclass(frozen=True)
class Category:
    """One kind of outcome. `severity`: 0 none, 1 the right answer in the wrong form, 2 a wrong answer, 3 no usable
    answer at all. `blame` is where the remedy lies: "model" is the arm's model, prompt and decoding together."""

    name: str
    blame: Blame
    severity: int
    meaning: str
    remedy: str


# In the order of their claim to be the primary category: what kept the answer from being judged; right; what would have
# spoilt any answer; the cause before the symptom; wrong content before wrong form.
CATEGORIES: tuple[Category, ...] = (
    Category(
        "harness_error",
        "harness",
        3,
        "The harness failed on this item: there is no answer to judge. It is never counted as a wrong answer.",
        "Read the error with `harness show`, then run again: only unfinished items are repeated.",
    ),
    Category(
        "no_reference",
        "data",
        3,
        "The item has no reference, so that no answer to it can be right or wrong.",
        "Give the item a reference, or take it out of the test data.",
    ),
    Category("correct", "model", 0, "The answer satisfies the task.", ""),
    Category(
        "overflow",
        "model",
        3,
        "The arm's own prompt did not fit the model: no answer was made, and that counts against the arm.",
        "Use fewer or shorter shots and passages, or a model with a longer context.",
    ),
    Category(
        "empty",
        "model",
        3,
        "The answer is nothing but spaces, punctuation and invisible characters.",
        "Look at the raw text: a stop string or a readout that cuts too early is the usual reason.",
    ),
    Category(
        "repetitive",
        "model",
        3,
        "The answer runs in a loop: the same words, phrases or characters, again and again.",
        "Stop at the line's end, lower max_new_tokens, or train on short targets.",
    ),
    Category(
        "copied_prompt",
        "model",
        3,
        "The answer is for the most part copied from the prompt, and the right answer is not in it.",
        "Separate instruction and input more clearly, show worked examples, or fine-tune.",
    ),
    Category(
        "retrieval_miss",
        "retrieval",
        2,
        "The answer is not right, and none of the passages that the model was shown contains a reference.",
        "Raise k, change the retriever or the documents' form; no training of the model mends this.",
    ),
    Category(
        "refusal",
        "model",
        2,
        "The model declines to answer, or says that it cannot know.",
        "Say in the instruction that an answer is always wanted, show worked examples, or supply the facts (rag).",
    ),
    Category(
        "wrong_language",
        "model",
        2,
        "The answer is in another language than the task.",
        "Name the language in the instruction, show worked examples, or fine-tune.",
    ),
    Category(
        "truncated",
        "model",
        2,
        "The token limit ended the answer in the middle of a sentence.",
        "Raise max_new_tokens, or ask for (or train on) shorter answers.",
    ),
    Category(
        "off_label",
        "model",
        2,
        "The answer is none of the task's labels, and does not name exactly one of them.",
        'Use readout = "choose", list the labels in the instruction, or show worked examples.',
    ),
    Category(
        "missing_part",
        "model",
        2,
        "The reference has several parts, of which the answer gives some but not all.",
        "Ask for all parts, show worked examples with several, or raise max_new_tokens.",
    ),
    Category(
        "numeric",
        "model",
        2,
        "One number was asked for, and the answer's number is another one.",
        "Supply the fact (rag); for arithmetic, let the model reason first and read the last number.",
    ),
    Category(
        "unsupported",
        "model",
        2,
        "Passages with the answer were shown, but the answer is wrong and most of its words stand in neither passages "
        "nor question.",
        "Tell the model to answer from the passages only, or train on prompts with passages (rag, then lora).",
    ),
    Category(
        "partially_correct",
        "model",
        2,
        "The right answer is not there, but most words of the answer and of a reference are the same.",
        "Read some: references that are too narrow are as usual a reason as answers that are too vague.",
    ),
    Category(
        "wrong_answer",
        "model",
        2,
        "The right answer is not in the text.",
        "Supply the knowledge (rag) or train it in (lora, full_finetune).",
    ),
    Category(
        "verbose",
        "model",
        1,
        "The answer goes on when what was asked for is said: it is much longer than every reference.",
        "Ask for a short answer, show worked examples, stop at the line's end, or fine-tune on short targets.",
    ),
    Category(
        "format",
        "model",
        1,
        "The right answer is in the text, but not in the form that was asked for.",
        "Describe the form, show worked examples, constrain the readout, or fine-tune.",
    ),
    Category(
        "misspelled",
        "model",
        1,
        "Words of the answer are misspelt: not in the dictionary nor in the task's texts, and nearly a word that is.",
        "Correct them afterwards (repair), choose among known answers (constrain), or use a larger model.",
    ),
    Category(
        "unclassified",
        "harness",
        0,
        "No classifier said anything about the prediction.",
        "Use a classifier that covers this kind of task.",
    ),
)

ORDER: tuple[str, ...] = tuple(category.name for category in CATEGORIES)
_BY_NAME = {category.name: category for category in CATEGORIES}
_RANK = {name: position for position, name in enumerate(ORDER)}
# Categories that say that the right answer is not there.
WRONG = frozenset({"wrong_answer", "partially_correct", "missing_part", "numeric", "off_label", "unsupported"})
_FORM = ("verbose", "format")


def category(name: str) -> Category:
    """The category of that name; raises PluginError with the nearest name."""
    if name not in _BY_NAME:
        raise PluginError(f"unknown error category '{name}'.", hint=nearest(name, ORDER))
    return _BY_NAME[name]


def blame(name: str) -> Blame:
    """Who is to blame; a plugin's own category, unknown here, blames the model."""
    return _BY_NAME[name].blame if name in _BY_NAME else "model"


def primary(labels: Sequence[ErrorLabel]) -> str:
    """The one category that stands for a prediction: the first of its categories in `ORDER`.

    One exception: an answer that holds what was asked for and was cut off afterwards is verbose or out of form, not
    truncated, because a higher token limit would not mend it. No labels at all are "unclassified".
    """
    names = dict.fromkeys(label.category for label in labels)
    if "truncated" in names and any(form in names for form in _FORM) and not WRONG & names.keys():
        del names["truncated"]
    # min keeps the first of equals: unknown categories rank together, in the order they were found.
    unknown = _RANK["partially_correct"] - 0.5
    return min(names, key=lambda name: _RANK.get(name, unknown), default="unclassified")
