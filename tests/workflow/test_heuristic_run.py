"""Heuristic noise goes by its label through a run and an evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pegai.cli.summary import candidate_rows, print_candidates
from pegai.evaluate.scores import Evaluation
from pegai.workflow import run as run_module
from pegai.workflow.config import config_from_dict
from pegai.workflow.evaluation import EvaluationRequest, evaluate_files
from pegai.workflow.run import run
from pegai.workflow.steps import fit_file, sample_file

LABEL = "heuristic noise (0.3 on weights): no formal guarantee"
SETTINGS = {"max_steps": 4, "heuristic": {"weight_noise": 0.3}}


def test_a_run_names_it_in_the_report_and_on_the_terminal(
    clinic: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(clinic)
    # The evaluation takes seconds and has no part in this.
    monkeypatch.setattr(
        run_module,
        "evaluate_all",
        lambda *_, **__: [Evaluation((), rows={"train": 9, "holdout": 9})] * 2,
    )
    keep = {"columns": {"visit": "drop", "admitted": "drop"}}
    config = config_from_dict(
        {
            "jobs": 1,
            "data": {"path": "patients.csv", "schema": "schema.json", "seed": 3},
            "deidentify": keep,
            "fit": [
                {"name": "noisy", "method": "ctgan", "settings": SETTINGS, "release": True},
                {"name": "plain", "method": "independent"},
            ],
            "output": {"folder": "out", "rows": 20, "ledger": "l.jsonl"},
        }
    )
    done = run(config)
    assert [c.heuristic for c in done.content.candidates] == [LABEL, ""]
    assert LABEL in done.content.verdict.gates[0].value
    twin = json.loads((clinic / "out" / "report.json").read_text(encoding="utf-8"))
    assert [c["heuristic"] for c in twin["candidates"]] == [LABEL, None]
    assert LABEL[1:] in (clinic / "out" / "report.html").read_text(encoding="utf-8")
    model = json.loads((clinic / "out" / "model" / "model.json").read_text(encoding="utf-8"))
    assert model["heuristic"] == LABEL
    assert [row["heuristic"] for row in candidate_rows(done.content)] == [LABEL, None]
    capsys.readouterr()
    print_candidates(done.content)
    assert f"noisy: {LABEL}" in capsys.readouterr().out


def test_an_evaluation_of_a_model_names_it(clinic: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clinic)
    monkeypatch.setattr(
        "pegai.evaluate.suite.evaluate",
        lambda *_, **__: Evaluation((), rows={"train": 9, "holdout": 9}),
    )
    (clinic / "noisy.toml").write_text("max_steps = 4\n[heuristic]\nweight_noise = 0.3\n")
    quiet = {"progress": lambda stage, share: None}
    data, schema, model = Path("patients.csv"), Path("schema.json"), Path("m")
    fit_file(
        data,
        schema,
        model,
        method="ctgan",
        epsilon=None,
        delta=None,
        ledger=None,
        dataset=None,
        settings=Path("noisy.toml"),
        overwrite=False,
        seed=1,
        **quiet,
    )
    sample_file(model, 20, Path("s.csv"), given=[], seed=1, **quiet)
    request = EvaluationRequest(
        data, data, [Path("s.csv")], schema, Path("r"), model=model, tier="quick", seed=1
    )
    content, _ = evaluate_files(request, **quiet)
    assert content.subject.heuristic == LABEL
