"""TabularARGN of the package `mostlyai-engine`, run in an environment of its own, on one thread.

Its defaults, but that rare categories are not replaced (`value_protection=False`), as no other
method here hides them from the scores.

    python argn_peer.py REQUEST.json
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import pandas as pd
import torch
from meter import Meter
from mostlyai import engine


def main() -> None:
    """Fit, sample and write."""
    request = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(1)
    engine.set_random_state(request["seed"])
    discrete = request["discrete"]
    texts = dict.fromkeys(discrete, "string")
    frame = pd.read_csv(request["train_csv"], dtype=texts, keep_default_na=False, na_values=[""])
    types = {n: "TABULAR_CATEGORICAL" if n in discrete else "TABULAR_NUMERIC_AUTO" for n in frame}
    meter = Meter()
    with tempfile.TemporaryDirectory() as workspace:
        with meter.part("fit"):
            engine.split(
                tgt_data=frame,
                workspace_dir=workspace,
                model_type="TABULAR",
                tgt_encoding_types=types,
            )
            engine.analyze(workspace_dir=workspace, value_protection=False)
            engine.encode(workspace_dir=workspace)
            named = {} if request["epochs"] is None else {"max_epochs": request["epochs"]}
            engine.train(workspace_dir=workspace, device="cpu", **named)
        with meter.part("sample"):
            engine.generate(workspace_dir=workspace, sample_size=request["rows"], device="cpu")
            made = pd.read_parquet(Path(workspace) / "SyntheticData")
    made[frame.columns].to_csv(request["made"], index=False)
    meter.write(request["run"])


if __name__ == "__main__":
    main()
