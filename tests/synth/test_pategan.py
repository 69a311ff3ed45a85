"""PATE-GAN: the account adds up, one patient moves one teacher, and votes teach the generator."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from dp_accounting import GaussianDpEvent, SelfComposedDpEvent
from dp_accounting.pld import PLDAccountant

from pegai.data.datasets import load_heart_disease
from pegai.errors import UsageError
from pegai.privacy.guarantee import Privacy
from pegai.synth.grids import class_column, class_shares, code_tables
from pegai.synth.networks.layout import Shape, Start, start
from pegai.synth.networks.teachers import Rounds, Teachers, _features
from pegai.synth.pategan import PATEGAN, PATEGANConfig, PATEPrivacy
from pegai.synth.rows import encode_rows, fit_encoder

PAIRS = (("age", "thalach"), ("oldpeak", "thalach"), ("age", "ca"))
ROUNDS = Rounds("votes", 1, 32, teachers=8, teacher_steps=5, student_steps=2)


def begun() -> tuple[Start, np.ndarray]:
    table = load_heart_disease("cleveland")
    encoder = fit_encoder(table, max_bins=8, min_count=3)
    codes = encode_rows(table, encoder)
    target = class_column(table.schema, None)
    shares = class_shares(code_tables(encoder, codes, target), smoothing=0.5)
    rng = np.random.default_rng(0)
    return start(
        encoder, target, shares, Shape(8, 16, 0.3), device=torch.device("cpu"), rng=rng
    ), codes


def correlation_gap(made: pl.DataFrame, real: pl.DataFrame) -> float:
    """Mean distance of the correlations of a few pairs that the target does not explain."""

    def correlation(frame: pl.DataFrame, a: str, b: str) -> float:
        return float(frame.drop_nulls([a, b]).select(pl.corr(a, b)).item())

    return float(np.mean([abs(correlation(made, *p) - correlation(real, *p)) for p in PAIRS]))


def test_the_plan_costs_what_a_second_accountant_says() -> None:
    table = load_heart_disease()
    plan = PATEGAN(PATEGANConfig(privacy=PATEPrivacy(rounds=17))).plan(
        table.schema, Privacy(2.0, 1e-4)
    )
    counts, votes = plan.events
    accountant = PLDAccountant()
    accountant.compose(GaussianDpEvent(counts.noise_multiplier))
    accountant.compose(SelfComposedDpEvent(GaussianDpEvent(votes.noise_multiplier), votes.count))
    assert votes.count == 17
    assert accountant.get_epsilon(1e-4) <= 2.0 + 1e-4
    assert 1.95 < plan.epsilon <= 2.0


def test_a_patient_more_moves_the_votes_of_one_teacher_only() -> None:
    layout, codes = begun()
    fakes, questions = _features(layout, 256), _features(layout, 32)
    votes = []
    for more in (0, 1):
        rows = np.concatenate([codes, codes[:more]])
        teachers = Teachers(layout, rows, range(len(rows)), ROUNDS, np.random.default_rng(5))
        votes.append(teachers.votes(fakes, questions, np.random.default_rng(6)))
    assert votes[0].shape == (8, 32)
    assert ((votes[0] != votes[1]).any(axis=1)).sum() <= 1
    assert 0.05 < votes[0].mean() < 0.95


def test_votes_without_noise_teach_the_generator_dependence() -> None:
    table = load_heart_disease("cleveland")
    config = PATEGANConfig(privacy=PATEPrivacy(rounds=25))
    fitted = PATEGAN(config).fit(table, rng=0)
    settings = PATEGANConfig(privacy=PATEPrivacy(rounds=1), student_steps=1, teacher_steps=1)
    first = PATEGAN(settings).fit(table, rng=0)
    real = table.frame
    gaps = [correlation_gap(model.sample(4000, rng=1).frame, real) for model in (first, fitted)]
    assert gaps[1] < gaps[0]


def test_settings_out_of_range_are_refused() -> None:
    for wrong in ({"rounds": 0}, {"counts_share": 1.0}, {"hidden": 1}):
        with pytest.raises(UsageError):
            PATEPrivacy(**wrong)
    with pytest.raises(UsageError):
        PATEGANConfig(teacher_steps=0)
