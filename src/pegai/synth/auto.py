"""A method chosen for the table at hand, from what is public, with the reason.

| fit | columns | method |
|---|---|---|
| with privacy | at most `aim_columns` | `aim` |
| with privacy | more | `mst` |
| without | any | `trees` |

Which columns there are is public, and nothing else is asked: not how many rows, nor what is in
them. The model is the chosen method's own, and says so: its `method` is that one's name, and its
settings hold the reason under `auto`. Where the figures come from: docs/explanation/auto.
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

REASON = "auto"
"""The setting of a fitted model that says why its method was chosen."""


@dataclass(frozen=True)
class AutoConfig:
    """Settings of the choice, and of what may be chosen; all public.

    Attributes:
        aim_columns: The most columns for which a private fit takes `aim`, whose time grows with
            the pairs of columns.
        aim: Settings of `aim`, where it is chosen.
        mst: The same of `mst`.
        trees: The same of `trees`.
    """

    aim_columns: int = 100
    aim: AIMConfig = field(default_factory=AIMConfig)
    mst: MSTConfig = field(default_factory=MSTConfig)
    trees: TreesConfig = field(default_factory=TreesConfig)

    def __post_init__(self) -> None:
        if self.aim_columns < 0:
            raise UsageError(f"aim_columns must be at least 0, not {self.aim_columns}")


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
        >>> Auto().choose(table.schema, private=True).sentence
        'auto chose aim: with privacy, and at most 100 columns (14)'
    """

    name = "auto"
    title = "Chosen from the schema: aim, mst or trees"
    promise = "(epsilon, delta)-DP by patient with --epsilon; no formal guarantee without"

    def __init__(self, config: AutoConfig | None = None) -> None:
        self.config = config or AutoConfig()

    def settings(self) -> dict[str, Any]:
        """The settings, as JSON types."""
        return asdict(self.config)

    def choose(self, schema: Schema, *, private: bool) -> Choice:
        """The method for a schema.

        Args:
            schema: Its columns are counted; nothing else is looked at.
            private: Whether the fit has a budget.
        """
        config, columns = self.config, len(schema.modelled)
        if not private:
            return Choice(
                Trees(config.trees), "without privacy, the nearest to real rows and the fastest"
            )
        if columns <= config.aim_columns:
            limit = f"at most {config.aim_columns} columns"
            return Choice(AIM(config.aim), f"with privacy, and {limit} ({columns})")
        limit = f"more than {config.aim_columns} columns"
        return Choice(MST(config.mst), f"with privacy, and {limit} ({columns})")

    def plan(self, schema: Schema, privacy: Privacy) -> Plan:
        """That of the chosen method, which may refuse the schema here, before it is charged."""
        chosen = self.choose(schema, private=True).synthesizer
        chosen.check(schema)
        return chosen.plan(schema, privacy)

    def expected_noise(self, schema: Schema, plan: Plan) -> dict[str, float]:
        """That of the chosen method."""
        return self.choose(schema, private=True).synthesizer.expected_noise(schema, plan)

    def _fit(
        self, table: Table, session: Session | None, rng: np.random.Generator, run: Run
    ) -> Fitted:
        choice = self.choose(table.schema, private=session is not None)
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
