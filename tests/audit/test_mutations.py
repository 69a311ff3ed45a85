"""Seeded bugs, each one that a library of this field shipped: the audit must find every one.

A bug is put in by replacing one function while the audit runs; the same checks without it find
nothing (`test_nothing_is_found_without_a_bug`), so what is found is the bug.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from pegai.audit.findings import Finding
from pegai.audit.suite import AuditRequest, run_audit
from pegai.data.table import Table
from pegai.errors import PegaiError
from pegai.privacy import dpsgd, dpsgd_sum, mechanisms
from pegai.privacy.dpsgd_clipping import Clipping
from pegai.privacy.mechanisms import GaussianMechanism, LaplaceMechanism
from pegai.privacy.samplers import SecureRandom
from pegai.privacy.session import Session
from pegai.synth import aim, base, files, independent
from pegai.synth.grids import PatientWeights, patient_weight
from pegai.synth.marginals.counting import Counter

Patch = pytest.MonkeyPatch
RUNS = 10_000
MUTATED = "independent"


def halve_the_noise(patch: Patch) -> None:
    """SmartNoise, dpmm: the noise is half of what was charged."""
    release = GaussianMechanism.release

    def less(self: GaussianMechanism, values: Any) -> Any:
        return release(GaussianMechanism(self.l2_sensitivity, self.noise_multiplier / 2), values)

    patch.setattr(GaussianMechanism, "release", less)


def halve_laplace_noise(patch: Patch) -> None:
    release = LaplaceMechanism.release

    def less(self: LaplaceMechanism, values: Any) -> Any:
        return release(LaplaceMechanism(self.l1_sensitivity, self.noise_multiplier / 2), values)

    patch.setattr(LaplaceMechanism, "release", less)


def sample_twice_as_often(patch: Patch) -> None:
    """Opacus #571: batches are larger than the q that was accounted."""
    drawn = SecureRandom.bernoulli

    def more(self: SecureRandom, probability: float, size: int) -> Any:
        return drawn(self, min(2 * probability, 1.0), size)

    patch.setattr(SecureRandom, "bernoulli", more)


def divide_by_the_batch(patch: Patch) -> None:
    """Opacus #819: the mean is over the private batch instead of a public number."""
    step = dpsgd.PrivateGradient.step

    def scaled(self: Any, batch: Any) -> Any:
        public = self.divisor
        self.divisor = float(max(len(batch.inputs), 1))
        try:
            return step(self, batch)
        finally:
            self.divisor = public

    patch.setattr(dpsgd.PrivateGradient, "step", scaled)


def read_bounds_from_the_data(patch: Patch) -> None:
    """synthcity #278, Borealis #12, dpmm #18: min and max of the private column."""

    def tightened(table: Table) -> Table:
        raw = table.schema.to_dict()
        for field in raw["fields"]:
            values = table.frame[field["name"]].drop_nulls()
            if field["type"] == "integer" and "minimum" in field.get("constraints", {}):
                low, high = values.min(), values.max()
                field["constraints"] |= {"minimum": low or 0, "maximum": high or 1}
        return Table(table.frame, type(table.schema).model_validate(raw))

    _mutate_fit(patch, tightened)


def read_categories_from_the_data(patch: Patch) -> None:
    """dpmm #24, reprosyn #38: the category list is what was seen."""

    def seen_only(table: Table) -> Table:
        raw = table.schema.to_dict()
        for field in raw["fields"]:
            if field["type"] == "string" and field.get("categories"):
                seen = table.frame[field["name"]].drop_nulls().unique().sort().to_list()
                field["categories"] = seen or field["categories"]
        return Table(table.frame, type(table.schema).model_validate(raw))

    _mutate_fit(patch, seen_only)


def drop_constant_columns(patch: Patch) -> None:
    """dpmm: what is constant is left out of the model and written back as it is."""

    def constant_is_missing(table: Table) -> Table:
        frame = table.frame
        flat = [n for n in frame.columns if frame[n].drop_nulls().n_unique() < 2]
        fields = [f for f in table.schema.to_dict()["fields"] if f["name"] not in flat]
        raw = {**table.schema.to_dict(), "fields": fields}
        return Table(frame.drop(flat), type(table.schema).model_validate(raw))

    _mutate_fit(patch, constant_is_missing)


def _mutate_fit(patch: Patch, change: Callable[[Table], Table]) -> None:
    fit = independent.Independent._fit

    def mutated(self: Any, table: Table, *rest: Any) -> Any:
        return fit(self, change(table), *rest)

    patch.setattr(independent.Independent, "_fit", mutated)


def skip_noise_on_errors(patch: Patch) -> None:
    """DataSynthesizer and others: an `except` that returns the values as they are."""
    release = GaussianMechanism.release

    def forgiving(self: GaussianMechanism, values: Any) -> Any:
        try:
            return release(self, values)
        except PegaiError:
            return values

    patch.setattr(GaussianMechanism, "release", forgiving)


