"""The words that a task itself uses: corpus, inputs, references. What stands there is no spelling mistake."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property

from harness.tasks.task import Task

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case, without numbers and signs."""
    return _WORD.findall(text.lower())


class Vocabulary:
    """A set of words that is built when it is first asked: most runs have a classifier that does, checks have none."""

    def __init__(self, texts: Callable[[], Iterable[str]]) -> None:
        self._texts = texts

    @cached_property
    def words(self) -> frozenset[str]:
        found: set[str] = set()
        for text in self._texts():
            found.update(words_of(text))
        return frozenset(found)

    def __contains__(self, word: object) -> bool:
        return word in self.words


def task_texts(task: Task) -> Iterator[str]:
    """Everything that a task says: documents with titles, rendered inputs, references."""
    for document in task.corpus:
        yield document.title
        yield document.text
    yield from task.inputs.values()
    for example in (*task.train, *task.validation, *task.test):
        yield from example.references
