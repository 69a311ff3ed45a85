"""Networks averaged over sites without privacy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pegai.federate import averaging
from pegai.federate.averaging import fit_averaged
from pegai.synth.catalog import make

from .sites import NAMES, small_table

TABLES = {name: small_table(i) for i, name in enumerate(NAMES)}


@pytest.mark.parametrize("name", ["gan", "ctgan", "tvae", "vaegan"])
def test_every_network_is_averaged(name: str) -> None:
    model = fit_averaged(make(name, {"max_steps": 40}), TABLES, np.random.default_rng(0))
    assert model.guarantee is None
    assert len(model.sample(30, rng=0)) == 30


def test_equal_seeds_give_equal_models() -> None:
    method = make("ctgan", {"max_steps": 40})
    one, two = (fit_averaged(method, TABLES, np.random.default_rng(5)) for _ in range(2))
    assert one.sample(50, rng=1).frame.equals(two.sample(50, rng=1).frame)


def test_the_average_is_weighted_by_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a round all sites have the same networks: the mean of what they had."""
    before: list[list[torch.Tensor]] = []
    real = averaging._share

    def critic(site: Any) -> list[torch.Tensor]:
        return list(site.trainee.networks["critic"].parameters())

    def noting(sites: Any) -> None:
        if not before and sites[0].trainee.counters["steps"] > 0:
            before.extend([p.detach().clone() for p in critic(site)] for site in sites)
            weights = np.array([s.weight for s in sites])
            real(sites)
            for i, parameter in enumerate(critic(sites[0])):
                due = sum(w * b[i] for w, b in zip(weights / weights.sum(), before, strict=True))
                torch.testing.assert_close(parameter, due, atol=1e-5, rtol=1e-4)
                for site in sites[1:]:
                    assert torch.equal(parameter, critic(site)[i])
            return
        real(sites)

    monkeypatch.setattr(averaging, "_share", noting)
    uneven = {"a": TABLES["aarhus"], "b": TABLES["bergen"].take(np.arange(40))}
    fit_averaged(make("ctgan", {"max_steps": 40}), uneven, np.random.default_rng(0))
    assert before
    assert any(not torch.equal(x, y) for x, y in zip(before[0], before[1], strict=True))


def test_a_site_without_a_class_does_not_unlearn_it() -> None:
    """Starting shares are those of all sites together."""
    sick = TABLES["aarhus"].take(TABLES["aarhus"].texts("num").to_numpy() == "1")
    tables = {"a": sick, "b": TABLES["bergen"], "c": TABLES["cadiz"]}
    model = fit_averaged(make("ctgan", {"max_steps": 60}), tables, np.random.default_rng(0))
    drawn = model.sample(2000, rng=0).texts("num").to_numpy()
    real = np.concatenate([t.texts("num").to_numpy() for t in tables.values()])
    assert abs((drawn == "0").mean() - (real == "0").mean()) < 0.06
