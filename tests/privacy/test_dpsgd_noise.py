"""One account for all layers: norms, allocations, counts, and the noise that is really drawn."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from pegai.errors import PrivacyError, UsageError
from pegai.privacy.dpsgd import FLOAT_SLACK, AdaptiveNorm, Batch, Clipping, PrivateGradient
from pegai.privacy.dpsgd_clipping import ALLOCATIONS, NORM_RANGE
from pegai.privacy.events import LaplaceEvent, SubsampledGaussianEvent
from pegai.privacy.guarantee import Plan, Privacy
from pegai.privacy.session import Session

every_allocation = pytest.mark.parametrize("allocation", ALLOCATIONS)
SIZES = (4000, 37, 620, 5)
layer_sizes = st.lists(st.integers(1, 10**6), min_size=1, max_size=8)
MULTIPLIER = 2.5


def loss(outputs: Tensor) -> Tensor:
    return nn.functional.softplus(-outputs).squeeze(1)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(30, 60), nn.ReLU(), nn.Linear(60, 40), nn.Tanh(), nn.Linear(40, 1)
    )


class Watcher:
    """Notes what is given to mechanisms; lets them run."""

    def __init__(self) -> None:
        self.values: list[np.ndarray] = []
        self.sensitivities: list[float] = []

    def record(self, label: str, kind: str, values: Any, sensitivity: float) -> None:
        if kind == "gaussian":
            self.values.append(values)
            self.sensitivities.append(sensitivity)


def session(tmp_path: Path, *, steps: int = 1, recorder: Watcher | None = None) -> Session:
    plan = Plan.make((SubsampledGaussianEvent("step", MULTIPLIER, 0.01, steps),), delta=1e-5)
    ledger = tmp_path / f"ledger-{len(list(tmp_path.iterdir()))}.jsonl"
    privacy = Privacy(max(plan.epsilon, 0.1), 1e-5, ledger=ledger)
    return Session.open(
        plan, privacy, dataset="toy", fingerprint_chunks=[b"x"], label="test", recorder=recorder
    )


@given(
    sizes=layer_sizes,
    allocation=st.sampled_from(ALLOCATIONS),
    multiplier=st.floats(0.1, 100),
    norm=st.floats(0.01, 100),
    adaptive=st.booleans(),
)
def test_the_account_of_the_layers_is_the_planned_multiplier(
    sizes: list[int], allocation: Any, multiplier: float, norm: float, adaptive: bool
) -> None:
    """z = (sum (C_l / s_l)^2 + L / (4 s_b^2))^(-1/2), whatever the allocation."""
    clipping = Clipping(norm, allocation, adaptive=AdaptiveNorm() if adaptive else None)
    norms = clipping.norms(sizes)
    noise = clipping.noise(norms, sizes, multiplier)
    assert math.hypot(*norms) == pytest.approx(norm)
    spent = sum((c / s) ** 2 for c, s in zip(norms, noise.deviations, strict=True))
    if noise.count_deviation is not None:
        spent += len(norms) * 0.5**2 / noise.count_deviation**2
    assert spent**-0.5 == pytest.approx(multiplier)
    assert noise.noise_multiplier == pytest.approx(multiplier)


def test_each_allocation_is_what_its_name_says() -> None:
    def deviations(allocation: Any) -> tuple[np.ndarray, np.ndarray]:
        clipping = Clipping(2.0, allocation, layer_weights=(4.0, 1.0, 2.0, 1.0))
        norms = clipping.norms(SIZES)
        return np.array(norms), np.array(clipping.noise(norms, SIZES, 3.0).deviations)

    flat = Clipping(2.0).noise((2.0,), SIZES, 3.0)
    assert flat.deviations == pytest.approx((6.0,))
    norms, proportional = deviations("proportional")
    assert proportional / norms == pytest.approx(3.0 * 2)  # z L^(1/2)
    norms, equal = deviations("equal_snr")
    ratios = norms / (equal * np.sqrt(SIZES))
    assert ratios == pytest.approx(ratios[0])

    norms, least = deviations("min_variance")
    total = (np.array(SIZES) * least**2).sum()
    rng = np.random.default_rng(0)
    for _ in range(200):  # nothing else under the same account has less
        other = least * np.exp(rng.normal(0, 0.2, 4))
        other *= 3.0 * np.sqrt(((norms / other) ** 2).sum())
        assert (np.array(SIZES) * other**2).sum() >= total * (1 - 1e-12)
    for worse in (proportional, equal, np.full(4, 6.0)):
        assert (np.array(SIZES) * worse**2).sum() > total


def test_layers_get_equal_norms_unless_told_otherwise() -> None:
    assert Clipping(2.0, "proportional").norms(SIZES) == pytest.approx([1.0] * 4)
    weighted = Clipping(5.0, "proportional", layer_weights=(3.0, 4.0)).norms((1, 1))
    assert weighted == pytest.approx([3.0, 4.0])


@pytest.mark.parametrize(
    "settings",
    [
        {"norm": 0.0},
        {"norm": math.nan},
        {"norm": 1e9},
        {"allocation": "other"},
        {"layer_weights": (1.0,)},
        {"allocation": "proportional", "layer_weights": (1.0, -1.0)},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Clipping(**settings)


@pytest.mark.parametrize("settings", [(0.0,), (1.0,), (0.5, 0.0), (0.5, 0.2, 1.0), (0.5, 0.2, 0.0)])
def test_adaptive_settings_out_of_range_are_refused(settings: tuple[float, ...]) -> None:
    with pytest.raises(UsageError):
        AdaptiveNorm(*settings)


def test_weights_for_another_number_of_layers_are_refused() -> None:
    with pytest.raises(UsageError, match="3 layers"):
        Clipping(1.0, "proportional", layer_weights=(1.0, 1.0)).norms((1, 2, 3))


def test_a_divisor_of_nothing_and_another_event_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PrivacyError, match="divisor"):
        PrivateGradient(network(), loss, session=session(tmp_path), label="step", divisor=0.0)
    plan = Plan.make((LaplaceEvent("sum", 5.0),), delta=1e-5)
    privacy = Privacy(1.0, 1e-5, ledger=tmp_path / "other.jsonl")
    other = Session.open(plan, privacy, dataset="t", fingerprint_chunks=[b"x"], label="test")
    engine = PrivateGradient(network(), loss, session=other, label="sum", divisor=5.0)
    with pytest.raises(PrivacyError, match="laplace"):
        engine.step(Batch(torch.zeros(0, 30)))


@every_allocation
@pytest.mark.parametrize("adaptive", [None, AdaptiveNorm(count_share=0.3)])
def test_what_is_released_moves_by_the_declared_sensitivity_and_no_less(
    tmp_path: Path, allocation: Any, adaptive: AdaptiveNorm | None
) -> None:
    """A patient who is clipped in every layer reaches it: max C_l for sum C_l^2 would show here."""
    clipping = Clipping(1e-3, allocation, adaptive=adaptive)
    watcher = Watcher()
    inputs = torch.randn(20, 30, generator=torch.Generator().manual_seed(0))
    for rows in (20, 19):
        opened = session(tmp_path, recorder=watcher)
        engine = PrivateGradient(
            network(), loss, session=opened, label="step", divisor=20.0, clipping=clipping
        )
        opened.poisson_sample("step", 50)
        engine.step(Batch(inputs[:rows]))
    near, far = watcher.values
    declared = watcher.sensitivities[0]
    assert watcher.sensitivities[1] == declared
    moved = float(np.linalg.norm(near - far))
    assert moved <= declared
    assert moved >= declared / (1 + FLOAT_SLACK) * (1 - 1e-4)


@every_allocation
def test_each_layer_gets_the_noise_of_its_allocation(tmp_path: Path, allocation: Any) -> None:
    """Layers of 1860 and 2440 coordinates over 4 empty batches: 5.5 deviations of the estimate are
    6.4 % and 5.6 % (false alarm below 1e-7 in all); 2/3 and 3/2 of the noise would fail."""
    clipping = Clipping(0.7, allocation)
    opened = session(tmp_path, steps=4)
    model = network()
    engine = PrivateGradient(
        model, loss, session=opened, label="step", divisor=8.0, clipping=clipping
    )
    drawn: list[list[Tensor]] = []
    for _ in range(4):
        opened.poisson_sample("step", 0)
        drawn.append(engine.step(Batch(torch.zeros(0, 30))))
    sizes = (1860, 2440, 41)
    expected = clipping.noise(clipping.norms(sizes), sizes, MULTIPLIER).deviations
    for layer in (0, 1):
        flat = torch.cat([g.flatten() for each in drawn for g in each[2 * layer : 2 * layer + 2]])
        wanted = expected[min(layer, len(expected) - 1)] * (1 + FLOAT_SLACK) / 8.0
        assert float(flat.double().square().mean().sqrt()) == pytest.approx(wanted, rel=0.065)
    assert [g.shape for g in drawn[0]] == [p.shape for p in model.parameters()]


def test_counts_get_the_noise_that_was_charged(tmp_path: Path) -> None:
    """400 counts of empty batches, told by how the norms move: 5.5 deviations are 19.5 %."""
    adaptive = AdaptiveNorm(quantile=0.5, learning_rate=1.0, count_share=0.5)
    clipping = Clipping(1.0, adaptive=adaptive)
    opened = session(tmp_path, steps=400)
    model = nn.Sequential(nn.Linear(1, 1))
    divisor = 1000.0
    engine = PrivateGradient(
        model, loss, session=opened, label="step", divisor=divisor, clipping=clipping
    )
    moves: list[float] = []
    for _ in range(400):
        opened.poisson_sample("step", 0)
        before = engine.norms[0]
        engine.step(Batch(torch.zeros(0, 1)))
        moves.append(-math.log(engine.norms[0] / before) * divisor)
    deviation = float(np.sqrt(np.mean(np.square(moves))))
    expected = clipping.noise((1.0,), (2,), MULTIPLIER).count_deviation
    assert expected == pytest.approx(MULTIPLIER / 2 / 0.5**0.5)
    assert deviation == pytest.approx(expected, rel=0.195)


@pytest.mark.parametrize("allocation", ["flat", "min_variance"])
@pytest.mark.parametrize("start", [0.01, 20.0])
def test_adaptive_norms_find_the_quantile(tmp_path: Path, allocation: Any, start: float) -> None:
    """In each group 0.7 of the patients end up unclipped, from far below and far above."""
    adaptive = AdaptiveNorm(quantile=0.7, learning_rate=0.5)
    clipping = Clipping(start, allocation, adaptive=adaptive)
    opened = session(tmp_path, steps=60)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1))
    inputs = 2 * torch.randn(600, 5, generator=torch.Generator().manual_seed(0))
    engine = PrivateGradient(
        model, loss, session=opened, label="step", divisor=600.0, clipping=clipping
    )
    for _ in range(60):
        opened.poisson_sample("step", 600)
        engine.step(Batch(inputs))
    squares = []
    for layer in (0, 2):
        found = [
            torch.autograd.grad(one, list(model[layer].parameters()), retain_graph=True)
            for one in loss(model(inputs))
        ]
        squares.append(torch.tensor([sum(float(g.square().sum()) for g in each) for each in found]))
    groups = [squares[0] + squares[1]] if allocation == "flat" else squares
    for norm, square in zip(engine.norms, groups, strict=True):
        assert float((square.sqrt() <= norm).double().mean()) == pytest.approx(0.7, abs=0.06)


def test_norms_stay_in_range_however_loud_the_counts() -> None:
    adaptive = AdaptiveNorm(learning_rate=50.0)
    assert adaptive.following([1.0, 1.0], [1e9, -1e9], 10.0) == (
        pytest.approx(math.exp(-25)) if math.exp(-25) > NORM_RANGE[0] else NORM_RANGE[0],
        NORM_RANGE[1],
    )


def test_gradients_come_in_the_type_of_the_parameters(tmp_path: Path) -> None:
    opened = session(tmp_path)
    opened.poisson_sample("step", 5)
    model = network().double()
    engine = PrivateGradient(model, loss, session=opened, label="step", divisor=5.0)
    found = engine.step(Batch(torch.zeros(3, 30, dtype=torch.float64)))
    assert {g.dtype for g in found} == {torch.float64}
