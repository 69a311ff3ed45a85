"""A model that learned columns in a form that keeps rules, and gives them back as they were."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from pegai.data.table import Table
from pegai.errors import UsageError
from pegai.privacy.guarantee import Guarantee
from pegai.schema import Schema
from pegai.synth.base import Fitted, as_generator
from pegai.synth.conditions import Given, fix_given
from pegai.synth.constraints.forms import Forms
from pegai.synth.constraints.imputing import Imputing, imputed, with_columns_of
from pegai.synth.constraints.repair import Rules
from pegai.synth.constraints.targets import BLOCK_ROWS, MIN_NEAR, near, pool_rows, resampled
from pegai.synth.files import ModelFile

TRIES = 32
"""Draws of a row with a known cell that the method can't be told of; the nearest is taken."""

LEAST_KEPT = 0.25
"""Share of the rows near what is given that has to keep the rules for the others to be left out."""


@dataclass(frozen=True, eq=False)
class FittedInForm(Fitted):
    """A fitted model of another method, whose rows are turned back.

    Attributes:
        inner: The model of the columns as they were learned.
        forms: How they were.
    """

    inner: Fitted
    forms: Forms

    @property
    def method(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The name in the catalog."""
        return self.inner.method

    @property
    def schema(self) -> Schema:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The schema of sampled tables: the user's, not the learned one."""
        return self.forms.schema.only_modelled()

    @property
    def guarantee(self) -> Guarantee | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What is promised; turning back is post-processing."""
        return self.inner.guarantee

    @property
    def heuristic(self) -> str:
        """What was done in place of a guarantee."""
        return self.inner.heuristic

    def _sample(self, n: int, given: Given, rng: np.random.Generator) -> Table:
        if self.forms.untold(given):
            return self._conditioned(n, given, rng)
        return self._turned_back(self._learned(n, given, rng), given, rng)

    def _learned(self, n: int, given: Given, rng: np.random.Generator) -> Table:
        """Rows as they are learned, given what the method can be told."""
        return self.inner._sample(n, self.forms.learned_given(given), rng)  # pyright: ignore[reportPrivateUsage]

    def _turned_back(self, learned: Table, given: Given, rng: np.random.Generator) -> Table:
        return fix_given(self.forms.back(learned, given, rng), given)

    def _conditioned(self, n: int, given: Given, rng: np.random.Generator) -> Table:
        """Rows given what the method can't be told of; see `targets`."""
        sizes = [min(BLOCK_ROWS, n - start) for start in range(0, n, BLOCK_ROWS)]
        parts = [self._block(size, given, rng) for size in sizes]
        return Table(pl.concat(parts), self.schema)

    def _block(self, n: int, given: Given, rng: np.random.Generator) -> pl.DataFrame:
        pool, rules = self._learned(pool_rows(n), given, rng), Rules.of(self.schema)
        targets = self.forms.targets(given, len(pool))
        distances = self.forms.distances(pool, targets)
        rebuilt = {form.name for form in self.forms.rebuilt}
        told = {name: value for name, value in given.items() if name not in rebuilt}
        kept = rules.kept(self._turned_back(pool, told, rng).frame)
        # Where hardly a row keeps the rules, rows are repaired: of few, all would be copies.
        if np.isfinite(distances[kept]).sum() >= MIN_NEAR:
            distances[~kept] = np.inf
        places, weights = near(distances)
        if not places.size:
            # The model draws no row that has a value, or none that has not.
            part = Table(pool.frame.head(n), pool.schema)
            return self._turned_back(part, given, rng).frame
        found = self._turned_back(Table(pool.frame[places], pool.schema), given, rng).frame
        kept = rules.kept(found)
        if kept.sum() >= LEAST_KEPT * len(kept):
            weights = weights * kept
        return found[resampled(weights, n, rng)]

    def impute(self, table: Table, *, rng: np.random.Generator | int | None = None) -> Table:
        """A table with its missing cells drawn, where the method can; see `FittedARM.impute`.

        A known cell that the method can't be told of, as an end whose beginning is missing, chooses
        the nearest of some draws.

        Args:
            table: With the modelled columns of the schema; others are left out.
            rng: Seed or generator.

        Raises:
            DataError: The columns are not those of the model.
            UsageError: The method fills no cells.
        """
        model = self.inner
        if not isinstance(model, Imputing):
            raise UsageError(
                f"the method {self.method} fills in no missing cells",
                hint="fit the method arm, which does",
            )
        part, generator = with_columns_of(table, self.schema), as_generator(rng, "sample")
        return imputed(part, lambda rows: self._filled(model, rows, generator), generator)

    def _filled(self, model: Imputing, part: Table, rng: np.random.Generator) -> Table:
        """Rows with their missing cells drawn, whatever the rules say."""
        forms, rows = replace(self.forms, schema=self.schema), len(part)
        learned, targets = forms.table(part), forms.targets_of(part)
        loose = np.flatnonzero(forms.unlearned(part))
        # Rows whose known cells the method sees are drawn once, the others some times.
        tries = np.concatenate([np.arange(rows), np.repeat(loose, TRIES - 1)])
        drawn = model.impute(Table(learned.frame[tries], learned.schema), rng=rng)
        far = forms.distances(drawn, targets.taken(tries))
        order = np.lexsort((rng.random(len(tries)), far, tries))
        best = order[np.searchsorted(tries[order], np.arange(rows))]
        chosen = Table(drawn.frame[best], drawn.schema)
        filled = forms.back_to(chosen, targets, rng).frame
        columns = [pl.coalesce(part[name], filled[name]).alias(name) for name in part.schema.names]
        return Table(part.frame.select(columns), part.schema)

    def to_file(self) -> ModelFile:
        """The content of the model folder: the user's schema, and how its columns were learned."""
        return replace(
            self.inner.to_file(), schema=self.schema, learned_as=tuple(self.forms.to_list())
        )


def in_form(model: ModelFile, from_file: Callable[[ModelFile], Fitted]) -> Fitted:
    """The model that a folder holds, whatever the form of its columns.

    Args:
        model: The folder's content.
        from_file: Makes the method's own model.

    Raises:
        KeyError, TypeError, ValueError: The folder lacks a part.
    """
    if not model.learned_as:
        return from_file(model)
    forms = Forms.from_list(model.learned_as, model.schema)
    return FittedInForm(from_file(replace(model, schema=forms.learned_schema)), forms)
