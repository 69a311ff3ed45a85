"""Every method of the catalog, set so that it fits in no time, and a tape for its mechanisms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pegai.synth.base import Synthesizer
from pegai.synth.catalog import CATALOG, PRIVATE, make

QUICK: dict[str, dict[str, Any]] = {
    "auto": {"tvae": {"max_steps": 60, "hidden": 32}, "aim": {"steps": 30, "components": 4}},
    "gan": {"max_steps": 60, "hidden": 32, "privacy": {"steps": 12}},
    "ctgan": {"max_steps": 60, "hidden": 32, "privacy": {"steps": 12}},
    "tvae": {"max_steps": 60, "hidden": 32, "privacy": {"steps": 12, "hidden": 16}},
    "vaegan": {"max_steps": 60, "hidden": 32, "privacy": {"steps": 12, "hidden": 16}},
    "pategan": {"hidden": 32, "student_steps": 4, "privacy": {"rounds": 3, "hidden": 16}},
    "arm": {"max_steps": 60, "hidden": 32, "privacy": {"steps": 12, "hidden": 16}},
    "independent": {},
    "trees": {"trees": 2},
    "mst": {},
    "aim": {"steps": 30, "components": 4},
}

every = pytest.mark.parametrize("name", list(CATALOG))
every_private = pytest.mark.parametrize("name", PRIVATE)
"""Methods that have a private form."""


def quick(name: str) -> Synthesizer:
    return make(name, QUICK[name])


class Tape:
    """Records what mechanisms are given and replays fixed outputs in place of noise."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, np.ndarray, float]] = []

    def record(self, label: str, kind: str, values: np.ndarray, sensitivity: float) -> np.ndarray:
        self.calls.append((label, kind, values, sensitivity))
        rng = np.random.default_rng(len(self.calls))
        if kind == "poisson_sample":
            return rng.random(int(values[0])) < 0.3
        if kind == "choose":
            return rng.integers(len(values), size=1)
        # The replayed output may depend on the public shape only, never on the values.
        return rng.normal(20, 10, values.shape)
