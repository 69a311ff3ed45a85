"""What a comparison fits, and what that costs: arguments to cells, refused before anything is read.

A *cell* is one method at one epsilon, fitted `replicates` times. The cost of all fits that are
missing is summed up before the first one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pegai.data.table import Table
from pegai.errors import BudgetExceededError, UsageError
from pegai.evaluate.tiers import TierName
from pegai.privacy.guarantee import Plan, Privacy, default_ledger
from pegai.privacy.ledger import Ledger
from pegai.schema import Schema
from pegai.synth.base import learned_schema, table_bytes
from pegai.synth.catalog import CATALOG, make
from pegai.workflow.config import DataSection, DeidentifySection, FitSection, RunConfig
from pegai.workflow.training import check_methods
from pegai.workflow.tune_origin import settings_for

NO_PRIVACY = "none"
MAX_REPLICATES = 100


@dataclass(frozen=True)
class CompareConfig:
    """What is compared, and where the results go.

    Attributes:
        data: The table: CSV, TSV or Parquet.
        schema: Its schema file.
        folder: For the results and the finished cells; a later call goes on from there.
        methods: Names in the catalog.
        epsilons: Budgets of each fit; None fits without privacy.
        delta: Of each private fit.
        replicates: Fits of each method at each epsilon; each private one is charged.
        rows: Rows of each synthetic table; a public number, never the private row count.
        holdout: Share of the patients that no generator sees.
        seed: Of the split, of fits without privacy, of sampling and of the evaluation.
        jobs: Processes; below 1 is one a core.
        tier: How much each evaluation does.
        settings: Settings by method.
        ledger: Where private fits are charged; None is the usual one.
        dataset: A name for the ledger; the schema's goes before it.
        public_data: The data are public: the budget is raised to what the comparison spends.
    """

    data: Path
    schema: Path
    folder: Path
    methods: tuple[str, ...]
    epsilons: tuple[float | None, ...]
    delta: float | None = None
    replicates: int = 5
    rows: int = 1000
    holdout: float = 0.3
    seed: int = 0
    jobs: int = -1
    tier: TierName = "quick"
    settings: Mapping[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    ledger: Path | None = None
    dataset: str | None = None
    public_data: bool = False

    @property
    def is_private(self) -> bool:
        """Whether any cell is."""
        return any(epsilon is not None for epsilon in self.epsilons)

    @property
    def ledger_path(self) -> Path:
        """The ledger that private fits charge."""
        return self.ledger or default_ledger()


def parse_methods(text: str) -> tuple[str, ...]:
    """`"aim, ctgan"` as names of methods.

    Raises:
        UsageError: None, an unknown one, or one twice.
    """
    names = _parts(text, "--methods", "aim,ctgan,independent")
    unknown = [name for name in names if name not in CATALOG]
    if unknown:
        raise UsageError(f"no method {unknown[0]!r}", hint=f"there are: {', '.join(CATALOG)}")
    _refuse_twice(names, "--methods")
    return tuple(names)


def parse_epsilons(text: str) -> tuple[float | None, ...]:
    """`"0.5,1,none"` as budgets; None is without privacy.

    Raises:
        UsageError: None, something that is no number above 0, or one twice.
    """
    found = [_epsilon(part) for part in _parts(text, "--epsilons", "0.5,1,3,none")]
    _refuse_twice([NO_PRIVACY if e is None else f"{e:g}" for e in found], "--epsilons")
    return tuple(found)


def _parts(text: str, option: str, example: str) -> list[str]:
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise UsageError(f"{option} {text!r} has an empty part", hint=f"as in {option} {example}")
    return parts


def _epsilon(part: str) -> float | None:
    if part.lower() == NO_PRIVACY:
        return None
    try:
        value = float(part)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise UsageError(
            f"epsilon {part!r} is no number above 0",
            hint=f"as in 0.5 or 3; {NO_PRIVACY} fits without privacy",
        )
    return value


def _refuse_twice(names: Sequence[str], option: str) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UsageError(f"{option} names {twice[0]} more than once", hint="name each once")


def check_config(config: CompareConfig) -> None:
    """Refuse what can't be, before the table is read.

    Raises:
        UsageError: A number is out of range, delta is missing, or there are settings of a method
            that is not compared.
        PrivacyError: An epsilon or delta is out of range, or settings were tuned on private data
            without a charge and one fit is private.
    """
    if not 1 <= config.replicates <= MAX_REPLICATES:
        raise UsageError(
            f"replicates must lie between 1 and {MAX_REPLICATES}, not {config.replicates}",
            hint="5 give intervals that cover the chance in the fits",
        )
    if not 0 < config.holdout < 1:
        raise UsageError(f"holdout must lie between 0 and 1, not {config.holdout:g}")
    if config.rows < 1:
        raise UsageError(f"rows must be at least 1, not {config.rows}")
    if config.is_private and config.delta is None:
        raise UsageError(
            "a private epsilon needs a delta",
            hint=f"--delta, at most 1 / (10 x patients) is usual; or only --epsilons {NO_PRIVACY}",
        )
    settings = _settings(config)
    foreign = [name for name in settings if name not in config.methods]
    if foreign:
        raise UsageError(
            f"the settings name {foreign[0]!r}, which is not compared",
            hint="the file has one table a method, such as [ctgan]; compared are: "
            f"{', '.join(config.methods)}",
        )
    bare = [name for name, found in settings.items() if not isinstance(found, dict)]
    if bare:
        raise UsageError(f"the settings of {bare[0]!r} are no table", hint=f"as in [{bare[0]}]")
    check_methods(_sections(config))


def _settings(config: CompareConfig) -> dict[str, dict[str, Any]]:
    """The settings by method, without what the file and its tables say of where they come from."""
    found = settings_for(config.settings, private=config.is_private)
    return {
        name: settings_for(own, private=config.is_private) if isinstance(own, dict) else own
        for name, own in found.items()
    }


def _sections(config: CompareConfig) -> list[FitSection]:
    """Each method at each epsilon, from the strongest guarantee to none."""
    settings = _settings(config)
    return [
        FitSection(
            method=method,
            epsilon=epsilon,
            delta=None if epsilon is None else config.delta,
            replicates=config.replicates,
            settings=settings.get(method, {}),
        )
        for method in config.methods
        for epsilon in sorted(config.epsilons, key=lambda e: math.inf if e is None else e)
    ]


def cells_for(config: CompareConfig, schema: Schema) -> tuple[list[FitSection], list[str]]:
    """The cells that can be fitted, and in words which can't.

    Raises:
        UsageError: A method can't be fitted at any epsilon that was asked for.
        PegaiError: A fit can't be planned on this schema.
    """
    cells: list[FitSection] = []
    left_out: list[str] = []
    settings = _settings(config)
    for method in config.methods:
        make(method, settings.get(method, {})).check(schema)
    for cell in _sections(config):
        why = _why_not(cell, schema)
        if not why:
            cells.append(cell)
        else:
            left_out.append(f"{cell.title} is left out: {why}")
    for method in config.methods:
        if all(cell.method != method for cell in cells):
            said = next(text for text in left_out if text.startswith(f"{method}, "))
            raise UsageError(
                f"nothing can be compared of {method}: {said}",
                hint=f"add {NO_PRIVACY} to the epsilons, or change its settings",
            )
    return cells, left_out


def _why_not(cell: FitSection, schema: Schema) -> str:
    """Why a cell can't be fitted: a method or its settings may have no private form."""
    if cell.epsilon is None:
        return ""
    try:
        plan_of(cell, schema)
    except UsageError as error:
        return error.message
    return ""


