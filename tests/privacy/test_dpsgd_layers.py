"""Clipped sums of every layer type, allocation and number of rows a patient, against torch.func."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call, grad

from pegai.errors import PrivacyError
from pegai.privacy import dpsgd_gradients, dpsgd_slots
from pegai.privacy.dpsgd import FLOAT_SLACK, Batch, Clipping, check_supported, network_of
from pegai.privacy.dpsgd_clipping import ALLOCATIONS
from pegai.privacy.dpsgd_gradients import (
    DirectGradient,
    GramGradient,
    OuterGradient,
    linear_gradient,
)
from pegai.privacy.dpsgd_layers import OnFirst, RowLayer
from pegai.privacy.dpsgd_slots import Layout
from pegai.privacy.dpsgd_sum import ClippedSum, sum_clipped

Make = Callable[[], tuple[nn.Module, Tensor]]
ROWS = 37


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(ROWS, *shape, generator=torch.Generator().manual_seed(seed))


def words(*shape: int, below: int) -> Tensor:
    return torch.randint(0, below, (ROWS, *shape), generator=torch.Generator().manual_seed(1))


pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")  # by the reference


class Doubled(RowLayer):
    """What no layer of torch does."""

    def forward(self, units: Tensor) -> Tensor:
        return units * units.mean(-1, keepdim=True)


class Recurrent(nn.Module):
    """Shares its weights over time, which the closed form does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(3, 5)
        self.head = nn.Linear(5, 2)

    def forward(self, rows: Tensor) -> Tensor:
        state = torch.zeros(len(rows), 5, dtype=rows.dtype)
        for step in rows.unbind(1):
            state = self.cell(step, state)
        return self.head(state)


class Attention(nn.Module):
    """A layer of a transformer, which sees the positions of one row."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True)
        self.head = nn.Linear(6, 2)

    def forward(self, rows: Tensor) -> Tensor:
        return self.head(self.layer(rows).mean(1))


class Drawing(nn.Module):
    """Draws at random where nothing in its layers says so."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, rows: Tensor) -> Tensor:
        return self.head(rows + torch.randn_like(rows))


NETWORKS: dict[str, Make] = {
    "linear": lambda: (
        nn.Sequential(nn.Linear(6, 9), nn.ReLU(inplace=True), nn.Linear(9, 2)),
        numbers(6),
    ),
    "no bias": lambda: (
        nn.Sequential(nn.Linear(6, 9, bias=False), nn.Tanh(), nn.Linear(9, 2, bias=False)),
        numbers(6),
    ),
    "on the first units": lambda: (
        nn.Sequential(
            OnFirst(nn.Linear(4, 9), 4),
            OnFirst(nn.Tanh(), 9),
            OnFirst(nn.Linear(9, 3, bias=False), 9),
            Doubled(),
            nn.Linear(7, 2),
        ),
        numbers(8),
    ),
    "wide sequence": lambda: (
        nn.Sequential(nn.Linear(20, 30), nn.GELU(), nn.Flatten(), nn.Linear(90, 2)),
        numbers(3, 20),
    ),
    "long sequence": lambda: (
        nn.Sequential(nn.Linear(2, 3), nn.SiLU(), nn.Flatten(), nn.Linear(36, 2)),
        numbers(12, 2),
    ),
    "layer norm": lambda: (
        nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 2)),
        numbers(6),
    ),
    "layer norm first, of sequences": lambda: (
        nn.Sequential(
            nn.LayerNorm((4, 5), bias=False), nn.Flatten(), nn.LeakyReLU(), nn.Linear(20, 2)
        ),
        numbers(4, 5),
    ),
    "embedding": lambda: (
        nn.Sequential(nn.Embedding(7, 4, padding_idx=2), nn.Flatten(), nn.Linear(24, 2)),
        words(6, below=7),
    ),
    "embedding of one": lambda: (
        nn.Sequential(nn.Embedding(7, 4), nn.ReLU(), nn.Linear(4, 2)),
        words(below=7),
    ),
    "convolution 2d": lambda: (
        nn.Sequential(
            nn.Conv2d(2, 5, 3, stride=2, padding=1, padding_mode="reflect"),
            nn.GroupNorm(5, 5),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Sequential(nn.Conv2d(5, 4, (2, 3), dilation=(2, 1), bias=False), nn.MaxPool2d(2)),
            nn.Flatten(),
            nn.Linear(4, 2),
        ),
        numbers(2, 10, 9),
    ),
    "convolution 1d": lambda: (
        nn.Sequential(
            nn.Conv1d(3, 4, 4, padding="same"),
            nn.AvgPool1d(2),
            nn.Tanh(),
            nn.Conv1d(4, 8, 3, padding="valid"),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Linear(8, 2),
        ),
        numbers(3, 12),
    ),
    "recurrent": lambda: (Recurrent(), numbers(4, 3)),
    "attention": lambda: (Attention(), numbers(4, 6)),
    "transposed convolution": lambda: (
        nn.Sequential(
            nn.Linear(4, 8), nn.Unflatten(1, (2, 2, 2)), nn.ConvTranspose2d(2, 1, 3), nn.Flatten()
        ),
        numbers(4),
    ),
}
every_network = pytest.mark.parametrize("name", list(NETWORKS))
every_allocation = pytest.mark.parametrize("allocation", ALLOCATIONS)


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return 3 * nn.functional.softplus((1 - 2 * targets[:, None]) * outputs).sum(1)


