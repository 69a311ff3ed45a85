"""Where patients stand in a batch: secret, of fixed shape, and without effect on one another."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pegai.errors import PrivacyError, UsageError
from pegai.privacy.dpsgd import Batch, Clipping, all_rows, clipped_gradient_sum, network_of
from pegai.privacy.dpsgd_network import Rows
from pegai.privacy.dpsgd_slots import Layout, Seating, check_slots, secret_permutation
from pegai.privacy.dpsgd_sum import sum_clipped


def loss(outputs: Tensor) -> Tensor:
    return nn.functional.softplus(-outputs).squeeze(1)


def network(width: int = 30) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1)
    )


def test_permutations_are_uniform() -> None:
    """Chi-square with 23 degrees of freedom over 12,000 draws of 4: false alarm 1e-5 at 63."""
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(12_000):
        drawn = tuple(int(i) for i in secret_permutation(4))
        counts[drawn] = counts.get(drawn, 0) + 1
    assert len(counts) == math.factorial(4)
    assert sum((n - 500) ** 2 / 500 for n in counts.values()) < 63
    assert secret_permutation(0).size == 0


def test_equal_words_are_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from pegai.privacy.samplers import SecureRandom

    answers = iter([np.array([5, 5, 1], np.uint64), np.array([5, 7, 1], np.uint64)])
    monkeypatch.setattr(SecureRandom, "words", lambda *_: next(answers))
    assert secret_permutation(3).tolist() == [2, 0, 1]


@pytest.mark.parametrize("rows", [0, 1, 63, 64, 200])
def test_blocks_have_one_shape_whatever_the_batch(rows: int) -> None:
    inputs = torch.randn(rows, 30)
    blocks = list(Layout(64).blocks(network_of(network(), loss), Batch(inputs)))
    assert {block.rows.inputs.shape for block in blocks} <= {torch.Size([64, 30])}
    assert sorted(np.concatenate([b.patients for b in blocks] or [np.zeros(0)])) == list(
        range(rows)
    )
    for block in blocks:
        n = len(block.patients)
        assert torch.equal(block.rows.inputs[:n], inputs[torch.as_tensor(block.patients)])
        assert not block.rows.inputs[n:].any()


def test_company_and_slot_do_not_change_a_bit() -> None:
    """What `check_slots` found on made-up rows holds for others, and on other weights."""
    found = network_of(network(), loss)
    batch = Batch(torch.randn(1, 30))
    if not check_slots(found, batch, 1, 64):
        pytest.skip("this machine's products round by slot: blocks of one patient are used here")
    mine = torch.randn(30)
    seen: list[Tensor] = []
    for slot in (0, 13, 63):
        inputs = torch.randn(64, 30) * 10
        inputs[slot] = mine
        layers = found.gradients(Rows(inputs, None, None, 64))
        seen.append(torch.cat([t[slot].flatten() for layer in layers for t in layer.evidence()]))
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0], seen[2])


def test_a_loss_that_mixes_patients_is_refused() -> None:
    def centred(outputs: Tensor) -> Tensor:
        return ((outputs - outputs.mean()) ** 2).squeeze(1)

    with pytest.raises(PrivacyError, match="mixes patients"):
        clipped_gradient_sum(network(), torch.randn(5, 30), centred, clipping_norm=1.0)


def test_a_mean_loss_is_refused() -> None:
    with pytest.raises(PrivacyError, match="one number a row"):
        clipped_gradient_sum(network(), torch.randn(5, 30), lambda o: o.mean(), clipping_norm=1.0)


def test_machines_that_round_by_slot_get_blocks_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A product that rounds rows by their place, as a BLAS may: the check sees it."""
    honest = torch.nn.functional.linear

    def by_slot(a: Tensor, *rest: Tensor) -> Tensor:
        return honest(a, *rest) * (1 + 2e-7 * torch.arange(len(a))[:, None].sign())

    monkeypatch.setattr("torch.nn.functional.linear", by_slot)
    layout = Layout(64)
    batch = Batch(torch.randn(5, 30))
    blocks = list(layout.blocks(network_of(network(), loss), batch))
    assert [len(block.rows.inputs) for block in blocks] == [1] * 5


def test_rows_of_a_patient_are_averaged_then_clipped() -> None:
    """Copies of a row count as the row; so clipping before averaging, or a sum, would show."""
    model, row = network(), torch.randn(1, 30, generator=torch.Generator().manual_seed(0))
    one = clipped_gradient_sum(model, row, loss, clipping_norm=1e-3)
    for copies in (2, 3, 5):
        many = clipped_gradient_sum(
            model, row.expand(copies, -1), loss, clipping_norm=1e-3, patients=np.zeros(copies, int)
        )
        torch.testing.assert_close(many.norms, one.norms, rtol=1e-5, atol=0)
        torch.testing.assert_close(many.flat, one.flat, rtol=1e-5, atol=1e-8)


def test_norms_come_in_the_order_of_patients() -> None:
    model, inputs = network(), torch.randn(9, 30, generator=torch.Generator().manual_seed(0))
    patients = np.array([40, 7, 7, 40, 3, 40, 7, 40, 11])
    together = clipped_gradient_sum(model, inputs, loss, clipping_norm=1.0, patients=patients)
    for place, who in enumerate([3, 7, 11, 40]):
        mine = patients == who
        alone = clipped_gradient_sum(
            model, inputs[mine], loss, clipping_norm=1.0, patients=patients[mine]
        )
        assert float(together.norms[place]) == pytest.approx(float(alone.norms[0]), rel=1e-5)


def test_a_patient_has_at_most_the_bounded_rows() -> None:
    batch = Batch(torch.zeros(12, 3), patients=np.array([0] * 9 + [1, 1, 5]))
    seating = Seating.of(batch, max_rows=4)
    assert seating.counts.tolist() == [4, 2, 1]
    groups = {length: sorted(who) for length, who in seating.by_length(4)}
    assert groups == {1: [2], 2: [1], 4: [0]}
    drawn = {int(Seating.of(batch, max_rows=1).order[0]) for _ in range(300)}
    assert drawn == set(range(9))  # any of them may be kept; one missing has chance 9 x 5e-16


def test_the_most_rows_may_be_any_number() -> None:
    inputs = torch.randn(7, 30)
    found = network_of(network(), loss)
    clipping = Clipping()
    total = sum_clipped(
        found,
        Batch(inputs, patients=np.zeros(7, int)),
        clipping=clipping,
        norms=(1.0,),
        layout=Layout(max_rows=7),
    )
    assert total.norms.shape == (1, 1)
    with pytest.raises(UsageError):
        Layout(max_rows=0)


def test_columns_of_a_batch_must_fit() -> None:
    with pytest.raises(PrivacyError):
        Batch(torch.zeros(3, 2), torch.zeros(2))
    with pytest.raises(PrivacyError):
        Batch(torch.zeros(3, 2), patients=np.zeros(4, int))


def test_all_rows_of_the_chosen() -> None:
    units = np.array([2, 0, 1, 2, 0])
    assert all_rows(np.array([True, False, True]), units).tolist() == [0, 1, 3, 4]
    assert all_rows(np.zeros(3, bool), units).size == 0
