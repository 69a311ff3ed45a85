"""PATE-GAN: the account adds up, one patient moves one teacher, and votes teach the generator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from dp_accounting import GaussianDpEvent, SelfComposedDpEvent
from dp_accounting.pld import PLDAccountant

from pegai.data.datasets import load_heart_disease
from pegai.errors import UsageError
from pegai.privacy.guarantee import Privacy
from pegai.privacy.session import Session
from pegai.synth.grids import class_column, class_shares, code_tables
from pegai.synth.networks.layout import Shape, Start, start
from pegai.synth.networks.teachers import Rounds, Teachers, _features, reliability
from pegai.synth.pategan import PATEGAN, FittedPATEGAN, PATEGANConfig, PATEPrivacy
from pegai.synth.rows import encode_rows, fit_encoder

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


def test_a_plan_never_costs_more_than_asked() -> None:
    schema = load_heart_disease().schema
    for epsilon in np.geomspace(0.05, 20, 40):
        plan = PATEGAN().plan(schema, Privacy(float(epsilon), 1e-4))
        assert 0.999 * epsilon < plan.epsilon <= epsilon


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


def test_teachers_tell_real_rows_from_rows_without_dependence() -> None:
    layout, codes = begun()
    real = layout.layout.blocks.features(layout.layout.blocks.one_hot(codes))
    fakes = _features(layout, 1024)
    teachers = Teachers(layout, codes, range(len(codes)), ROUNDS, np.random.default_rng(5))
    for step in range(6):
        votes = teachers.votes(
            fakes, torch.cat([real, fakes[: len(real)]]), np.random.default_rng(step)
        )
    shares = votes.mean(axis=0)
    assert shares[: len(real)].mean() > shares[len(real) :].mean() + 0.05


def test_without_noise_the_best_round_is_kept() -> None:
    fitted = PATEGAN(PATEGANConfig(privacy=PATEPrivacy(rounds=8))).fit(
        load_heart_disease("cleveland"), rng=0
    )
    assert isinstance(fitted, FittedPATEGAN)
    assert len(fitted.held_back) == 9
    best = max(fitted.held_back)
    assert fitted.steps == 20 * (8 - fitted.held_back[::-1].index(best))


def test_labels_that_noise_drowns_hardly_move_the_generator(tmp_path: Path) -> None:
    table, rounds, found = load_heart_disease(), PATEGAN()._rounds(900.0), list[float]()
    for epsilon in (0.5, 3.0, 9.0):
        privacy = Privacy(epsilon, 1e-4, ledger=tmp_path / f"{epsilon}")
        session = Session.open(
            PATEGAN().plan(table.schema, privacy),
            privacy,
            dataset="d",
            fingerprint_chunks=[b"x"],
            label="test",
        )
        found.append(reliability(rounds, session))
    assert found[0] < 0.03
    assert found == sorted(found)
    assert reliability(rounds, None) == 1.0


def test_settings_out_of_range_are_refused() -> None:
    for wrong in ({"rounds": 0}, {"counts_share": 1.0}, {"hidden": 1}):
        with pytest.raises(UsageError):
            PATEPrivacy(**wrong)
    with pytest.raises(UsageError):
        PATEGANConfig(teacher_steps=0)
