"""Realism measured: the fidelity of one synthetic table, before means and intervals over tables.

`prepare_realism` does once a split what depends on the real tables only, `measure_realism` what
each synthetic table needs. Scores are made of both in `pegai.evaluate.score_realism`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pegai.data.table import Table
from pegai.evaluate.features import Encoded
from pegai.evaluate.fidelity.associations import (
    Associations,
    associations,
    contingency_difference,
    correlation_difference,
)
from pegai.evaluate.fidelity.conditionals import (
    RealConditionals,
    conditional_errors,
    real_conditionals,
)
from pegai.evaluate.fidelity.coverage import Balls, coverage, fit_balls, means_left_out
from pegai.evaluate.fidelity.equivalent_sample import (
    MIN_PATIENTS,
    Curve,
    EquivalentSample,
    equivalent_sample,
    fit_curve,
)
from pegai.evaluate.fidelity.marginal_tables import ORDERS, Binned, binned, choose_marginals
from pegai.evaluate.fidelity.marginals import (
    MarginalDistances,
    RealTables,
    marginal_distances,
    real_tables,
)
from pegai.evaluate.fidelity.missingness import Missingness, missingness
from pegai.evaluate.fidelity.numbers import NumberDistances, number_distances
from pegai.evaluate.fidelity.pair_trends import fit_pair_bins
from pegai.evaluate.fidelity.propensity import propensity
from pegai.evaluate.fidelity.rules import NamedRule, Violations, named_rules, violations
from pegai.evaluate.intervals import jackknife_groups
from pegai.evaluate.tiers import Tier
from pegai.streams import Streams

MIN_ROWS = 20
"""Holdout rows below which no figure is given."""

_MOST_BALLS = 5_000


@dataclass(frozen=True, eq=False)
class Extent:
    """How much a tier does.

    Attributes:
        max_pairs: Tables of two columns.
        max_triples: Tables of three columns.
        curve_rows: Training rows counted for the curve, over all orders of the patients.
        max_rows: Rows a side of what sorts values, and of correlations.
        max_tree_rows: Rows a side of S_pMSE.
        permutations: Of labels, for the null of S_pMSE.
    """

    max_pairs: int
    max_triples: int
    curve_rows: int
    max_rows: int
    max_tree_rows: int
    permutations: int


QUICK_EXTENT = Extent(100, 50, 100_000, 10_000, 1_000, 5)
FULL_EXTENT = Extent(1_300, 300, 400_000, 100_000, 2_500, 10)
_MOST_REPEATS = 20


@dataclass(frozen=True, eq=False)
class RealismMeasured:
    """The raw results of one synthetic table.

    Attributes:
        figures: Score name to its figure against the whole holdout, then without each jackknife
            group; shape (1 + groups,), NaN is not assessed.
        reasons: Score name to why it was not assessed, or what else to know.
        marginals: Distances of all tables of columns.
        equivalent: What it is worth; None without a curve.
        numbers: Distances of the numeric columns.
        missing: What is missing.
        violations: Broken rules.
    """

    figures: dict[str, np.ndarray]
    reasons: dict[str, str]
    marginals: MarginalDistances
    equivalent: EquivalentSample | None
    numbers: NumberDistances
    missing: Missingness
    violations: Violations


@dataclass(frozen=True, eq=False)
class RealismPrepared:
    """All that the realism of synthetic tables is measured with.

    Attributes:
        holdout: The coded holdout, and at most `Extent.max_rows` of it.
        group: A jackknife group for each row of either, whole patients.
        tables: The holdout's tables of columns.
        conditionals: The holdout's Gram matrices.
        associations: The holdout's strengths of dependence.
        balls: The holdout's neighbourhoods; None with too few patients.
        curve: Real subsamples; None with too few training patients.
        rules: The schema's rules.
        violations: How often the holdout breaks them.
        too_few: Why nothing is assessed; empty otherwise.
        streams: Seeds.
        extent: How much is done.
        max_balls: Rows a side of density and coverage.
        baseline: The training table in place of a synthetic one.
    """

    holdout: tuple[Encoded, Encoded]
    group: tuple[np.ndarray, np.ndarray]
    tables: RealTables
    conditionals: RealConditionals
    associations: Associations
    balls: Balls | None
    curve: Curve | None
    rules: tuple[NamedRule, ...]
    violations: Violations
    too_few: str
    streams: Streams
    extent: Extent
    max_balls: int
    baseline: RealismMeasured | None = None

    @property
    def groups(self) -> int:
        """Jackknife groups of holdout patients."""
        return int(self.group[0].max(initial=0)) + 1


def prepare_realism(
    train_table: Table,
    holdout_table: Table,
    train: Encoded,
    holdout: Encoded,
    streams: Streams,
    *,
    tier: Tier,
) -> RealismPrepared:
    """Compute what depends on the real tables only.

    Args:
        train_table: The rows that the generators were trained on; its schema has the rules.
        holdout_table: Patients never shown to a generator.
        train: The coded training table.
        holdout: The coded holdout.
        streams: Seeds of subsamples and permutations.
        tier: How much is done.
    """
    streams = streams.child("realism")
    extent = FULL_EXTENT if tier.full else QUICK_EXTENT
    bins = fit_pair_bins(train)
    marginals = choose_marginals(
        train.features.names,
        bins,
        streams.child("marginals").get("split"),
        max_pairs=extent.max_pairs,
        max_triples=extent.max_triples,
    )
    coded = binned(marginals, holdout)
    group = jackknife_groups(holdout.units, streams)
    tables = real_tables(marginals, coded, group)
    conditionals = real_conditionals(
        marginals, coded, group, streams.child("conditionals").get("split")
    )
    thin, thin_group = _thin(holdout, group, extent, streams)
    max_balls = min(tier.max_targets, _MOST_BALLS)
    rules = named_rules(train_table.schema)
    few = len(holdout) < MIN_ROWS
    train_bins = binned(marginals, train)
    curve = None if few else _curve(tables, conditionals, train_bins, train, extent, streams)
    prepared = RealismPrepared(
        holdout=(holdout, thin),
        group=(group, thin_group),
        tables=tables,
        conditionals=conditionals,
        associations=associations(marginals, thin, binned(marginals, thin), thin_group),
        balls=fit_balls(holdout, streams.child("balls").get("split"), max_rows=max_balls),
        curve=curve,
        rules=rules,
        violations=violations(rules, holdout_table),
        too_few=f"not assessed: {len(holdout)} holdout rows, {MIN_ROWS} are needed" if few else "",
        streams=streams,
        extent=extent,
        max_balls=max_balls,
    )
    return replace(prepared, baseline=_measure(prepared, train_table, train, train_bins))


def _thin(
    holdout: Encoded, group: np.ndarray, extent: Extent, streams: Streams
) -> tuple[Encoded, np.ndarray]:
    """Some of the holdout's rows, and their jackknife groups, numbered anew."""
    kept = thinned(holdout, extent.max_rows, streams)
    return holdout.take(kept), np.unique(group[kept], return_inverse=True)[1]


