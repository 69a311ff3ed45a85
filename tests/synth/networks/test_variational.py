"""The autoencoder: its bound in closed form, and a prior that fits what the encoder makes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pegai.data.datasets import load_heart_disease
from pegai.synth.grids import class_column, class_shares, code_tables
from pegai.synth.networks.layout import Shape, start
from pegai.synth.networks.priors import MAX_PARTS, LatentMixture
from pegai.synth.networks.private import bound_of
from pegai.synth.networks.variational import bounded_log, divergence, new_encoder
from pegai.synth.rows import encode_rows, fit_encoder


def test_the_sequence_for_private_gradients_is_encoder_and_generator() -> None:
    table = load_heart_disease("va")
    encoder = fit_encoder(table, max_bins=6, min_count=3)
    codes = encode_rows(table, encoder)
    target = class_column(table.schema, None)
    shares = class_shares(code_tables(encoder, codes, target), smoothing=0.5)
    rng = np.random.default_rng(1)
    begun = start(encoder, target, shares, Shape(5, 12, 0.3), device=torch.device("cpu"), rng=rng)
    network = new_encoder(begun)
    layout, generator = begun.layout, begun.generator
    rows, classes = layout.one_hot(codes[:20])
    features, noise = layout.blocks.features(rows), torch.randn(20, 5)
    with torch.no_grad():
        out = bound_of(network, generator, layout)(torch.cat([features, noise, classes], 1))
        mean, log_variance = network(features)
        logits = generator(mean + noise * (log_variance / 2).exp(), classes)
    width = layout.blocks.width
    assert torch.allclose(out[:, :width] + classes @ generator.base, logits, atol=1e-5)
    assert torch.allclose(out[:, width : width + 5], mean, atol=1e-6)
    assert torch.allclose(out[:, width + 5 :], log_variance, atol=1e-6)


def test_divergence_is_that_of_normals() -> None:
    mean, variance = torch.tensor([[0.7, -1.0]]), torch.tensor([[0.5, 2.0]])
    normal = torch.distributions.Normal(mean, variance.sqrt())
    standard = torch.distributions.Normal(0.0, 1.0)
    expected = torch.distributions.kl_divergence(normal, standard).sum(1)
    assert divergence(mean, variance.log()) == pytest.approx(float(expected), rel=1e-5)
    assert float(bounded_log(torch.tensor(1e9))) < 10


def test_the_mixture_draws_what_it_was_fitted_to() -> None:
    rng = np.random.default_rng(0)
    classes = np.repeat([0, 1, 2], [400, 400, 5])
    means = rng.normal(0, 0.1, (805, 2)) + np.where(classes[:, None] == 1, 3.0, -3.0)
    mixture = LatentMixture.fit(means, np.full((805, 2), 0.1), classes, count=3, rng=rng)
    assert mixture.shares.shape == (3, MAX_PARTS)
    one_hot = torch.eye(3).repeat_interleave(2000, 0)
    drawn = mixture.draw(one_hot, torch.Generator().manual_seed(0)).numpy().reshape(3, 2000, 2)
    assert drawn[0].mean(0) == pytest.approx([-3, -3], abs=0.05)
    assert drawn[1].mean(0) == pytest.approx([3, 3], abs=0.05)
    assert drawn[1].std(0) == pytest.approx([0.14, 0.14], abs=0.03)
    # A class of five rows has no mixture of its own: the prior stays standard normal.
    assert drawn[2].std(0) == pytest.approx([1, 1], abs=0.06)
