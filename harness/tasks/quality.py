"""What is wrong with task data, in short warnings; and which documents give away a question with its answer."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from harness.tasks.split import folded, input_of
from harness.types import Document, Example

LONG_INPUT_WORDS = 1500
IMBALANCE = 0.8
FEWEST_FOR_IMBALANCE = 20
NAMED = 3
_PREFIX = 5

Splits = Mapping[str, Sequence[Example]]


def check_quality(
    splits: Splits, corpus: Sequence[Document] = (), inputs: Mapping[str, str] | None = None
) -> list[str]:
    """Warnings, each of one line with the ids concerned. `inputs` maps ids to rendered inputs."""
    checks = (
        _repeated_ids(splits, corpus),
        _leaks(splits, inputs),
        _conflicts(splits, inputs),
        _empty_references(splits),
        _groups_in_two_splits(splits),
        _long_inputs(splits, inputs),
        _imbalance(splits),
        _unknown_evidence(splits, corpus),
    )
    return [warning for check in checks for warning in check]


def unseen_label_warnings(labels: Sequence[str]) -> Iterator[str]:
    """Labels that no training example has: what is trained will hardly ever answer them."""
    if labels:
        quoted = [f"'{label}'" for label in labels]
        yield f"{_items(len(labels), 'label')} without a training example: {_named(quoted)}."


def _named(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - NAMED} more" if len(texts) > NAMED else ""
    return ", ".join(texts[:NAMED]) + more


def _items(count: int, what: str = "item") -> str:
    return f"1 {what}" if count == 1 else f"{count} {what}s"


def _all(splits: Splits) -> Iterator[Example]:
    for examples in splits.values():
        yield from examples


def _repeated_ids(splits: Splits, corpus: Sequence[Document]) -> Iterator[str]:
    for what, ids in (("item", [e.id for e in _all(splits)]), ("document", [d.id for d in corpus])):
        if twice := [f"'{name}'" for name, count in Counter(ids).items() if count > 1]:
            yield f"{_items(len(twice), f'{what} id')} used more than once: {_named(twice)}."


def _leaks(splits: Splits, inputs: Mapping[str, str] | None) -> Iterator[str]:
    taught: dict[str, str] = {}
    for example in splits.get("train", ()):
        taught.setdefault(folded(input_of(example, inputs)), example.id)
    for name in ("test", "validation"):
        pairs = [(e.id, taught.get(folded(input_of(e, inputs)))) for e in splits.get(name, ())]
        if seen := [f"'{item}' is train '{source}'" for item, source in pairs if source is not None]:
            yield f"{_items(len(seen), f'{name} input')} also in train: {_named(seen)}."


def _conflicts(splits: Splits, inputs: Mapping[str, str] | None) -> Iterator[str]:
    """The same input (but for case and space) with answers that have nothing in common."""
    asked: dict[str, list[Example]] = defaultdict(list)
    for example in _all(splits):
        asked[" ".join(input_of(example, inputs).casefold().split())].append(example)
    found = []
    for examples in asked.values():
        first = {folded(text) for text in examples[0].references}
        for other in examples[1:]:
            if first.isdisjoint(folded(text) for text in other.references):
                found.append(f"'{examples[0].id}' and '{other.id}'")
                break
    if found:
        yield f"{_items(len(found), 'input')} with conflicting gold: {_named(found)}."


def _empty_references(splits: Splits) -> Iterator[str]:
    for name, examples in splits.items():
        empty = [f"'{e.id}'" for e in examples if not e.references or not e.references[0].strip()]
        if empty:
            yield f"{_items(len(empty), f'{name} item')} without an answer: {_named(empty)}."


def _groups_in_two_splits(splits: Splits) -> Iterator[str]:
    where: dict[str, dict[str, str]] = defaultdict(dict)
    for name, examples in splits.items():
        for example in examples:
            if example.query.group is not None:
                where[example.query.group].setdefault(name, example.id)
    torn = [
        f"'{group}' ({', '.join(f'{split}: {item!r}' for split, item in homes.items())})"
        for group, homes in where.items()
        if len(homes) > 1
    ]
    if torn:
        yield f"{_items(len(torn), 'group')} in more than one split: {_named(torn)}."


def _long_inputs(splits: Splits, inputs: Mapping[str, str] | None) -> Iterator[str]:
    lengths = [(len(input_of(example, inputs).split()), example.id) for example in _all(splits)]
    if long := [f"'{item}' ({words} words)" for words, item in lengths if words > LONG_INPUT_WORDS]:
        yield f"{_items(len(long), 'input')} longer than {LONG_INPUT_WORDS} words: {_named(long)}."


def _imbalance(splits: Splits) -> Iterator[str]:
    """One answer that dominates: a model that always gives it looks good."""
    for name, examples in splits.items():
        if len(examples) < FEWEST_FOR_IMBALANCE:
            continue
        answers = Counter(example.references[0] for example in examples if example.references)
        for answer, count in answers.most_common(1):
            if count / len(examples) >= IMBALANCE:
                example_id = next(e.id for e in examples if e.references and e.references[0] == answer)
                yield f"{name}: {count} of {len(examples)} answers are '{answer[:40]}' (first: '{example_id}')."


def _unknown_evidence(splits: Splits, corpus: Sequence[Document]) -> Iterator[str]:
    if not corpus:
        return
    known = {document.id for document in corpus}
    lost = [f"'{e.id}' names '{d}'" for e in _all(splits) for d in e.evidence if d not in known]
    if lost:
        yield f"{_items(len(lost), 'evidence id')} not in the corpus: {_named(lost)}."


def _questions(example: Example, inputs: Mapping[str, str] | None) -> set[str]:
    """Folded texts that are the question: the whole input and, where it quotes but one field, that field alone.

    A template around the question ("Question: ...") must not hide that a document holds the question.
    """
    text = input_of(example, inputs)
    quoted = sorted((value for value in example.query.fields.values() if value and value in text), key=len)
    found = {folded(text)}
    if quoted and all(value in quoted[-1] for value in quoted):
        found.add(folded(quoted[-1]))
    return found - {""}


def mark_answers_in_corpus(
    corpus: Sequence[Document], examples: Sequence[Example], inputs: Mapping[str, str] | None = None
) -> tuple[Document, ...]:
    """Documents with `examples` set to the ids whose whole question and an answer they contain (see leave-one-out)."""
    wanted: dict[str, dict[tuple[str, ...], list[tuple[str, Example]]]] = defaultdict(lambda: defaultdict(list))
    for example in examples:
        for question in _questions(example, inputs):
            start = tuple(question.split()[:_PREFIX])
            wanted[start[0]][start].append((f" {question} ", example))
    return tuple(_marked(document, wanted) for document in corpus) if wanted else tuple(corpus)


def _marked(
    document: Document, wanted: Mapping[str, Mapping[tuple[str, ...], Sequence[tuple[str, Example]]]]
) -> Document:
    text = folded(f"{document.title}\n{document.text}")
    words = text.split()
    if wanted.keys().isdisjoint(words):
        return document
    padded = f" {text} "
    found = dict.fromkeys(document.examples)
    for position, word in enumerate(words):
        starts = wanted.get(word)
        if starts is None:
            continue
        for length in range(1, _PREFIX + 1):
            for question, example in starts.get(tuple(words[position : position + length]), ()):
                answers = (folded(reference) for reference in example.references)
                if question in padded and any(answer and f" {answer} " in padded for answer in answers):
                    found[example.id] = None
    return replace(document, examples=tuple(found)) if len(found) > len(document.examples) else document
