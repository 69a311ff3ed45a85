"""What `pegai tune` may change: for each method its settings, their ranges, and when they matter.

A new method is one entry of `SPACES`. The defaults of a method lie inside of its space, since they
are the first that is tried. Settings that protect patients (how rare a level may be and still keep
a code of its own, as `min_count`) are in no space: no score here would ask for more protection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pegai.errors import UsageError

Values = dict[str, Any]
"""Settings by their dotted path, such as `privacy.steps`."""


@dataclass(frozen=True)
class Range:
    """A setting that is a number.

    Attributes:
        path: The setting, with dots into nested settings.
        low: Smallest value.
        high: Largest value.
        log: Whether steps are ratios.
        whole: Whether it is an integer.
    """

    path: str
    low: float
    high: float
    log: bool = False
    whole: bool = False

    def suggest(self, trial: Any) -> float | int:
        """A value, by an Optuna trial."""
        if self.whole:
            return int(trial.suggest_int(self.path, int(self.low), int(self.high), log=self.log))
        value = trial.suggest_float(self.path, self.low, self.high, log=self.log)
        # Four digits: more make no difference to a fit, and these are to be read.
        return float(f"{value:.4g}")

    @property
    def ends(self) -> tuple[float | int, float | int]:
        """The smallest and the largest value, in the setting's type."""
        kind = int if self.whole else float
        return kind(self.low), kind(self.high)

    def holds(self, value: Any) -> bool:
        """Whether a value lies in the range."""
        return isinstance(value, (int, float)) and self.low <= value <= self.high


@dataclass(frozen=True)
class Choice:
    """A setting that is one of a few values.

    Attributes:
        path: The setting, with dots into nested settings.
        values: All of them.
    """

    path: str
    values: tuple[str | int | float | bool, ...]

    def suggest(self, trial: Any) -> Any:
        """A value, by an Optuna trial."""
        return trial.suggest_categorical(self.path, list(self.values))

    @property
    def ends(self) -> tuple[Any, Any]:
        """The first and the last value."""
        return self.values[0], self.values[-1]

    def holds(self, value: Any) -> bool:
        """Whether it is one of the values."""
        return value in self.values


Setting = Range | Choice


@dataclass(frozen=True)
class Space:
    """The settings of a method that are worth a search.

    Attributes:
        plain: Those that matter without privacy.
        private: Those that matter with a budget.
    """

    plain: tuple[Setting, ...] = ()
    private: tuple[Setting, ...] = ()


def _looking(prefix: str = "looking") -> tuple[Setting, ...]:
    """The first looks of the methods that measure marginals; see `synth.marginals.preparing`."""
    return (
        Range(f"{prefix}.look_share", 0.05, 0.4),
        Range(f"{prefix}.max_bins", 8, 32, whole=True),
        Range(f"{prefix}.min_bins", 2, 8, whole=True),
        Range(f"{prefix}.min_deviations", 1.0, 9.0),
    )


_LATENT: tuple[Setting, ...] = (
    Range("max_bins", 5, 30, whole=True),
    Range("latent", 4, 64, log=True, whole=True),
    Range("hidden", 32, 256, log=True, whole=True),
    Range("learning_rate", 2e-4, 4e-3, log=True),
    Range("temperature", 0.1, 0.8),
    Range("ema", 0.9, 0.999),
)
"""The methods that train a decoder of latents: GANs and VAEs."""

_DPSGD: tuple[Setting, ...] = (
    Range("privacy.sampling_probability", 0.02, 0.5, log=True),
    Range("privacy.steps", 50, 800, log=True, whole=True),
    Range("privacy.clipping_norm", 0.1, 5.0, log=True),
    Range("privacy.counts_share", 0.2, 0.95),
    Range("privacy.max_bins", 3, 16, whole=True),
    Range("privacy.hidden", 16, 128, log=True, whole=True),
    Range("learning_rate", 2e-4, 4e-3, log=True),
)
"""The same, trained by DP-SGD."""

