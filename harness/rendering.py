"""Turns an adaptation's prompt steps and a query into chat messages, leaving out what would leak the answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from typing import Any

from harness.adaptation import Adaptation, canonical_json
from harness.exceptions import LeakError
from harness.guard import blamed, expect, expect_hits, watched
from harness.plugins import Registered, Registry
from harness.types import Document, Draft, Example, Message, Passage, Query, Retriever

_FIELD = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")


def template_fields(template: str) -> list[str]:
    """The field names a template uses, in order."""
    return [match[1] for match in _FIELD.finditer(template) if match[1] is not None]


def fill(template: str, fields: Mapping[str, str]) -> str:
    """Replaces `{name}` once; `{{` and `}}` are literal braces. Braces inside the values stay untouched."""

    def value(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0][0]
        return str(fields.get(match[1], ""))

    return _FIELD.sub(value, template)


class Index:
    """A retriever built over the corpus, with a memory of what was asked. `label` names the retriever in errors."""

    def __init__(self, retriever: Retriever, documents: Sequence[Document], label: str = "the retriever") -> None:
        self.retriever, self.documents, self.label = retriever, documents, label
        self.memory: dict[tuple[str, int], list[tuple[int, float]]] = {}
        with watched(label, "building its index", documents=documents):
            retriever.build(documents)

    def search(self, texts: Sequence[str], k: int) -> list[list[tuple[int, float]]]:
        unknown = [text for text in dict.fromkeys(texts) if (text, k) not in self.memory]
        if unknown and self.documents:
            most = min(k, len(self.documents))
            with watched(self.label, "searching", queries=unknown):
                found = self.retriever.search(unknown, most)
            hits = expect_hits(self.label, found, len(unknown), most, len(self.documents))
            self.memory |= {(text, k): ranked for text, ranked in zip(unknown, hits, strict=True)}
        return [self.memory.get((text, k), []) for text in texts]


class Indexes:
    """Indexes by retriever settings: built when first needed, shared by all arms of a worker."""

    def __init__(self, registry: Registry, documents: Sequence[Document]) -> None:
        self.registry, self.documents = registry, documents
        self.built: dict[str, Index] = {}

    def get(self, retriever: Mapping[str, Any]) -> Index:
        key = canonical_json(dict(retriever))
        if key not in self.built:
            settings = {name: value for name, value in retriever.items() if name != "use"}
            self.built[key] = self.build(self.registry.get("retriever", retriever["use"]), settings, self.documents)
        return self.built[key]

    @staticmethod
    def build(entry: Registered, settings: dict[str, Any], documents: Sequence[Document]) -> Index:
        with blamed(entry.label, "starting"):
            retriever = entry.create(settings)
        return Index(retriever, documents, entry.label)


class Renderer:
    """Renders queries under one adaptation.

    `exclusions` maps an example's id to the ids that must not be shown to it: itself, its duplicates, its group.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        input_template: str,
        instruction: str,
        train: Sequence[Example],
        exclusions: Mapping[str, frozenset[str]],
        indexes: Indexes,
        labels: tuple[str, ...] = (),
    ) -> None:
        self.registry, self.indexes, self.labels = registry, indexes, labels
        self.input_template = input_template
        self.instruction = self._filled(instruction)
        self.train, self.exclusions = tuple(train), exclusions
        self._strategies: dict[str, Any] = {}

    def with_train(self, train: Sequence[Example]) -> Renderer:
        """The same renderer over other training examples; documents stay indexed."""
        other = copy(self)
        other.train = tuple(train)
        vars(other).pop("example_index", None)  # built from the examples
        return other

    def input(self, query: Query) -> str:
        return fill(self.input_template, query.fields)

    def strategy(self, use: str, settings: Mapping[str, Any]) -> Any:
        key = canonical_json([use, dict(settings)])
        if key not in self._strategies:
            self._strategies[key] = self.registry.get("strategy", use).create(dict(settings))
        return self._strategies[key]

    @cached_property
    def example_index(self) -> Index:
        """Lexical similarity between questions, for shots chosen by similarity."""
        documents = [Document(example.id, self.input(example.query)) for example in self.train]
        return Indexes.build(self.registry.get("retriever", "bm25"), {}, documents)

    def draft(self, adaptation: Adaptation, query: Query) -> Draft:
        excluded = self.exclusions.get(query.id, frozenset())
        view = _View(self, query, excluded)
        draft = Draft(input=self.input(query), instruction=self.instruction)
        for step in adaptation.prompt:
            label = self.registry.get("strategy", step.use).label
            doing = f"rendering '{query.id}'"
            with watched(label, doing, query=query, draft=draft):
                changed = self.strategy(step.use, step.settings).render(draft, query, view, step.state)
            draft = expect(label, doing, changed, Draft)
            self._refuse_leaks(draft, query, excluded, step.use)
        return draft

    def _refuse_leaks(self, draft: Draft, query: Query, excluded: frozenset[str], use: str) -> None:
        """A shot or passage that shows an excluded example's question and answer ends the trial."""
        leaked = [shot.example_id for shot in draft.shots if shot.example_id in excluded]
        if excluded and not leaked:
            own = draft.input.strip()
            leaked = [shot.example_id for shot in draft.shots if shot.input.strip() == own]
        if not leaked and excluded:
            shown = {passage.document_id for passage in draft.passages}
            leaked = [name for name in shown if excluded & self._stated.get(name, frozenset())]
        if leaked:
            raise LeakError(
                f"strategy '{use}' would show the answer of '{query.id}' in its own prompt (through '{leaked[0]}').",
                hint="Take shots from view.examples() or view.similar_examples(), and passages from view.search().",
            )

    @cached_property
    def _stated(self) -> dict[str, frozenset[str]]:
        return {document.id: frozenset(document.examples) for document in self.indexes.documents if document.examples}

    def with_instruction(self, draft: Draft, instruction: str) -> Draft | None:
        """The finished draft under another instruction, in which `{labels}` is filled as in the task's own; None where
        the draft has no instruction that it could replace."""
        changed = replace(draft, instruction=self._filled(instruction))
        same = not draft.instruction or self.messages(changed) == self.messages(draft)
        return None if same else changed

    def _filled(self, instruction: str) -> str:
        return fill(instruction, {"labels": ", ".join(self.labels)})

    def messages(self, draft: Draft) -> list[Message]:
        messages = [Message("system", draft.system)] if draft.system is not None else []
        for shot in draft.shots:
            messages.append(Message("user", _turn(draft, "", shot.input)))
            messages.append(Message("assistant", shot.target))
        messages.append(Message("user", _turn(draft, draft.context, draft.input)))
        return messages


