"""CTGAN: it learns dependence, conditions well, and its private plan adds up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
from dp_accounting.pld import PLDAccountant

from pegai.data.datasets import load_heart_disease
from pegai.errors import UsageError
from pegai.privacy.events import GaussianEvent, SubsampledGaussianEvent
from pegai.privacy.guarantee import Privacy
from pegai.synth.ctgan import CTGAN, CTGANConfig, DPSGDPrivacy, FittedCTGAN
from pegai.synth.networks.blocks import Blocks, torch_generator


@pytest.fixture(scope="module")
def fitted() -> FittedCTGAN:
    model = CTGAN(CTGANConfig()).fit(load_heart_disease("cleveland"), rng=0)
    assert isinstance(model, FittedCTGAN)
    return model


def test_it_explains_held_back_patients_better_than_its_start(fitted: FittedCTGAN) -> None:
    """The start is the class-conditional independent model: what is gained is dependence."""
    assert max(fitted.held_back) > fitted.held_back[0] + 0.02
    assert fitted.steps > 0


def test_the_target_depends_on_the_features_as_in_the_data(fitted: FittedCTGAN) -> None:
    real, made = load_heart_disease("cleveland").frame, fitted.sample(3000, rng=1).frame
    for name, high in (("thal", 7), ("exang", 1), ("cp", 4)):
        shares = [
            f.filter(f["num"] == 1)[name].eq(high).mean()
            - f.filter(f["num"] == 0)[name].eq(high).mean()
            for f in (real, made)
        ]
        assert shares[1] == pytest.approx(shares[0], abs=0.12), name


def test_conditioning_on_a_feature_moves_the_target_as_bayes_says(fitted: FittedCTGAN) -> None:
    free = fitted.sample(20_000, rng=1).frame
    expected = free.filter(free["thal"] == 7)["num"].mean()
    given = fitted.sample(4_000, given={"thal": 7}, rng=2).frame["num"].mean()
    assert given == pytest.approx(expected, abs=0.05)
    assert abs(given - free["num"].mean()) > 0.1


def test_the_plan_costs_what_a_second_accountant_says() -> None:
    table = load_heart_disease()
    plan = CTGAN(CTGANConfig(privacy=DPSGDPrivacy(steps=100))).plan(
        table.schema, Privacy(3.0, 1e-3)
    )
    counts, critic = plan.events
    assert isinstance(counts, GaussianEvent)
    assert isinstance(critic, SubsampledGaussianEvent)
    accountant = PLDAccountant()
    accountant.compose(GaussianDpEvent(counts.noise_multiplier))
    step = PoissonSampledDpEvent(
        critic.sampling_probability, GaussianDpEvent(critic.noise_multiplier)
    )
    accountant.compose(step, critic.count)
    assert accountant.get_epsilon(1e-3) <= 3.0 + 1e-6
    assert 2.9 < plan.epsilon <= 3.0


def test_a_private_fit_runs_the_steps_it_was_charged_for(tmp_path: Path) -> None:
    calls: list[tuple[str, str]] = []

    class Watch:
        def record(self, label: str, kind: str, values: np.ndarray, sensitivity: float) -> None:
            calls.append((label, kind))

    config = CTGANConfig(hidden=16, privacy=DPSGDPrivacy(steps=7))
    privacy = Privacy(3.0, 1e-3, ledger=tmp_path / "l")
    CTGAN(config).fit(load_heart_disease("va"), privacy=privacy, recorder=Watch())
    kinds = [kind for _, kind in calls]
    assert kinds[0] == "gaussian"
    assert kinds[1:] == ["poisson_sample", "gaussian"] * 7


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(UsageError):
        DPSGDPrivacy(sampling_probability=1.5)
    with pytest.raises(UsageError):
        DPSGDPrivacy(steps=0)


def test_blocks_draw_by_their_probabilities() -> None:
    blocks = Blocks((2, 3), torch.zeros(5))
    logits = torch.log(torch.tensor([[0.3, 0.7, 0.1, 0.2, 0.7]])).repeat(20_000, 1)
    drawn = blocks.draw(logits, torch_generator(np.random.default_rng(0)))
    assert (drawn[:, 0] == 1).mean() == pytest.approx(0.7, abs=0.015)
    assert np.bincount(drawn[:, 1]) / 20_000 == pytest.approx([0.1, 0.2, 0.7], abs=0.015)
    codes = np.array([[1, 2], [0, 0]])
    assert blocks.one_hot(codes).tolist() == [[0, 1, 0, 0, 1], [1, 0, 1, 0, 0]]
