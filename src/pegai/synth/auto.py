"""A method chosen for the table at hand, from what is public, with the reason.

| fit | table | method |
|---|---|---|
| with privacy | at most `aim_columns` columns | `aim` |
| with privacy | more | `mst` |
| without | fewer than `few_rows` rows | `tvae` |
| without | more | `trees` |

With privacy which columns there are is public, and nothing else is asked: not how many rows, nor
what is in them. The model is the chosen method's own, and says so: its `method` is that one's name,
and its settings hold the reason under `auto`. Where the figures come from: docs/explanation/auto.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple, cast

import numpy as np

from pegai.data.table import Table
from pegai.errors import ModelError, UsageError
from pegai.privacy.guarantee import Plan, Privacy
from pegai.privacy.session import Session
from pegai.schema import Schema
from pegai.synth.aim import AIM, AIMConfig
from pegai.synth.base import Fitted, Synthesizer
from pegai.synth.files import ModelFile
from pegai.synth.mst import MST, MSTConfig
from pegai.synth.running import Run
from pegai.synth.trees import Trees, TreesConfig
from pegai.synth.tvae import TVAE, TVAEConfig

REASON = "auto"
"""The setting of a fitted model that says why its method was chosen."""


@dataclass(frozen=True)
class AutoConfig:
    """Settings of the choice, and of what may be chosen; all public.

    Attributes:
        aim_columns: The most columns for which a private fit takes `aim`, whose time grows with
            the pairs of columns.
        few_rows: The rows from which a fit without privacy takes `trees`.
        aim: Settings of `aim`, where it is chosen.
        mst: The same of `mst`.
        tvae: The same of `tvae`.
        trees: The same of `trees`.
    """

    aim_columns: int = 100
    few_rows: int = 1000
    aim: AIMConfig = field(default_factory=AIMConfig)
    mst: MSTConfig = field(default_factory=MSTConfig)
    tvae: TVAEConfig = field(default_factory=TVAEConfig)
    trees: TreesConfig = field(default_factory=TreesConfig)

    def __post_init__(self) -> None:
        if min(self.aim_columns, self.few_rows) < 0:
            raise UsageError("aim_columns and few_rows must be at least 0")


class Choice(NamedTuple):
    """What was chosen, and why."""

    synthesizer: Synthesizer
    reason: str

    @property
    def sentence(self) -> str:
        """The choice for people."""
        return f"auto chose {self.synthesizer.name}: {self.reason}"


class Auto(Synthesizer):
    """The method that measurements favour; see the module.

    Example:
        >>> from pegai.data.datasets import load_heart_disease
        >>> table = load_heart_disease(site="cleveland")
        >>> Auto().choose(table.schema).sentence
        'auto chose aim: with privacy, and at most 100 columns (14)'
    """

    name = "auto"
    title = "Chosen for the table: aim, mst, tvae or trees"
    promise = "(epsilon, delta)-DP by patient with --epsilon; no formal guarantee without"

    def __init__(self, config: AutoConfig | None = None) -> None:
        self.config = config or AutoConfig()

    def settings(self) -> dict[str, Any]:
        """The settings, as JSON types."""
        return asdict(self.config)

    def choose(self, schema: Schema, *, rows: int | None = None) -> Choice:
        """The method for a table.

        Args:
            schema: Its columns are counted; nothing else is looked at.
            rows: How many there are, for a fit without privacy; None is a private fit, which does
                not ask.
        """
        config, columns = self.config, len(schema.modelled)
        if rows is not None and rows < config.few_rows:
            limit = f"fewer than {config.few_rows} rows"
            return Choice(TVAE(config.tvae), f"without privacy, and {limit} ({rows})")
        if rows is not None:
            limit = f"at least {config.few_rows} rows"
            return Choice(Trees(config.trees), f"without privacy, and {limit} ({rows})")
        if columns <= config.aim_columns:
            limit = f"at most {config.aim_columns} columns"
            return Choice(AIM(config.aim), f"with privacy, and {limit} ({columns})")
        limit = f"more than {config.aim_columns} columns"
        return Choice(MST(config.mst), f"with privacy, and {limit} ({columns})")

    def plan(self, schema: Schema, privacy: Privacy) -> Plan:
        """That of the chosen method, which may refuse the schema here, before it is charged."""
        chosen = self.choose(schema).synthesizer
        chosen.check(schema)
        return chosen.plan(schema, privacy)

    def expected_noise(self, schema: Schema, plan: Plan) -> dict[str, float]:
        """That of the chosen method."""
        return self.choose(schema).synthesizer.expected_noise(schema, plan)

    def _fit(
        self, table: Table, session: Session | None, rng: np.random.Generator, run: Run
    ) -> Fitted:
        choice = self.choose(table.schema, rows=None if session is not None else len(table))
        chosen = choice.synthesizer
        if session is None:
            chosen.check(table.schema)
        run.progress(choice.sentence, 0.0)
        model = cast("Any", chosen._fit(table, session, rng, run))  # pyright: ignore[reportPrivateUsage]
        return replace(model, settings={**model.settings, REASON: choice.sentence})


class FittedAuto:
    """No model is of this kind: a fitted one is of the method that was chosen."""

    @classmethod
    def from_file(cls, model: ModelFile) -> Fitted:
        """Refused.

        Raises:
            ModelError: Always.
        """
        raise ModelError(
            f"a model of the method {model.method!r} can't be: auto saves what it chose",
            hint="fit the model again, or copy the folder anew",
        )
