"""The flchain table (7,874 residents of Olmsted County, Dispenzieri et al. 2012) for benchmarks.

It comes inside of the scikit-survival wheel (GPL-3.0; the data are public), from which only the
file is read:

    pip download scikit-survival --no-deps -d FOLDER
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import polars as pl

from pegai.data.conform import table_from
from pegai.data.table import Table
from pegai.schema.infer import infer

DROPPED = ("flc.grp",)  # tenths of kappa + lambda


def load(path: Path) -> Table:
    """The table from the wheel, or from a folder that holds it."""
    wheels = [path] if path.is_file() else sorted(path.glob("scikit_survival-*.whl"))
    if not wheels:
        raise SystemExit(f"{path}: no scikit-survival wheel; {__doc__}")
    with zipfile.ZipFile(wheels[0]) as wheel:
        text = wheel.read("sksurv/datasets/data/flchain.arff").decode()
    head, _, body = text.partition("@data")
    names = [line.split()[1] for line in head.splitlines() if line.startswith("@attribute")]
    frame = pl.read_csv(
        io.StringIO(body.strip()), has_header=False, new_columns=names, null_values="?"
    ).drop(DROPPED)
    return table_from(frame, infer(frame))
