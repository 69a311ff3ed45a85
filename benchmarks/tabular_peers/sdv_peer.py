"""CTGAN and TVAE of the package `ctgan`, run in an environment of their own.

The package takes no missing numbers. They are filled with the median and put back at random at
each column's rate, which is what SDV does by default around it; a missing category is a level.
Numbers are rounded as the table's and kept within the training range, as SDV does too.

    python sdv_peer.py REQUEST.json
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from ctgan import CTGAN, TVAE
from meter import Meter

MISSING = "(missing)"


def prepared(frame: pd.DataFrame, discrete: list[str]) -> pd.DataFrame:
    """What the package takes."""
    found = {
        name: frame[name].fillna(MISSING).astype(object)
        if name in discrete
        else frame[name].astype(float).fillna(frame[name].median()).fillna(0.0)
        for name in frame.columns
    }
    return pd.DataFrame(found)


def restored(
    made: pd.DataFrame, frame: pd.DataFrame, request: dict, rng: np.random.Generator
) -> pd.DataFrame:
    """Rows as the table has them: decimals, range, missing cells."""
    for name in made.columns:
        if name in request["discrete"]:
            made[name] = made[name].replace(MISSING, None)
            continue
        values = made[name].clip(frame[name].min(), frame[name].max())
        values = values.round(request["decimals"][name])
        made[name] = values.mask(rng.random(len(made)) < frame[name].isna().mean())
    return made


def fit(request: dict, table: pd.DataFrame, epochs: int) -> CTGAN | TVAE:
    """The package's defaults, but for the epochs."""
    model = (CTGAN if request["method"] == "sdv-ctgan" else TVAE)(epochs=epochs)
    if hasattr(model, "set_random_state"):
        model.set_random_state(request["seed"])
    model.fit(table, request["discrete"])
    return model


def seconds_per_epoch(request: dict, table: pd.DataFrame, epochs: int) -> float:
    """CPU-seconds between the first and the last step, by epoch: preparation is left out."""
    times: list[float] = []
    step = torch.optim.Adam.step

    def timed(self: torch.optim.Adam, *arguments: object, **named: object) -> object:
        done = step(self, *arguments, **named)
        times.append(time.process_time())
        return done

    torch.optim.Adam.step = timed
    fit(request, table, epochs)
    torch.optim.Adam.step = step
    return (times[-1] - times[0]) / (len(times) - 1) * len(times) / epochs


def main() -> None:
    """Fit, sample and write."""
    request = json.loads(Path(sys.argv[1]).read_text())
    torch.manual_seed(request["seed"])
    torch.set_num_threads(1)
    texts = dict.fromkeys(request["discrete"], "string")
    frame = pd.read_csv(request["train_csv"], dtype=texts, keep_default_na=False, na_values=[""])
    table, meter = prepared(frame, request["discrete"]), Meter()
    if request["purpose"] == "speed":
        meter.measures["epoch_cpu"] = seconds_per_epoch(request, table, request["epochs"])
        meter.write(request["run"])
        return
    with meter.part("fit"):
        model = fit(request, table, request["epochs"])
    with meter.part("sample"):
        made = model.sample(request["rows"])
        rng = np.random.default_rng(request["seed"])
        made = restored(made, frame, request, rng)
    made.to_csv(request["made"], index=False)
    meter.write(request["run"])


if __name__ == "__main__":
    main()