def made(name: str) -> tuple[nn.Module, Batch]:
    torch.manual_seed(7)
    model, inputs = NETWORKS[name]()
    targets = (torch.arange(len(inputs)) % 3 == 0).float()
    return model, Batch(inputs, targets)


def by_patient(batch: Batch) -> list[np.ndarray]:
    if batch.patients is None:
        return [np.array([row]) for row in range(len(batch.inputs))]
    return [np.flatnonzero(batch.patients == who) for who in np.unique(batch.patients)]


def reference_gradients(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Each patient's gradient of the mean loss of their rows, one at a time, in float64."""
    twin = copy.deepcopy(model).double()
    for layer in twin.modules():
        if isinstance(layer, nn.ReLU | nn.LeakyReLU):
            layer.inplace = False
    weights = {name: weight.detach() for name, weight in twin.named_parameters()}
    inputs = batch.inputs.double() if batch.inputs.is_floating_point() else batch.inputs

    def of_one(given: dict[str, Tensor], rows: np.ndarray) -> Tensor:
        outputs = functional_call(twin, given, (inputs[rows],))
        assert batch.targets is not None
        return loss(outputs, batch.targets[rows].double()).mean()

    found = [grad(of_one)(weights, rows) for rows in by_patient(batch)]
    return {name: torch.stack([each[name] for each in found]) for name in weights}


def reference_sum(
    model: nn.Module, batch: Batch, clipping: Clipping
) -> tuple[list[Tensor], Tensor]:
    gradients = reference_gradients(model, batch)
    layers: dict[str, list[str]] = {}
    for name in gradients:
        layers.setdefault(name.rpartition(".")[0], []).append(name)
    groups = [list(gradients)] if clipping.allocation == "flat" else list(layers.values())
    sizes = [sum(gradients[n][0].numel() for n in names) for names in layers.values()]
    norms = []
    for names, bound in zip(groups, clipping.norms(sizes), strict=True):
        squares = [gradients[name].flatten(1).square().sum(1) for name in names]
        norms.append(torch.stack(squares).sum(0).sqrt())
        for name in names:
            factor = (bound / norms[-1]).clamp(max=1.0)
            gradients[name] = torch.einsum("b,b...->...", factor, gradients[name])
    return list(gradients.values()), torch.stack(norms, dim=1)


def clipped(model: nn.Module, batch: Batch, clipping: Clipping, **more: object) -> ClippedSum:
    per_example = not isinstance(model, nn.Sequential) or any(
        isinstance(layer, nn.ConvTranspose2d) for layer in model
    )
    network = network_of(model, loss, per_example=per_example)
    norms = clipping.norms(network.sizes)
    layout = Layout(**more)  # type: ignore[arg-type]
    return sum_clipped(network, batch, clipping=clipping, norms=norms, layout=layout)


@every_network
@every_allocation
@pytest.mark.parametrize("rows", ["one", "several"])
def test_equals_torch_func_to_1e5(name: str, allocation: str, rows: str) -> None:
    model, batch = made(name)
    if rows == "several":  # 1, 2, 3, 4, ... rows a patient, not in order
        patients = np.random.default_rng(0).permutation(np.repeat(np.arange(8), np.arange(1, 9)))
        batch = Batch(batch.inputs[:36], batch.targets[:36], patients)  # type: ignore[index]
    clipping = Clipping(1.5, allocation)  # type: ignore[arg-type]
    expected, norms = reference_sum(model, batch, clipping)
    assert float((norms > norms.median()).double().mean()) > 0.1  # some are clipped, some are not
    found = clipped(model, batch, clipping)
    torch.testing.assert_close(found.norms, norms, rtol=1e-5, atol=1e-6)
    for mine, theirs in zip(found.gradients, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


@every_network
@every_allocation
def test_one_patient_is_clipped_to_the_norm_and_no_further(name: str, allocation: str) -> None:
    model, batch = made(name)
    clipping = Clipping(1e-3, allocation)  # type: ignore[arg-type]
    for row in range(5):
        one = Batch(batch.inputs[row : row + 1], batch.targets[row : row + 1])  # type: ignore[index]
        length = float(clipped(model, one, clipping).flat.norm())
        assert 1e-3 * (1 - 1e-5) <= length <= 1e-3 * (1 + 1e-6)


def test_each_form_is_tried() -> None:
    """The networks above reach every way to have a gradient."""

    def form(positions: int, inputs: int, outputs: int) -> type:
        shape = (2, positions)
        a, g = torch.zeros(*shape, inputs), torch.zeros(*shape, outputs)
        return type(linear_gradient(a, g, has_bias=True))

    assert form(1, 6, 9) is OuterGradient
    assert form(3, 20, 30) is GramGradient  # "wide sequence"
    assert form(12, 2, 3) is DirectGradient  # "long sequence"


@every_network
def test_the_blocks_are_of_no_consequence(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = made(name)
    clipping = Clipping(1.5)
    whole = clipped(model, batch, clipping)
    small = clipped(model, batch, clipping, block_rows=8)
    torch.testing.assert_close(whole.flat, small.flat, rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(dpsgd_slots, "check_slots", lambda *_: False)
    alone = clipped(model, batch, clipping)
    torch.testing.assert_close(whole.flat, alone.flat, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(whole.norms, alone.norms, rtol=1e-5, atol=1e-6)


@every_network
@every_allocation
def test_bad_rows_add_nothing_and_an_empty_batch_gives_zeros(name: str, allocation: str) -> None:
    model, batch = made(name)
    clipping = Clipping(1.5, allocation)  # type: ignore[arg-type]
    empty = clipped(model, Batch(batch.inputs[:0], batch.targets[:0]), clipping)  # type: ignore[index]
    assert float(empty.flat.abs().sum()) == 0
    assert [g.shape for g in empty.gradients] == [p.shape for p in model.parameters()]
    if not batch.inputs.is_floating_point():
        return
    spoilt = torch.cat([batch.inputs, batch.inputs[:3]])
    spoilt[-3] = float("nan")
    spoilt[-2] = float("inf")
    spoilt[-1] = 1e30
    mixed = clipped(model, Batch(spoilt, torch.cat([batch.targets, torch.ones(3)])), clipping)  # type: ignore[list-item]
    alone = clipped(model, batch, clipping)
    finite = mixed.norms[-1].isfinite().all()
    moved = (mixed.flat - alone.flat).norm()
    assert moved <= 1.5 * (1 + FLOAT_SLACK) if finite else moved <= 1e-4


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    others=st.integers(0, 90),
    scale=st.sampled_from([1e-6, 1.0, 1e3, 1e12, 1e17]),
    allocation=st.sampled_from(ALLOCATIONS),
    rows=st.integers(1, 6),
)
def test_a_patient_more_moves_the_sum_by_at_most_the_norms(
    seed: int, others: int, scale: float, allocation: str, rows: int
) -> None:
    """Every group by C_l, all of them by C; with extreme rows, opposite rows, several rows."""
    rng = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2))
    inputs = torch.randn(others + rows, 5, generator=rng)
    inputs[others:] *= scale
    if rows > 1:
        inputs[-1] = -inputs[-2]
    targets = torch.randint(0, 2, (others + rows,), generator=rng).float()
    patients = np.r_[np.arange(others), np.full(rows, others)]
    clipping = Clipping(0.8, allocation)  # type: ignore[arg-type]
    near = clipped(model, Batch(inputs, targets, patients), clipping, block_rows=32)
    far = clipped(
        model, Batch(inputs[:others], targets[:others], patients[:others]), clipping, block_rows=32
    )
    moved = near.flat - far.flat
    assert float(moved.norm()) <= 0.8 * (1 + FLOAT_SLACK)
    assert float((near.counts - far.counts).abs().max()) <= 0.5
    layers = moved.split([5 * 16 + 16, 16 * 8 + 8, 8 * 2 + 2])
    if allocation != "flat":
        for part, bound in zip(layers, clipping.norms([96, 136, 18]), strict=True):
            assert float(part.norm()) <= bound * (1 + FLOAT_SLACK)


def test_rounding_stays_within_the_slack_of_a_worst_case() -> None:
    """Blocks full of equal, fully clipped rows, where float32 sums err one way."""
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    row = torch.rand(1, 64, generator=torch.Generator().manual_seed(0))
    targets = torch.zeros(1)
    clipping = Clipping(1e-2)
    for others in (63, 64, 127, 255):
        sums = [
            clipped(model, Batch(row.expand(n, -1), targets.expand(n)), clipping).flat
            for n in (others, others + 1)
        ]
        moved = float((sums[1] - sums[0]).norm())
        assert moved == pytest.approx(1e-2, rel=FLOAT_SLACK)


def test_terms_that_cancel_do_not_hide_a_long_gradient() -> None:
    """Two rows, opposite up to float32: the sum is tiny next to the terms, and still bounded."""
    model = nn.Sequential(nn.Linear(40, 40), nn.Linear(40, 2))
    a = torch.randn(1, 40, generator=torch.Generator().manual_seed(0)) * 1e6
    inputs = torch.cat([a, -a * (1 + 1e-7)])
    batch = Batch(inputs, torch.zeros(2), np.zeros(2, int))
    assert float(clipped(model, batch, Clipping(1.0)).flat.norm()) <= 1 + 1e-6


def test_a_sum_is_raised_against_cancellation() -> None:
    reach = torch.tensor([2.0**20], dtype=torch.float64)
    below_zero = torch.tensor([-1e-9], dtype=torch.float64)
    assert float(dpsgd_gradients.raised(below_zero, reach)) == 2.0**10


REFUSED: dict[str, tuple[nn.Sequential, str]] = {
    "batch norm": (nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)), "BatchNorm1d"),
    "dropout": (nn.Sequential(nn.Linear(3, 3), nn.Dropout()), "Dropout"),
    "inside": (nn.Sequential(nn.Sequential(nn.Linear(3, 3), nn.Dropout())), "Dropout"),
    "flatten all": (nn.Sequential(nn.Linear(3, 3), nn.Flatten(0)), "Flatten"),
    "max_norm": (nn.Sequential(nn.Embedding(3, 3, max_norm=1.0)), "max_norm"),
    "groups": (nn.Sequential(nn.Conv2d(2, 2, 3, groups=2)), "groups"),
    "prelu": (nn.Sequential(nn.Linear(3, 3), nn.PReLU()), "PReLU"),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_layers_without_a_guarantee_are_refused(name: str) -> None:
    model, said = REFUSED[name]
    with pytest.raises(PrivacyError, match=said):
        check_supported(model)


def test_a_shared_weight_is_refused() -> None:
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    with pytest.raises(PrivacyError, match="twice"):
        check_supported(nn.Sequential(first, nn.ReLU(), second))


@pytest.mark.parametrize(
    "layer", [nn.BatchNorm1d(3), nn.Dropout(), nn.InstanceNorm1d(3, track_running_stats=True)]
)
def test_writing_gradients_out_does_not_let_layers_mix_patients(layer: nn.Module) -> None:
    model = nn.Sequential(nn.Linear(3, 3), layer)
    with pytest.raises(PrivacyError, match=type(layer).__name__):
        network_of(model, loss, per_example=True)


def test_draws_of_its_own_are_refused() -> None:
    with pytest.raises(PrivacyError, match="at random"):
        clipped(Drawing(), Batch(numbers(3), torch.zeros(ROWS)), Clipping())


def test_other_modules_need_per_example() -> None:
    with pytest.raises(PrivacyError, match="Recurrent"):
        network_of(Recurrent(), loss)


def test_half_precision_is_refused() -> None:
    with pytest.raises(PrivacyError, match="float32"):
        network_of(nn.Sequential(nn.Linear(3, 3)).half(), loss)


class Scaled(RowLayer):
    """Has a parameter, which no such layer may."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))


def test_a_row_layer_has_no_parameters() -> None:
    with pytest.raises(PrivacyError, match="has parameters"):
        check_supported(nn.Sequential(nn.Linear(3, 3), Scaled()))


def test_a_layer_on_a_part_of_the_units_is_linear_or_by_unit() -> None:
    for layer in (nn.LayerNorm(3), nn.ReLU(inplace=True)):
        with pytest.raises(PrivacyError, match="part of the units"):
            OnFirst(layer, 3)