def _curve(
    tables: RealTables,
    conditionals: RealConditionals,
    bins: Binned,
    train: Encoded,
    extent: Extent,
    streams: Streams,
) -> Curve | None:
    """What real subsamples of the training table get, by their size."""
    rng = streams.child("curve").get("split")
    repeats = int(np.clip(extent.curve_rows // max(1, len(train)), 1, _MOST_REPEATS))
    return fit_curve(tables, conditionals, bins, train.units, rng, repeats=repeats)


def thinned(table: Encoded, max_rows: int, streams: Streams) -> np.ndarray:
    """Positions of at most so many rows, drawn at random."""
    if len(table) <= max_rows:
        return np.arange(len(table))
    rng = streams.child("thin").get("split")
    return np.sort(rng.choice(len(table), max_rows, replace=False))


def measure_realism(
    prepared: RealismPrepared, synthetic_table: Table, synthetic: Encoded
) -> RealismMeasured:
    """Measure one synthetic table.

    Args:
        prepared: From `prepare_realism`.
        synthetic_table: The table; rules look at it.
        synthetic: The same, coded.
    """
    coded = binned(prepared.tables.marginals, synthetic)
    return _measure(prepared, synthetic_table, synthetic, coded)


def _measure(
    prepared: RealismPrepared, synthetic_table: Table, synthetic: Encoded, coded: Binned
) -> RealismMeasured:
    (holdout, thin), (group, thin_group) = prepared.holdout, prepared.group
    marginals = prepared.tables.marginals
    kept = thinned(synthetic, prepared.extent.max_rows, prepared.streams)
    few = synthetic.take(kept)
    distances = marginal_distances(prepared.tables, coded)
    taught = conditional_errors(prepared.conditionals, coded)[0]
    worth = None
    if prepared.curve is not None:
        worth = equivalent_sample(prepared.curve, distances, taught)
    numbers = number_distances(thin, thin_group, int(thin_group.max(initial=0)) + 1, few)
    missing = missingness(holdout, group, prepared.groups, synthetic)
    few_bins = binned(marginals, few)
    strength = associations(marginals, few, few_bins)
    figures = {f"tvd_{order}way": distances.means(order) for order in ORDERS}
    figures |= {
        "equivalent_patients": worth.headline if worth is not None else _nothing(prepared),
        "ks": _mean(numbers.ks),
        "wasserstein": _mean(numbers.wasserstein),
        "correlation_difference": correlation_difference(prepared.associations, strength),
        "contingency_difference": contingency_difference(prepared.associations, strength),
        "missing_rates": missing.mean_rate,
        "missing_patterns": missing.patterns,
    }
    figures |= _neighbourhoods(prepared, synthetic)
    reasons: dict[str, str] = {}
    figures["pmse_ratio"] = _pmse(prepared, synthetic, reasons)
    reasons |= _reasons(prepared, figures, missing)
    return RealismMeasured(
        figures=figures,
        reasons=reasons,
        marginals=distances,
        equivalent=worth,
        numbers=numbers,
        missing=missing,
        violations=violations(prepared.rules, synthetic_table),
    )


def _nothing(prepared: RealismPrepared) -> np.ndarray:
    return np.full(1 + prepared.groups, np.nan)


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the columns that can be compared; shape (1 + groups,)."""
    known = ~np.isnan(values).any(axis=1)
    return values[known].mean(axis=0) if known.any() else np.full(values.shape[1], np.nan)


def _neighbourhoods(prepared: RealismPrepared, synthetic: Encoded) -> dict[str, np.ndarray]:
    found = None
    if prepared.balls is not None:
        rng = prepared.streams.child("coverage").get("split")
        found = coverage(prepared.balls, len(prepared.holdout[0]), synthetic, rng)
    if found is None:
        return {"density": _nothing(prepared), "coverage": _nothing(prepared)}
    group = prepared.group[0]
    return {
        "density": means_left_out(found.inside, group),
        "coverage": means_left_out(found.covered, group),
    }


def _pmse(prepared: RealismPrepared, synthetic: Encoded, reasons: dict[str, str]) -> np.ndarray:
    found = propensity(
        prepared.holdout[0],
        synthetic,
        prepared.streams.child("propensity").get("split"),
        max_rows=prepared.extent.max_tree_rows,
        permutations=prepared.extent.permutations,
    )
    figures = _nothing(prepared)
    if found is None:
        return figures
    figures[0] = found.ratio  # a tree jumps where a few rows are left out: no jackknife
    reasons["pmse_ratio"] = (
        f"a diagnostic: grows with the number of rows (here {found.rows} a side), so it ranks "
        "tables of one evaluation and has no limit to be held against"
    )
    return figures


def _reasons(
    prepared: RealismPrepared, figures: dict[str, np.ndarray], missing: Missingness
) -> dict[str, str]:
    columns = len(prepared.tables.marginals.names)
    numeric = prepared.holdout[0].numbers.shape[1]
    found = {
        "equivalent_patients": f"not assessed: fewer than {MIN_PATIENTS} training patients",
        "tvd_2way": f"not assessed: {columns} column has no pairs",
        "tvd_3way": f"not assessed: {columns} columns have no triples",
        "ks": "not assessed: no numeric column with values on both sides",
        "wasserstein": "not assessed: no numeric column with values on both sides",
        "correlation_difference": f"not assessed: {numeric} numeric columns have no pairs",
        "contingency_difference": "not assessed: no pair with a column of categories",
        "density": f"not assessed: fewer than {MIN_ROWS} patients a side",
        "coverage": f"not assessed: fewer than {MIN_ROWS} patients a side",
        "pmse_ratio": f"not assessed: fewer than {MIN_ROWS} rows a side",
    }
    kept = {name: text for name, text in found.items() if np.isnan(figures[name][0])}
    if not missing.any:
        for name in ("missing_rates", "missing_patterns"):
            kept[name] = "nothing is missing in either table"
    return kept
