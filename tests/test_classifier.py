"""Hidden states as features, the classifier on them, and documents as blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from training_models import lora, prefix, randomise, sequences, soft, tiny_gpt2, tiny_llama

from harness.exceptions import DataError, ModelError
from harness.models.features import LinearClassifier, hidden_features
from harness.models.variant import Variant
from harness.training.classifier import fit_classifier
from harness.training.corpus import blocks, split_documents
from harness.training.settings import ClassifierSettings
from harness.types import Document

pytestmark = pytest.mark.usefixtures("one_thread")
PROMPTS = [sequence.prompt for sequence in sequences(9)]


@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])
def test_features_are_the_models_own_hidden_states(make) -> None:  # type: ignore[no-untyped-def]
    model = make()
    for layer in (-1, 0, 1):
        mean, last = (hidden_features(Variant(model), PROMPTS, pooling=how, layer=layer) for how in ("mean", "last"))
        for row, prompt in enumerate(PROMPTS):
            with torch.no_grad():
                states = model(torch.tensor([prompt]), output_hidden_states=True).hidden_states[layer][0]
            np.testing.assert_allclose(mean[row], states.mean(0), atol=1e-4)
            np.testing.assert_allclose(last[row], states[-1], atol=1e-4)


def test_features_behind_roots_and_adapters() -> None:
    """A root's rows are attended and not averaged: they equal the tokens' own states behind it."""
    bare = hidden_features(Variant(tiny_llama()), PROMPTS)
    adapted = lora(tiny_llama())
    randomise(adapted)
    for trainable in (soft(tiny_llama()), prefix(tiny_llama()), adapted):
        variant = trainable.variant()
        found = hidden_features(variant, PROMPTS)
        one_by_one = np.concatenate([hidden_features(variant, [prompt]) for prompt in PROMPTS])
        np.testing.assert_allclose(found, one_by_one, atol=1e-4)
        assert found.shape == bare.shape and not np.allclose(found, bare, atol=1e-2)


def test_what_has_no_features_is_refused() -> None:
    for prompts, layer in (([()], -1), (PROMPTS, 3), (PROMPTS, -4)):
        with pytest.raises(ModelError):
            hidden_features(Variant(tiny_llama()), prompts, layer=layer)


@pytest.mark.parametrize("labels", [("a", "b"), ("c", "a", "b")])
def test_the_classifier_is_scikit_learns(labels: tuple[str, ...], tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    features = draw.normal(3, [[1, 9, 0.1, 2]], (60, 4)).astype(np.float32)
    gold = [labels[int(row[1] > 3) + (len(labels) > 2 and row[0] > 3)] for row in features]
    fitted = fit_classifier((features, gold), (features[:0], []), labels, ClassifierSettings(c=0.5))
    peer = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=1000)).fit(features.astype(float), gold)
    order = [list(peer.classes_).index(label) for label in labels]
    expected = peer.predict_proba(features.astype(float))[:, order]
    fitted.classifier.save(tmp_path)
    again = LinearClassifier.load(tmp_path, labels)
    np.testing.assert_allclose(np.exp(again.log_probabilities(features)), expected, atol=1e-6)


def test_the_penalty_is_chosen_on_validation() -> None:
    draw = np.random.default_rng(1)
    features = draw.normal(size=(80, 20)).astype(np.float32)
    gold = ["yes" if row[0] + draw.normal() > 0 else "no" for row in features]
    labels = ("no", "yes", "never")
    fitted = fit_classifier(
        (features[:40], gold[:40]), (features[40:], [*gold[40:-1], "never"]), labels, ClassifierSettings()
    )
    losses = dict(fitted.validation_losses)
    assert len(losses) == 6 and losses[fitted.c] == min(losses.values())
    assert fitted.classifier.labels == ("no", "yes")  # a label never shown is never answered
    with pytest.raises(DataError, match="not among the labels: yes"):
        fit_classifier((features, gold), (features[:0], []), ("no", "never"), ClassifierSettings())
    with pytest.raises(DataError, match="two labels"):
        fit_classifier((features[:1], gold[:1]), (features[:0], []), labels, ClassifierSettings())


def test_a_broken_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "classifier.safetensors").write_bytes(b"torn")
    with pytest.raises(ModelError, match="cannot be read"):
        LinearClassifier.load(tmp_path, ("a", "b"))


@given(st.lists(st.lists(st.integers(1, 9), max_size=12).map(tuple), max_size=8), st.integers(2, 10))
def test_blocks_hold_every_token_once(texts: list[tuple[int, ...]], length: int) -> None:
    made = blocks(texts, 0, length)
    whole = [token for text in texts for token in (*text, 0)]
    found = [token for block in made for token in block.target]
    assert whole[: len(found)] == found and len(whole) - len(found) <= 1
    assert all(block.prompt == () and 1 < len(block.target) <= length for block in made)


def test_documents_are_held_out_by_seed() -> None:
    documents = [Document(str(number), "text") for number in range(40)]
    train, held_out = split_documents(documents, 0.1, 0)
    assert len(held_out) == 4 and sorted([*train, *held_out], key=lambda d: int(d.id)) == documents
    assert split_documents(documents, 0.1, 0) == (train, held_out) != split_documents(documents, 0.1, 1)
    assert split_documents(documents[:5], 0.1, 0) == (documents[:5], [])