def spend_a_budget_twice(patch: Patch) -> None:
    """Planned uses are not used up."""
    patch.setattr(Session, "_consume", lambda self, label: None)


def never_empty_a_filter(patch: Patch) -> None:
    patch.setattr(Session, "_spend", lambda self, event, mu_squared: None)


def clip_after_averaging(patch: Patch) -> None:
    """Micro-batches: the batch's gradient is clipped instead of each patient's."""
    clipped = dpsgd_sum.sum_clipped

    def at_the_end(network: Any, batch: Any, *, clipping: Any, norms: Any, layout: Any) -> Any:
        wide = [2.0**20] * len(norms)
        total = clipped(network, batch, clipping=clipping, norms=wide, layout=layout)
        rows = max(len(batch.inputs), 1)
        factor = min(rows * norms[0] / max(float(total.flat.norm()), 1e-300), 1.0)
        return replace(total, flat=total.flat * factor)

    patch.setattr(dpsgd, "sum_clipped", at_the_end)


def give_each_layer_the_whole_norm(patch: Patch) -> None:
    """Per-layer clipping with the sensitivity of one layer."""
    norms = Clipping.norms

    def whole(self: Clipping, sizes: Any) -> Any:
        return tuple(self.norm for _ in norms(self, sizes))

    def of_one(self: Any) -> float:
        return max(c / s for c, s in zip(self.norms, self.deviations, strict=True))

    patch.setattr(Clipping, "norms", whole)
    patch.setattr(dpsgd.LayerNoise, "sensitivity", property(of_one))


def reuse_a_seed(patch: Patch) -> None:
    """Noise from a generator with a fixed seed."""

    def seeded(self: Any, sigma: float, shape: Any) -> Any:
        return np.rint(np.random.default_rng(0).normal(0, sigma, shape)).astype(np.int64)

    patch.setattr(SecureRandom, "grid_gaussian", seeded)


def add_float_noise(patch: Patch) -> None:
    """Mironov 2012: noise is added in floating point."""

    def release(self: GaussianMechanism, values: Any) -> Any:
        values = np.asarray(values)
        if not np.isfinite(values).all():
            raise mechanisms.PrivacyError("not finite")
        deviation = self.l2_sensitivity * self.noise_multiplier
        return values + np.random.default_rng().normal(0, deviation, values.shape)

    patch.setattr(GaussianMechanism, "release", release)


def stop_early_by_a_private_look(patch: Patch) -> None:
    """The fit stops, uncharged, where it suits the private table best."""
    of, fit_mixture = Counter.of, aim.fit_mixture
    seen: dict[str, Any] = {}

    def remember(table: Table, encoder: Any, at: int | None) -> Counter:
        counter = of(table, encoder, at)
        seen["exact"] = counter.one(0).sum(axis=0) / max(counter.one(0).sum(), 1)
        return counter

    def stopped(problem: Any, settings: Any, rng: Any, **more: Any) -> Any:
        mixture = fit_mixture(problem, settings, rng, **more)
        inside = mixture.shares[:, :, mixture.layout.span(0)]
        shares = np.einsum("ck,ckd->d", mixture.weights, inside)
        misfit = float(np.abs(shares - seen["exact"]).sum())
        steps = 1 + int(1e4 * misfit) % 20
        return fit_mixture(problem, replace(settings, steps=steps), rng, **more)

    patch.setattr(Counter, "of", remember)
    patch.setattr(aim, "fit_mixture", stopped)


def count_rows_as_patients(patch: Patch) -> None:
    """A patient's fifty rows weigh as fifty patients."""

    def each(table: Table) -> PatientWeights:
        whole = patient_weight(table.schema)
        return PatientWeights(np.full(len(table), float(whole)), whole)

    patch.setattr(PatientWeights, "of", each)


def count_rows_without_a_patient(patch: Patch) -> None:
    """Rows without an id are taken for a patient each."""

    def each(table: Table) -> Table:
        unit = table.schema.unit
        if unit is None:
            return table
        ids = pl.int_range(pl.len()).cast(pl.String)
        return Table(table.frame.with_columns(pl.col(unit).fill_null("row" + ids)), table.schema)

    patch.setattr(base, "known_patients", each)


def print_the_row_count(patch: Patch) -> None:
    """A log line with the exact number of patients."""

    def told(table: Table) -> Table:
        print(f"fitting {len(table)} rows")
        return table

    _mutate_fit(patch, told)


