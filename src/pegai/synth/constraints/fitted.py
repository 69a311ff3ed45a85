"""A model that learned columns in a form that keeps rules, and gives them back as they were."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from pegai.data.table import Table
from pegai.privacy.guarantee import Guarantee
from pegai.schema import Schema
from pegai.synth.base import Fitted
from pegai.synth.conditions import Given, fix_given
from pegai.synth.constraints.forms import Forms
from pegai.synth.files import ModelFile


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
        learned = self.inner._sample(n, self.forms.learned_given(given), rng)  # pyright: ignore[reportPrivateUsage]
        return fix_given(self.forms.back(learned, given, rng), given)

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
