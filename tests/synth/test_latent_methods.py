"""GAN, CTGAN, TVAE and VAE-GAN: they learn dependence, and their private plans add up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
from dp_accounting.pld import PLDAccountant

from pegai.data.datasets import load_heart_disease
from pegai.data.table import Table
from pegai.errors import UsageError
from pegai.privacy.events import SubsampledGaussianEvent
from pegai.privacy.guarantee import Privacy
from pegai.schema import schema_from_dict
from pegai.synth.catalog import make
from pegai.synth.latent_fitted import FittedLatent
from pegai.synth.tvae import TVAEConfig
from pegai.synth.vaegan import VAEGANConfig

METHODS = ("gan", "ctgan", "tvae", "vaegan")
FEATURES = (("thal", 7), ("exang", 1), ("cp", 4))


@pytest.fixture(scope="module", params=METHODS)
def fitted(request: pytest.FixtureRequest) -> FittedLatent:
    model = make(request.param, {"max_steps": 1000}).fit(load_heart_disease(), rng=0)
    assert isinstance(model, FittedLatent)
    return model


def differences(frame: pl.DataFrame) -> list[float]:
    """How much more often a feature is high among the diseased."""

    def share(label: int, name: str, high: int) -> float:
        part = frame.filter(pl.col("num") == label)[name]
        return float(part.eq(high).mean())  # pyright: ignore[reportArgumentType]

    return [share(1, name, high) - share(0, name, high) for name, high in FEATURES]


def test_it_explains_held_back_patients_better_than_its_start(fitted: FittedLatent) -> None:
    """The start is the independent model, given the class where there is one."""
    assert max(fitted.held_back) > fitted.held_back[0] + 0.02
    assert fitted.steps > 0


def test_the_target_depends_on_the_features_as_in_the_data(fitted: FittedLatent) -> None:
    real = differences(load_heart_disease().frame)
    made = differences(fitted.sample(4000, rng=1).frame)
    # The plain GAN has no class to hold on to.
    assert made == pytest.approx(real, abs=0.2 if fitted.method == "gan" else 0.12)


def test_features_depend_on_each_other_inside_classes(fitted: FittedLatent) -> None:
    """Exercise: the slope and the depression of the ST segment, given the disease."""

    def dependence(frame: pl.DataFrame) -> float:
        parts = [frame.filter(pl.col("num") == label) for label in (0, 1)]
        low = [p.filter(pl.col("slope") == 1)["oldpeak"].mean() for p in parts]
        high = [p.filter(pl.col("slope") == 2)["oldpeak"].mean() for p in parts]
        return float(np.mean(np.array(high, float) - np.array(low, float)))

    real = dependence(load_heart_disease().frame)
    made = dependence(fitted.sample(4000, rng=2).frame)
    assert real > 0.5
    assert made > 0.4 * real


@pytest.mark.parametrize("method", METHODS)
def test_the_plan_costs_what_a_second_accountant_says(method: str) -> None:
    synthesizer = make(method, {"privacy": {"steps": 60}})
    plan = synthesizer.plan(load_heart_disease().schema, Privacy(2.0, 1e-3))
    counts, *steps = plan.events
    assert len(steps) == (2 if method == "vaegan" else 1)
    accountant = PLDAccountant()
    accountant.compose(GaussianDpEvent(counts.noise_multiplier))  # pyright: ignore
    for event in steps:
        assert isinstance(event, SubsampledGaussianEvent)
        noise = GaussianDpEvent(event.noise_multiplier)
        accountant.compose(PoissonSampledDpEvent(event.sampling_probability, noise), event.count)
    assert accountant.get_epsilon(1e-3) <= 2.0 + 1e-6
    assert 1.95 < plan.epsilon <= 2.0


@pytest.mark.parametrize("method", METHODS)
def test_a_private_fit_runs_the_steps_it_was_charged_for(method: str, tmp_path: Path) -> None:
    calls: list[tuple[str, str]] = []

    class Watch:
        def record(self, label: str, kind: str, values: np.ndarray, sensitivity: float) -> None:
            calls.append((label, kind))

    synthesizer: Any = make(method, {"privacy": {"steps": 5, "hidden": 8}})
    privacy = Privacy(3.0, 1e-3, ledger=tmp_path / "l")
    synthesizer.fit(load_heart_disease("va"), privacy=privacy, recorder=Watch())
    kinds = [kind for _, kind in calls]
    assert kinds[0] == "gaussian"
    assert kinds[1:] == ["poisson_sample", "gaussian"] * 5 * len(synthesizer.looks)
    assert {label for label, _ in calls[1:]} == set(synthesizer.looks)


def test_settings_out_of_range_are_refused() -> None:
    for config, wrong in (
        (TVAEConfig, {"kl_weight": 0.0}),
        (VAEGANConfig, {"critic_weight": -1.0}),
        (VAEGANConfig, {"latent": 0}),
    ):
        with pytest.raises(UsageError):
            config(**wrong)


@pytest.mark.parametrize(("rows", "most", "bins"), [(200, 20, 10), (200, 5, 5), (4000, 20, 16)])
def test_small_tables_get_fewer_bins(rows: int, most: int, bins: int) -> None:
    assert TVAEConfig(max_bins=most).bins(rows) == bins
    assert TVAEConfig().bins(1_000_000) == 20


@pytest.mark.parametrize("method", [*METHODS, "pategan", "arm"])
def test_networks_stay_small_where_a_column_has_many_levels(method: str) -> None:
    """A column of 1,200 levels, of which 40 have codes of their own; all can be drawn again."""
    rng = np.random.default_rng(0)
    levels = [f"d{i:04}" for i in range(1200)]
    frame = pl.DataFrame({"code": rng.choice(levels, 3000), "dead": rng.choice(["0", "1"], 3000)})
    columns = [
        {"name": "code", "type": "string", "categories": levels},
        {"name": "dead", "type": "string", "categories": ["0", "1"]},
    ]
    table = Table(frame, schema_from_dict({"fields": columns}))
    settings = {"max_steps": 20, "max_levels": 40, "min_count": 0}
    model = make(method, settings).fit(table, rng=0)
    assert model.to_file().weights
    assert max(model.encoder.sizes) <= 42  # pyright: ignore[reportAttributeAccessIssue]
    assert model.sample(4000, rng=0).frame["code"].n_unique() > 500


@pytest.mark.parametrize("method", ["ctgan", "arm"])
def test_one_level_is_too_few(method: str) -> None:
    with pytest.raises(UsageError, match="max_levels"):
        make(method, {"max_levels": 1})
