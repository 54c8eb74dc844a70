"""Fingerprints of task data: the same items in the same order, and only those, give the same text."""

from __future__ import annotations

from collections.abc import Sequence

from harness.adaptation import digest_of
from harness.types import Document, Example


def fingerprint(examples: Sequence[Example]) -> str:
    """SHA-256 over everything in the examples, in their order."""
    return digest_of(
        [[e.query.id, dict(e.query.fields), e.query.group, list(e.references), list(e.evidence)] for e in examples]
    )


def fingerprint_documents(documents: Sequence[Document]) -> str:
    """SHA-256 over everything in the documents, in their order."""
    return digest_of([[d.id, d.title, d.text, list(d.examples)] for d in documents])
