"""Federated averaging without privacy: sites train by themselves, and weights are averaged.

After McMahan et al. 2017 (arXiv:1602.05629); Fed-TGAN (arXiv:2108.07927) does it for tabular GANs.
Each round every site starts from the average, takes some steps on its own rows, and the weights are
averaged by how many rows each site has. Two things keep skew from spoiling it: codes and starting
shares are those of all sites together, by class, so that a site without some class does not unlearn
it; and rounds are short.

**There is no privacy in it**: exact counts and weights that have seen single patients are shown to
the coordinator. So it runs on tables that are all in one place, to compare with; no message asks a
site for it. With privacy networks are trained step by step (`networks`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import nn

from pegai.data.table import Table
from pegai.encode.table import TableEncoder, TableSummary, summarize
from pegai.synth.base import Fitted, in_users_form, private_rows
from pegai.synth.grids import class_shares, code_tables
from pegai.synth.latent import LatentSynthesizer
from pegai.synth.looks import hold_back
from pegai.synth.networks.blocks import one_thread
from pegai.synth.networks.layout import Layout
from pegai.synth.networks.priors import LatentMixture
from pegai.synth.networks.training import (
    MAX_HELD_BACK,
    Schedule,
    Trainee,
    TrainingOutcome,
    TrainingRows,
    arrays_of,
    batch_size,
    slow_down,
)
from pegai.synth.rows import chunks, encode_rows, modelled
from pegai.synth.running import Run

Method = LatentSynthesizer[Any]


@dataclass(frozen=True, eq=False)
class _Local:
    """A site: its networks, its rows, and its part in the average."""

    trainee: Trainee
    layout: Layout
    rows: TrainingRows
    weight: float

    def learn(self, steps: int, done: float) -> None:
        """Some steps on its own rows."""
        batch = batch_size(len(self.rows.learned))
        slow_down(self.trainee.optimizers.values(), done)
        for _ in range(steps):
            self.trainee.step(self.rows.draw(batch, self.trainee.draws))

    def rows_by_class(self) -> np.ndarray:
        """How many rows it learns from, shape (classes,)."""
        _, classes = self.layout.one_hot(self.rows.codes[self.rows.learned])
        return classes.sum(0).cpu().numpy()

    def judge(self) -> float:
        """How well the average explains the rows that it has held back."""
        return self.trainee.judge(self.rows.judged)


def fit_averaged(
    method: Method, tables: Mapping[str, Table], rng: np.random.Generator, run: Run | None = None
) -> Fitted:
    """Fit a network over several sites without privacy.

    Args:
        method: `gan`, `ctgan`, `tvae` or `vaegan`.
        tables: Of the sites, by name, all of one schema.
        rng: Equal generators give equal models.
        run: Is told of progress.
    """
    run = run or Run()
    schema = next(iter(tables.values())).schema
    with one_thread():
        learned = _fit(method, [private_rows(table) for table in tables.values()], rng, run)
    return in_users_form(learned, schema)


def _fit(method: Method, tables: Sequence[Table], rng: np.random.Generator, run: Run) -> Fitted:
    encoder = _encoder(method, tables)
    codes = [encode_rows(table, encoder) for table in tables]
    parts = [hold_back(table.unit_codes(), method.config.held_back, rng) for table in tables]
    condition = method.condition(tables[0].schema, private=False)
    counted = [
        code_tables(encoder, site[learned], condition)
        for site, (learned, _) in zip(codes, parts, strict=True)
    ]
    together = [np.sum(same, axis=0) for same in zip(*counted, strict=True)]
    shares = class_shares(together, smoothing=0.5)
    patients = float(sum(table.unit_codes().max(initial=-1) + 1 for table in tables))
    seed = int(rng.integers(2**63))

    def begin(stream: int) -> Any:
        """The same first weights everywhere; draws of its own."""
        begun = method.begin_at(
            encoder, shares, patients, np.random.default_rng(seed), run, private=False
        )
        begun.start.draws.manual_seed(seed // 2 + stream)
        return begun

    sites: list[_Local] = []
    for i, (site, (learned, held)) in enumerate(zip(codes, parts, strict=True)):
        judged = rng.permutation(held if held.size else learned)[:MAX_HELD_BACK]
        rows = TrainingRows(site, learned, judged)
        start = begin(1 + i).start
        sites.append(_Local(method.trainee(start), start.layout, rows, float(len(learned))))
    _share(sites)
    outcome = _train(sites, method.config.max_steps, run)
    weights, prior = _finish(sites, outcome, rng)
    return method.done(begin(0), replace(outcome, weights=weights), prior, None)


def _encoder(method: Method, tables: Sequence[Table]) -> TableEncoder:
    """The codes of all sites' rows, from summaries that add up."""
    config = method.config
    summaries = [summarize(chunks(modelled(table))) for table in tables]
    return TableEncoder.fit(
        reduce(TableSummary.merge, summaries),
        max_bins=config.bins(sum(len(table) for table in tables)),
        min_count=config.min_count,
        max_levels=config.max_levels,
    )


def _train(sites: Sequence[_Local], max_steps: int, run: Run) -> TrainingOutcome:
    """Rounds until the average explains held-back rows no better."""
    judged = sum(len(site.rows.held_back) for site in sites)
    learned = sum(len(site.rows.learned) for site in sites)
    schedule = Schedule.of(learned, judged, max_steps)
    looks, step, best_step = [_judge(sites)], 0, 0
    best = arrays_of(sites[0].trainee.networks["kept"])
    while not schedule.is_over(step, best_step):
        ahead = min(schedule.check_every, max_steps - step)
        for site in sites:
            site.learn(ahead, step / max_steps)
        _share(sites)
        step += ahead
        looks.append(_judge(sites))
        if looks[-1] >= max(looks):
            best, best_step = arrays_of(sites[0].trainee.networks["kept"]), step
        run.progress("averaging what sites have learned", step / max_steps)
    return TrainingOutcome(best, best_step, tuple(looks))


def _finish(
    sites: Sequence[_Local], outcome: TrainingOutcome, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], LatentMixture | None]:
    """The generator's weights, and where it has a prior of its own that of all sites' parts."""
    finished = [site.trainee.finish(outcome.weights, site.rows, rng) for site in sites]
    priors = [prior for _, prior in finished if prior is not None]
    if not priors:
        return finished[0][0], None
    rows = np.array([site.rows_by_class() for site in sites])
    return finished[0][0], LatentMixture.joined(priors, rows)


def _judge(sites: Sequence[_Local]) -> float:
    counts = np.array([len(site.rows.held_back) for site in sites], float)
    return float(np.average([site.judge() for site in sites], weights=counts))


@torch.no_grad()
def _share(sites: Sequence[_Local]) -> None:
    """Give every site the average of all networks, weighted by rows."""
    whole = sum(site.weight for site in sites)
    for name in sites[0].trainee.networks:
        networks: list[nn.Module] = [site.trainee.networks[name] for site in sites]
        for same in zip(*[network.parameters() for network in networks], strict=True):
            mean = torch.stack(
                [p * (site.weight / whole) for p, site in zip(same, sites, strict=True)]
            ).sum(0)
            for parameter in same:
                parameter.copy_(mean)