SPACES: dict[str, Space] = {
    "gan": Space(_LATENT, _DPSGD),
    "ctgan": Space(_LATENT, _DPSGD),
    "tvae": Space(_LATENT, _DPSGD),
    "vaegan": Space(_LATENT, _DPSGD),
    "trees": Space(
        plain=(
            Range("min_leaf", 5, 80, log=True, whole=True),
            Range("max_bins", 20, 250, log=True, whole=True),
            Range("max_depth", 4, 20, whole=True),
            Range("max_features", 4, 64, log=True, whole=True),
            Range("tolerance", 0.2, 6.0, log=True),
        ),
    ),
    "arm": Space(
        plain=(
            Range("max_bins", 5, 40, whole=True),
            Range("hidden", 64, 512, log=True, whole=True),
            Range("layers", 1, 4, whole=True),
            Range("learning_rate", 2e-4, 4e-3, log=True),
            Range("weight_decay", 1e-4, 0.1, log=True),
            Range("ema", 0.98, 0.999),
        ),
        private=_DPSGD,
    ),
    "pategan": Space(
        plain=_LATENT,
        private=(
            Range("privacy.rounds", 10, 80, log=True, whole=True),
            Range("privacy.questions", 32, 512, log=True, whole=True),
            Range("privacy.patients_a_teacher", 10, 150, log=True, whole=True),
            Range("privacy.counts_share", 0.2, 0.95),
            Range("privacy.max_bins", 3, 16, whole=True),
            Range("privacy.hidden", 16, 128, log=True, whole=True),
            Range("learning_rate", 2e-4, 4e-3, log=True),
        ),
    ),
    "independent": Space(
        plain=(Range("max_bins", 5, 60, log=True, whole=True),),
        private=(
            Range("grid_bins", 8, 128, log=True, whole=True),
            Range("max_bins", 5, 60, log=True, whole=True),
        ),
    ),
    "mst": Space(
        private=(
            Range("ones_share", 0.03, 0.5),
            Range("choice_share", 0.02, 0.3),
            *_looking(),
        ),
    ),
    "aim": Space(
        plain=(
            Range("components", 8, 256, log=True, whole=True),
            Range("steps", 200, 3000, log=True, whole=True),
        ),
        private=(
            Range("ones_share", 0.1, 0.7),
            Range("split_share", 0.0, 1.0),
            Range("components", 16, 256, log=True, whole=True),
            *_looking(),
        ),
    ),
}


def space_of(method: str, *, private: bool, fixed: Mapping[str, Any]) -> tuple[Setting, ...]:
    """The settings to search.

    Args:
        method: Its name in the catalog.
        private: Whether the fits are private.
        fixed: Settings that the user chose, nested; they are not searched.

    Raises:
        UsageError: There is nothing to search.
    """
    if method not in SPACES:
        raise UsageError(
            f"the method {method!r} has no search space",
            hint=f"those that can be tuned: {', '.join(SPACES)}",
        )
    space = SPACES[method].private if private else SPACES[method].plain
    found = tuple(s for s in space if s.path not in flat(fixed))
    if not found:
        how = "with" if private else "without"
        raise UsageError(
            f"{method!r} has no setting {how} privacy that is left to be tuned",
            hint="fix fewer settings, or tune it "
            + ("without a budget" if private else "for a budget: --epsilon and --delta"),
        )
    return found


def flat(settings: Mapping[str, Any], prefix: str = "") -> Values:
    """Nested settings by their dotted paths."""
    found: Values = {}
    for key, value in settings.items():
        path = f"{prefix}{key}"
        found |= flat(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
    return found


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by their dotted paths, nested as a method takes them."""
    found: dict[str, Any] = {}
    for path, value in values.items():
        *parents, name = path.split(".")
        place = found
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = value
    return found


def merged(fixed: Mapping[str, Any], values: Values) -> dict[str, Any]:
    """Fixed settings and values by their paths, as one nested mapping."""
    return nested({**flat(fixed), **values})