def plan_of(cell: FitSection, schema: Schema) -> Plan:
    """Every look that a private cell's fit will take."""
    if cell.epsilon is None or cell.delta is None:
        raise UsageError(f"{cell.title} has no plan")
    return make(cell.method, cell.settings).plan(
        learned_schema(schema), Privacy(cell.epsilon, cell.delta)
    )


def run_config(config: CompareConfig) -> RunConfig:
    """The comparison as a run, which reads and splits the table in the same way."""
    return RunConfig(
        data=DataSection.model_validate(
            {
                "path": config.data,
                "schema": config.schema,
                "dataset": config.dataset,
                "holdout": config.holdout,
                "seed": config.seed,
            }
        ),
        deidentify=DeidentifySection(enabled=False),
        fit=tuple(_sections(config)),
        jobs=config.jobs,
    )


@dataclass(frozen=True)
class Spending:
    """What the private fits that are missing cost together.

    Attributes:
        dataset: Name in the ledger.
        fits: How many.
        epsilon: Of all of them together, by the rule of the data set's budget.
        delta: Of all of them together.
        spent: Epsilon and delta that were spent before.
        budget: Epsilon and delta that may be spent in all.
        refusal: Why they don't fit; empty if they do.
    """

    dataset: str
    fits: int
    epsilon: float
    delta: float
    spent: tuple[float, float]
    budget: tuple[float, float]
    refusal: str = ""

    @property
    def in_words(self) -> str:
        """What is spent, of what, and what was spent before."""
        fits = f"{self.fits} private fit{'s' if self.fits > 1 else ''}"
        return (
            f"{fits} of {self.dataset!r} cost epsilon {self.epsilon:.4g} and delta "
            f"{self.delta:.4g} together; of the budget of {self.budget[0]:.4g} and "
            f"{self.budget[1]:.4g}, {self.spent[0]:.4g} and {self.spent[1]:.4g} are spent"
        )


