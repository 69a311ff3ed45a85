"""How finely a private table is looked at, and the codes that follow.

First the number of patients is released at a small price. With the schema and the budget it says
how far a count stands above the noise, and thereby how finely to look: where noise is high, numeric
columns are cut into few public cells and nothing is spent on finding better ones; where it is low,
a look at one-way tables on a fine public grid cuts them at noisy quantiles, finds values that many
share and joins rare levels. All of it rests on released counts.
"""

from __future__ import annotations

from dataclasses import dataclass

from pegai.encode.table import TableEncoder
from pegai.errors import UsageError
from pegai.schema import Column, Schema
from pegai.synth.grids import (
    FEW_LEVELS,
    SPIKE_DEVIATIONS,
    Look,
    grid_encoder,
    value_grids,
)
from pegai.synth.marginals.source import LookQuery, PatientsQuery, Source

EIGHT_BINS_SIGNAL = 4.5
"""The signal at which a numeric column has 8 bins; their number grows as its cubic root."""

GRID_DEVIATIONS = 3.0
"""So many deviations of the noise each cell of the first look should hold, were all alike."""

SPIKE_SHARE = 0.1
"""A value that a tenth of the patients share must stand out, or single values are not counted."""


@dataclass(frozen=True)
class Looking:
    """Settings of the first looks; all public.

    Attributes:
        count_share: Part of the budget for the number of patients.
        look_share: Part of the budget for a first look at one-way tables, where it is needed to
            cut numeric columns or to join rare levels.
        min_bins: Fewest cells and bins of a numeric column, however much noise there is.
        grid_bins: Most cells of the public grid of a numeric column.
        max_bins: Most bins of a numeric column, cut at noisy quantiles.
        min_deviations: Levels that stand less than this above the noise share a code, in columns
            of many.
    """

    count_share: float = 0.01
    look_share: float = 0.15
    min_bins: int = 4
    grid_bins: int = 64
    max_bins: int = 16
    min_deviations: float = 3.0

    def __post_init__(self) -> None:
        for name in ("count_share", "look_share"):
            if not 0 < getattr(self, name) < 1:
                raise UsageError(f"{name} must lie between 0 and 1, not {getattr(self, name)}")
        if self.count_share + self.look_share > 0.9:
            raise UsageError("count_share and look_share leave nothing for other tables")
        if not 2 <= self.min_bins <= min(self.grid_bins, self.max_bins):
            raise UsageError("min_bins must be at least 2, grid_bins and max_bins no less than it")
        if self.min_deviations < 0:
            raise UsageError(f"min_deviations must be at least 0, not {self.min_deviations}")


@dataclass(frozen=True, eq=False)
class Prepared:
    """What the first looks gave.

    Attributes:
        encoder: Codes of the modelled columns.
        look: The look at one-way tables, where one was taken.
        signal: Patients over the standard deviation of a pair's noise: how clearly pairs show.
    """

    encoder: TableEncoder
    look: Look | None
    signal: float


def prepare(
    source: Source, looking: Looking, *, pair_deviation: float, keep: Column | None
) -> Prepared:
    """Take the first looks.

    Args:
        source: Answers with noise.
        looking: Settings.
        pair_deviation: Of the noise that pairs will have, in patients; public.
        keep: A column whose levels all keep a code of their own.
    """
    total, schema = source.left, source.schema
    patients = noisy_patients(source, looking.count_share * total)
    signal = patients / pair_deviation
    looks = len(schema.modelled) + len(value_grids(schema))
    deviation = (looks / (looking.look_share * total)) ** 0.5
    wanted = 8 * (signal / EIGHT_BINS_SIGNAL) ** (1 / 3)
    max_bins = nested_bins(wanted, looking.min_bins, looking.max_bins)
    wanted = patients / deviation / GRID_DEVIATIONS
    grid_bins = nested_bins(wanted, looking.min_bins, looking.grid_bins)
    single_values = SPIKE_DEVIATIONS * deviation < SPIKE_SHARE * patients
    if not _needs_look(schema, single_values or grid_bins > max_bins):
        return Prepared(grid_encoder(schema, bins=max_bins), None, signal)
    query = LookQuery(schema, grid_bins, single_values)
    noisy, deviations = source.ask(query, looking.look_share * total)
    look = query.tables.read(noisy, deviations[0])
    encoder = look.encoder(max_bins=max_bins, min_deviations=looking.min_deviations, keep=keep)
    return Prepared(encoder, look, signal)


def _needs_look(schema: Schema, finer: bool) -> bool:
    columns = schema.modelled
    wide = any(c.is_discrete and len(c.levels) > FEW_LEVELS for c in columns)
    return wide or (finer and any(not c.is_discrete for c in columns))


def nested_bins(wanted: float, fewest: int, most: int) -> int:
    """At most `wanted` bins, from `fewest` up in doublings, so that finer grids nest in coarser."""
    bins = fewest
    while 2 * bins <= min(wanted, most):
        bins *= 2
    return bins


def noisy_patients(source: Source, budget: float) -> float:
    """The number of patients with noise, at least 1; costs `budget`."""
    noisy, _ = source.ask(PatientsQuery(source.schema), budget)
    return max(float(noisy[0][0]), 1.0)
