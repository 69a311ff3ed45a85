"""DP-SGD: the closed form against torch.func, and what must not be possible."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from pegai.errors import PlanError, PrivacyError
from pegai.privacy.dpsgd import (
    check_supported,
    clipped_gradient_sum,
    one_row_per_patient,
    private_gradient,
)
from pegai.privacy.events import SubsampledGaussianEvent
from pegai.privacy.guarantee import Plan, Privacy
from pegai.privacy.session import Session


def network(seed: int = 0, *, width: int = 7, bias: bool = True) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(width, 11, bias=bias),
        nn.LeakyReLU(0.2),
        nn.Linear(11, 5),
        nn.Tanh(),
        nn.Linear(5, 1),
    )


def loss(outputs: torch.Tensor) -> torch.Tensor:
    return nn.functional.softplus(-outputs).squeeze(1)


def per_example(model: nn.Sequential, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    """Every example's gradient by torch.func: the independent reference."""
    parameters = {k: v.detach() for k, v in model.named_parameters()}

    def one(p: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        return loss(functional_call(model, p, (x[None],)))[0]

    return vmap(grad(one), in_dims=(None, 0))(parameters, inputs)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("clipping_norm", [0.05, 0.5, 100.0])
def test_equals_torch_func_to_1e5(clipping_norm: float, bias: bool) -> None:
    model, inputs = (
        network(bias=bias),
        torch.randn(40, 7, generator=torch.Generator().manual_seed(1)) * 3,
    )
    reference = per_example(model, inputs)
    norms = torch.sqrt(sum(g.flatten(1).square().sum(1) for g in reference.values()))
    scale = (clipping_norm / norms).clamp(max=1.0)
    found = clipped_gradient_sum(model, inputs, loss, clipping_norm=clipping_norm)
    torch.testing.assert_close(found.norms.float(), norms, rtol=1e-5, atol=1e-6)
    for mine, theirs in zip(found.gradients, reference.values(), strict=True):
        expected = torch.einsum("b,b...->...", scale, theirs)
        torch.testing.assert_close(mine.float(), expected, rtol=1e-5, atol=1e-5)


def test_no_example_moves_the_sum_by_more_than_the_clipping_norm() -> None:
    model = network()
    inputs = torch.randn(30, 7, generator=torch.Generator().manual_seed(2)) * 50
    whole = clipped_gradient_sum(model, inputs, loss, clipping_norm=0.1)
    for i in range(len(inputs)):
        rest = clipped_gradient_sum(
            model, torch.cat([inputs[:i], inputs[i + 1 :]]), loss, clipping_norm=0.1
        )
        moved = torch.cat(
            [(a - b).flatten() for a, b in zip(whole.gradients, rest.gradients, strict=True)]
        )
        assert float(moved.norm()) <= 0.1 * (1 + 1e-6)


def test_rough_sums_that_a_caller_has_turned_on_are_turned_off_for_clipping() -> None:
    """Where the processor has no bfloat16 the sums are equal anyway; the settings show it."""
    model, inputs = network(width=64), torch.randn(128, 64, generator=torch.Generator())
    seen: list[tuple[str, bool]] = []

    def watched(outputs: torch.Tensor) -> torch.Tensor:
        seen.append((torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32))
        return loss(outputs)

    exact = clipped_gradient_sum(model, inputs, loss, clipping_norm=1.0)
    torch.set_float32_matmul_precision("medium")
    try:
        rough = clipped_gradient_sum(model, inputs, watched, clipping_norm=1.0)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert set(seen) == {("highest", False)}
    for one, other in zip(exact.gradients, rough.gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_examples_without_a_finite_gradient_add_nothing() -> None:
    model = network()
    good = torch.randn(5, 7, generator=torch.Generator().manual_seed(3))
    bad = torch.full((2, 7), float("nan"))
    bad[1] = float("inf")
    alone = clipped_gradient_sum(model, good, loss, clipping_norm=1.0)
    mixed = clipped_gradient_sum(model, torch.cat([good, bad]), loss, clipping_norm=1.0)
    for a, b in zip(alone.gradients, mixed.gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_an_empty_batch_gives_zeros_of_the_right_shape() -> None:
    model = network()
    found = clipped_gradient_sum(model, torch.zeros(0, 7), loss, clipping_norm=1.0)
    assert [g.shape for g in found.gradients] == [p.shape for p in model.parameters()]
    assert all(float(g.abs().sum()) == 0 for g in found.gradients)


def test_layers_that_mix_patients_are_refused() -> None:
    with pytest.raises(PrivacyError, match="BatchNorm1d"):
        check_supported(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)))
    with pytest.raises(PrivacyError, match="Dropout"):
        check_supported(nn.Sequential(nn.Linear(3, 3), nn.Dropout()))
    shared = nn.Linear(3, 3)
    with pytest.raises(PrivacyError, match="twice"):
        check_supported(nn.Sequential(shared, nn.ReLU(), shared))


def session(tmp_path: Path, *, steps: int = 3, multiplier: float = 2.0) -> Session:
    plan = Plan.make((SubsampledGaussianEvent("critic", multiplier, 0.5, steps),), delta=1e-5)
    privacy = Privacy(max(plan.epsilon, 0.1), 1e-5, ledger=tmp_path / "ledger.jsonl")
    return Session.open(plan, privacy, dataset="toy", fingerprint_chunks=[b"x"], label="test")


def test_a_step_needs_its_sample_and_steps_run_out(tmp_path: Path) -> None:
    model, opened = network(), session(tmp_path, steps=1)
    arguments = {"session": opened, "label": "critic", "clipping_norm": 1.0, "divisor": 10.0}
    batch = torch.zeros(4, 7)
    with pytest.raises(PlanError):
        private_gradient(model, batch, loss, **arguments)
    opened.poisson_sample("critic", 8)
    private_gradient(model, batch, loss, **arguments)
    with pytest.raises(PlanError):
        private_gradient(model, batch, loss, **arguments)
    with pytest.raises(PlanError):
        opened.poisson_sample("critic", 8)


def test_noise_has_the_planned_scale_also_for_an_empty_batch(tmp_path: Path) -> None:
    """About 10,000 draws: the deviation is within 4 % but with chance 2e-8; 2/3 and 3/2 fail."""
    model = nn.Sequential(nn.Linear(99, 100), nn.ReLU(), nn.Linear(100, 1))
    opened = session(tmp_path, steps=1, multiplier=2.0)
    opened.poisson_sample("critic", 0)
    noisy = private_gradient(
        model,
        torch.zeros(0, 99),
        loss,
        session=opened,
        label="critic",
        clipping_norm=0.5,
        divisor=4.0,
    )
    flat = torch.cat([g.flatten() for g in noisy])
    expected = 2.0 * 0.5 / 4.0
    assert float(flat.std()) == pytest.approx(expected, rel=0.04)
    assert [g.shape for g in noisy] == [p.shape for p in model.parameters()]


def test_each_chosen_patient_gives_one_row_at_random() -> None:
    units = np.array([0, 0, 0, 1, 2, 2])
    rng = np.random.default_rng(0)
    drawn = np.array(
        [one_row_per_patient(np.array([True, False, True]), units, rng) for _ in range(3000)]
    )
    assert drawn.shape == (3000, 2)
    assert set(drawn[:, 0]) == {0, 1, 2}
    assert set(drawn[:, 1]) == {4, 5}
    counts = np.bincount(drawn[:, 0], minlength=3)
    assert counts.min() > 850  # expected 1000, deviation 26: six deviations
    nobody = one_row_per_patient(np.zeros(3, dtype=bool), units, rng)
    assert nobody.shape == (0,)