def leave_noise_out_of_large_batches(patch: Patch) -> None:
    """A branch on the private data decides whether a step has noise."""
    step = dpsgd.PrivateGradient.step

    def skipping(self: Any, batch: Any) -> Any:
        if len(batch.inputs) > 20:
            return [torch.zeros_like(p) for p in self._parts[0].parameters()]
        return step(self, batch)

    patch.setattr(dpsgd.PrivateGradient, "step", skipping)


def write_the_seed(patch: Patch) -> None:
    """Hazy and others: the seed of the noise stands in the release."""
    write = files.write_model

    def with_seed(model: Any, folder: Any, **more: Any) -> None:
        write(replace(model, settings={**model.settings, "seed": 7}), folder, **more)

    patch.setattr(base, "write_model", with_seed)


def write_a_real_row(patch: Patch) -> None:
    """dpmm: a real record's value fills in what is missing."""
    fit, to_file = independent.Independent._fit, independent.FittedIndependent.to_file
    seen: list[str] = []

    def remembering(self: Any, table: Table, *rest: Any) -> Any:
        seen.append(str(table.frame["at"].drop_nulls()[0].timestamp()))
        return fit(self, table, *rest)

    def with_fill(self: Any) -> Any:
        model = to_file(self)
        return replace(model, state={**model.state, "fill_value": float(seen[-1])})

    patch.setattr(independent.Independent, "_fit", remembering)
    patch.setattr(independent.FittedIndependent, "to_file", with_fill)


@dataclass(frozen=True)
class Bug:
    """A seeded bug, and the cheapest check that must find it.

    `named` is one of the catalogue's twelve.
    """

    put_in: Callable[[Patch], None]
    check: str
    method: str = MUTATED
    named: str = ""


BUGS = (
    Bug(halve_the_noise, "gdp", named="noise halved"),
    Bug(sample_twice_as_often, "parts", named="q wrong"),
    Bug(divide_by_the_batch, "parts", named="divisor from private n"),
    Bug(read_bounds_from_the_data, "replay", named="bounds from data"),
    Bug(read_categories_from_the_data, "replay", named="category leak"),
    Bug(skip_noise_on_errors, "parts", named="noise skipped on error"),
    Bug(spend_a_budget_twice, "parts", named="double use of a budget"),
    Bug(clip_after_averaging, "parts", named="clipping after averaging"),
    Bug(give_each_layer_the_whole_norm, "parts", named="per-layer sensitivity"),
    Bug(reuse_a_seed, "parts", named="seed reuse"),
    Bug(add_float_noise, "parts", named="float noise"),
    Bug(stop_early_by_a_private_look, "replay", "aim", named="unaccounted early stopping"),
    Bug(halve_laplace_noise, "gdp"),
    Bug(never_empty_a_filter, "parts"),
    Bug(divide_by_the_batch, "replay", "ctgan"),
    Bug(sample_twice_as_often, "canaries", "ctgan"),
    Bug(clip_after_averaging, "canaries", "ctgan"),
    Bug(drop_constant_columns, "replay"),
    Bug(count_rows_as_patients, "replay"),
    Bug(count_rows_as_patients, "replay", "aim"),
    Bug(count_rows_without_a_patient, "replay", "mst"),
    Bug(print_the_row_count, "replay"),
    Bug(leave_noise_out_of_large_batches, "replay", "ctgan"),
    Bug(write_the_seed, "artefacts"),
    Bug(write_a_real_row, "artefacts"),
)


def found(check: str, method: str) -> tuple[Finding, ...]:
    return run_audit(AuditRequest((method,), checks=(check,), runs=RUNS)).findings


@pytest.mark.parametrize(
    "bug", BUGS, ids=lambda bug: f"{bug.put_in.__name__}-{bug.check}-{bug.method}"
)
def test_every_seeded_bug_is_caught(bug: Bug, monkeypatch: Patch) -> None:
    bug.put_in(monkeypatch)
    findings = found(bug.check, bug.method)
    # A fit that the bug broke altogether would prove nothing.
    assert [f for f in findings if "the fit failed" not in f.what]


def test_all_twelve_bugs_of_the_catalogue_are_seeded() -> None:
    assert {bug.named for bug in BUGS} - {""} == {
        "noise halved",
        "q wrong",
        "divisor from private n",
        "bounds from data",
        "category leak",
        "noise skipped on error",
        "double use of a budget",
        "clipping after averaging",
        "per-layer sensitivity",
        "seed reuse",
        "float noise",
        "unaccounted early stopping",
    }


def _pairs() -> Iterator[tuple[str, str]]:
    yield from sorted({(bug.check, bug.method) for bug in BUGS})


@pytest.mark.parametrize(("check", "method"), list(_pairs()))
def test_nothing_is_found_without_a_bug(check: str, method: str) -> None:
    """False alarms: 2e-5 a GDP audit, 1e-6 a sampling rate, none elsewhere."""
    assert found(check, method) == ()
