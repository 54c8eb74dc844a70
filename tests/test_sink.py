"""Gradients that are summed where they belong equal the ones that autograd makes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from harness.training import sink as sinks
from harness.training.fast import fast_layers
from harness.training.head import CHUNK, head_loss
from harness.training.sink import GradientSink

SIZES = st.integers(1, 9)


@given(rows=SIZES, columns=SIZES, parts=st.integers(1, 4), piece=st.integers(1, 20), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_sums_equal_plain_sums_whatever_the_piece(rows: int, columns: int, parts: int, piece: int, seed: int) -> None:
    torch.manual_seed(seed)
    stale = torch.full((rows, columns), 7.0)  # what the step before left
    sink, expected = GradientSink(stale), torch.zeros(rows, columns)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sinks, "PIECE", piece)
        for _ in range(parts):
            whole, left, right = torch.randn(rows, columns), torch.randn(rows, 3), torch.randn(3, columns)
            index, some = torch.randint(rows, (5,)), torch.randn(5, columns)
            for number in torch.randperm(3).tolist():
                if number == 0:
                    sink.add(whole)
                elif number == 1:
                    sink.add_product(left, right)
                else:
                    sink.add_rows(index, some)
            expected += whole + left @ right
            expected.index_add_(0, index, some)
        sink.close()
    torch.testing.assert_close(sink.total, expected, rtol=1e-5, atol=1e-5)
    sink.close()  # a step without a gradient
    assert not sink.total.any()


@pytest.mark.parametrize("targets", [5, 24, CHUNK + 3])  # fewer than the hidden size, as many, several chunks
def test_a_tied_matrix_gets_the_gradients_of_embedding_and_head(targets: int) -> None:
    torch.manual_seed(0)

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(50, 24, padding_idx=3)
            self.head = nn.Linear(24, 50, bias=False)
            self.head.weight = self.embedding.weight

    def loss() -> torch.Tensor:
        return 0.5 * head_loss(model.head, torch.tanh(model.embedding(ids)), wanted)

    model = Tied()
    ids, wanted = torch.randint(50, (targets,)), torch.randint(50, (targets,))
    ids[0] = 3  # padding learns nothing from being read
    (expected,) = torch.autograd.grad(loss(), [model.embedding.weight])
    sink = GradientSink.of(model.embedding.weight, torch.ones(50, 24))
    model.embedding.weight.register_post_accumulate_grad_hook(sink.take)
    with fast_layers(model) as changed:
        assert changed == 1
        for _ in range(2):
            loss().backward()
    sink.close()
    torch.testing.assert_close(sink.total, 2 * expected)
    assert model.embedding.weight.grad is None
    GradientSink.forget(model.embedding.weight)
    assert GradientSink.find(model.embedding.weight) is None