def spending_of(
    cells: Sequence[FitSection], train: Table, *, ledger: Path, dataset: str
) -> Spending | None:
    """The cost of private fits, one for each time a cell is named; None where none is private.

    Raises:
        LedgerError: The ledger is damaged or was edited.
    """
    private = [cell for cell in cells if cell.epsilon is not None]
    if not private:
        return None
    book = Ledger(ledger)
    # The same table under another name counts too; a new ledger has nothing to compare with.
    fingerprint = book.fingerprint(table_bytes(train)) if book.entries() else ""
    account = book.account(dataset, fingerprint)
    by_title = {cell.title: cell for cell in private}
    planned = {title: plan_of(cell, train.schema) for title, cell in by_title.items()}
    plans = [planned[cell.title] for cell in private]
    spent, after = account.spent(), account.spent(plans)
    return Spending(
        dataset=dataset,
        fits=len(plans),
        epsilon=after[0] - spent[0],
        delta=after[1] - spent[1],
        spent=spent,
        budget=(account.epsilon, account.delta),
        refusal=account.refusal(plans),
    )


def refuse_overspending(spending: Spending) -> None:
    """Refuse a comparison that costs more than is left, before any of it is charged.

    Raises:
        BudgetExceededError: With the sum, and the ways out.
    """
    if not spending.refusal:
        return
    needed = (spending.spent[0] + spending.epsilon, spending.spent[1] + spending.delta)
    raise BudgetExceededError(
        f"{spending.in_words}: {spending.refusal}",
        hint="compare fewer methods or epsilons, or fewer replicates; or let whoever answers for "
        f"the data set the budget: pegai ledger budget {spending.dataset} --epsilon "
        f"{_up(needed[0])} --delta {_up(needed[1])}. For public data, --public-data",
    )


def allow(spending: Spending, ledger: Path) -> bool:
    """Raise the budget of public data to what a comparison spends; the ledger shows it."""
    if not spending.refusal:
        return False
    epsilon = max(spending.budget[0], float(_up(spending.spent[0] + spending.epsilon)))
    delta = max(spending.budget[1], float(_up(spending.spent[1] + spending.delta)))
    Ledger(ledger).set_budget(spending.dataset, epsilon, delta)
    return True


def _up(value: float) -> str:
    """Four digits, rounded up, so that it suffices."""
    if not 0 < value < math.inf:
        return f"{value:g}"
    unit = 10.0 ** (math.floor(math.log10(value)) - 3)
    return f"{math.ceil(value / unit - 1e-9) * unit:.4g}"
