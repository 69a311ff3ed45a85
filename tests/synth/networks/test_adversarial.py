"""The game watches itself: variety, collapse, and how many steps the critic gets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pegai.data.datasets import load_heart_disease
from pegai.errors import UsageError
from pegai.synth.ctgan import CTGANConfig
from pegai.synth.grids import class_column, class_shares, code_tables
from pegai.synth.networks.adversarial import Adversarial, Rates, agreement, variety
from pegai.synth.networks.layout import Shape, Start, start
from pegai.synth.rows import encode_rows, fit_encoder


@pytest.fixture
def game() -> tuple[Start, np.ndarray]:
    table = load_heart_disease("cleveland")
    encoder = fit_encoder(table, max_bins=10, min_count=3)
    codes = encode_rows(table, encoder)
    target = class_column(table.schema, None)
    shares = class_shares(code_tables(encoder, codes, target), smoothing=0.5)
    begun = start(
        encoder,
        target,
        shares,
        Shape(8, 32, 0.3),
        device=torch.device("cpu"),
        rng=np.random.default_rng(0),
    )
    return begun, codes


def test_agreement_is_the_chance_that_two_rows_agree(game: tuple[Start, np.ndarray]) -> None:
    begun, codes = game
    rows, classes = begun.layout.one_hot(codes[:40])
    label = codes[:40, begun.layout.class_block]
    pairs = [(i, j) for i in range(40) for j in range(40) if i != j and label[i] == label[j]]
    expected = [np.mean([column[i] == column[j] for i, j in pairs]) for column in codes[:40].T]
    assert agreement(begun.layout.blocks, rows, classes).numpy() == pytest.approx(
        expected, abs=1e-5
    )


def test_variety_is_one_for_the_data_and_zero_for_one_row(game: tuple[Start, np.ndarray]) -> None:
    begun, codes = game
    one_hot = begun.layout.blocks.one_hot
    real, half = one_hot(codes), one_hot(codes[::2])
    assert variety(begun.layout, real, half) == pytest.approx(1.0, abs=0.05)
    assert variety(begun.layout, real, one_hot(codes[:1]).repeat(50, 1)) == pytest.approx(
        0, abs=1e-5
    )


def test_a_collapsed_generator_goes_back_to_its_average(game: tuple[Start, np.ndarray]) -> None:
    begun, codes = game
    trainee = Adversarial(begun, Rates(1e-3, 0.99))
    before = trainee.optimizers["generator"].param_groups[0]["lr"]
    with torch.no_grad():
        start_of = float(trainee.generator.base.abs().max())
        trainee.generator.base *= 50  # each column gives one code, whatever the latent is
    for _ in range(40):
        trainee.step(codes[:64])
    assert trainee.counters["collapses"] == 1
    assert trainee.optimizers["generator"].param_groups[0]["lr"] == before / 2
    assert trainee.generator.base.detach().abs().max() < 25 * start_of


def test_steps_of_the_critic_that_are_asked_for_are_kept(game: tuple[Start, np.ndarray]) -> None:
    begun, codes = game
    trainee = Adversarial(begun, Rates(1e-3, 0.99), critic_steps=3)
    for _ in range(20):
        assert trainee.step(codes[:64])["critic_steps"] == 3
    assert trainee.counters["judgements"] == 60
    with pytest.raises(UsageError, match="critic_steps must be at least 1"):
        CTGANConfig(critic_steps=0)


def test_the_critic_gets_more_steps_when_it_is_lost_and_fewer_when_it_leads(
    game: tuple[Start, np.ndarray],
) -> None:
    trainee = Adversarial(game[0], Rates(1e-3, 0.99))
    for lead, expected in ((0.5, 4.0), (0.7, 4.0), (0.95, 1.0)):
        trainee.counters["lead"] = lead
        for _ in range(60):
            trainee._adapt()
        assert trainee.counters["critic_steps"] == pytest.approx(expected)