def _turn(draft: Draft, context: str, text: str) -> str:
    turn = fill(draft.template, {"instruction": draft.instruction, "context": context, "input": text})
    return re.sub(r"\n{3,}", "\n\n", turn).strip() if not (context and draft.instruction) else turn.strip()


class _View:
    """A `RenderView` of one query, with its exclusions applied."""

    def __init__(self, renderer: Renderer, query: Query, excluded: frozenset[str]) -> None:
        self._renderer, self._query, self._excluded = renderer, query, excluded
        self.labels = renderer.labels

    def input(self, query: Query) -> str:
        return self._renderer.input(query)

    def examples(self) -> Sequence[Example]:
        if not self._excluded:
            return self._renderer.train
        return tuple(example for example in self._renderer.train if example.id not in self._excluded)

    def similar_examples(self, k: int) -> Sequence[Example]:
        train = self._renderer.train
        return self._allowed(
            self._renderer.example_index,
            k,
            lambda position: train[position].id not in self._excluded,
            lambda position, score, rank: train[position],
        )

    def search(self, retriever: Mapping[str, Any], k: int) -> Sequence[Passage]:
        index = self._renderer.indexes.get(retriever)
        documents = index.documents

        def passage(position: int, score: float, rank: int) -> Passage:
            document = documents[position]
            return Passage(document.id, document.title, document.text, score, rank)

        return self._allowed(index, k, lambda position: not self._excluded & set(documents[position].examples), passage)

    def _allowed(
        self, index: Index, k: int, allowed: Callable[[int], bool], make: Callable[[int, float, int], Any]
    ) -> Sequence[Any]:
        """The k best allowed hits: asks for more when exclusions took some away."""
        text = self._renderer.input(self._query)
        wanted = k
        while True:
            found = [hit for hit in index.search([text], wanted)[0] if allowed(hit[0])][:k]
            if len(found) == k or wanted >= len(index.documents):
                return [make(position, score, rank) for rank, (position, score) in enumerate(found, 1)]
            wanted = min(len(index.documents), wanted + max(k, len(self._excluded)))
