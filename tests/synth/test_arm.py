"""The any-order model: completions are what the network says, conditionals and imputation hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from pegai.data.datasets import load_heart_disease
from pegai.data.table import Table
from pegai.errors import DataError, ModelError, UsageError
from pegai.schema import schema_from_dict
from pegai.synth.arm import ARM, ARMConfig, FittedARM
from pegai.synth.networks.anyorder import AnyOrder, Completion, Shown
from pegai.synth.networks.blocks import Blocks


def three(n: int = 4000, seed: int = 0) -> Table:
    """c is a xor b, four times out of five."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 2, n), rng.integers(0, 2, n)
    c = np.where(rng.random(n) < 0.8, a ^ b, rng.integers(0, 2, n))
    fields = [{"name": k, "type": "integer", "categories": [0, 1]} for k in "abc"]
    for field in fields:
        field["constraints"] = {"required": True}
    frame = pl.DataFrame({"a": a, "b": b, "c": c})
    return Table(frame, schema_from_dict({"fields": fields}))


@pytest.fixture(scope="module")
def fitted() -> FittedARM:
    model = ARM(ARMConfig(hidden=32, max_steps=1500)).fit(three(), rng=0)
    assert isinstance(model, FittedARM)
    return model


def test_completion_by_lookup_is_the_network(fitted: FittedARM) -> None:
    heart = ARM(ARMConfig(hidden=16, max_steps=20)).fit(load_heart_disease("cleveland"), rng=0)
    assert isinstance(heart, FittedARM)
    model, blocks = heart.model, Blocks.of(heart.encoder)
    codes = torch.from_numpy(
        heart.encoder.encode(load_heart_disease("cleveland").modelled()).astype(np.int64)
    )
    rows, shown = torch.arange(len(codes)), torch.zeros(len(codes), len(blocks.sizes))
    completion = Completion(model, blocks, len(codes))
    with torch.no_grad():
        for column in (3, 0, 12):
            completion.show(column, codes[:, column], rows)
            shown[:, column] = 1
        seen = blocks.one_hot(codes.numpy()) * shown[:, blocks.column_of]
        whole = blocks.log_softmax(model(torch.cat([seen, shown], dim=1)))
        for column in (1, 7, 13):
            own = completion.log_shares(column, rows)
            assert torch.allclose(own, whole[:, blocks.span(column)], atol=1e-4)


def test_an_interaction_without_main_effects_is_learned(fitted: FittedARM) -> None:
    made = fitted.sample(6000, rng=1).frame
    agree = (made["c"] == (made["a"] + made["b"]) % 2).mean()
    assert agree == pytest.approx(0.9, abs=0.03)


def test_conditionals_are_those_of_the_rows_drawn_freely(fitted: FittedARM) -> None:
    free = fitted.sample(40_000, rng=2).frame.filter((pl.col("a") == 1) & (pl.col("c") == 0))
    given = fitted.sample(8000, given={"a": 1, "c": 0}, rng=3).frame
    assert given["b"].mean() == pytest.approx(free["b"].mean(), abs=0.03)
    assert given["b"].mean() > 0.8


def test_masks_hide_some_columns_and_weigh_them_to_one() -> None:
    blocks = Blocks((2, 3, 4), torch.zeros(9))
    rows = blocks.one_hot(np.tile([1, 2, 3], (5000, 1)))
    drawn = torch.rand(len(rows), len(blocks.sizes) + 1, generator=torch.Generator().manual_seed(0))
    shown = Shown.of(blocks, rows, drawn)
    assert shown.wanted.sum(1) == pytest.approx(1.0)
    sizes = np.bincount(shown.inputs[:, 9:].sum(1).int().numpy()) / 5000
    assert sizes == pytest.approx([1 / 3, 1 / 3, 1 / 3], abs=0.03)
    assert not (shown.inputs[:, :9] * shown.wanted).any()


def test_missing_cells_are_filled_and_known_ones_stay(fitted: FittedARM) -> None:
    table = three(3000, seed=9)
    hole = np.random.default_rng(1).random(3000) < 0.5
    frame = table.frame.with_columns(c=pl.when(pl.Series(hole)).then(None).otherwise(pl.col("c")))
    done = fitted.impute(Table(frame, table.schema), rng=4)
    assert done["c"].null_count() == 0
    assert done.frame.filter(~pl.Series(hole)).equals(table.frame.filter(~pl.Series(hole)))
    filled = done.frame.filter(pl.Series(hole))
    agree = (filled["c"] == (filled["a"] + filled["b"]) % 2).mean()
    assert agree == pytest.approx(0.9, abs=0.04)
    with pytest.raises(DataError, match="lacks columns"):
        fitted.impute(table.select(["a", "b"]))


def test_settings_and_arrays_that_can_not_be_are_refused(tmp_path: Path) -> None:
    for wrong in ({"layers": 0}, {"hidden": 1}, {"learning_rate": 0.0}, {"ema": 1.0}):
        with pytest.raises(UsageError):
            ARMConfig(**wrong)
    with pytest.raises(ModelError, match="any-order"):
        AnyOrder.from_arrays({"net.0.weight": np.zeros((2, 3), np.float32)})
