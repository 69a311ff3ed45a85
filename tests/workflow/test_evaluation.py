"""Evaluating files: refits for shadows and canaries, and a list of patients that only its owner
reads."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import pegai
from pegai.data.files import write_table
from pegai.evaluate import tiers
from pegai.schema import write_schema
from pegai.workflow.evaluation import EvaluationRequest, evaluate_files

LIGHT = replace(tiers.AUDIT, full=False, shadow_fits=1, canary_fits=2)


def quiet(_what: str, _share: float) -> None:
    """Tells nobody."""


@pytest.fixture(scope="module")
def request_of(tmp_path_factory: pytest.TempPathFactory) -> EvaluationRequest:
    """Files of a private model, of its table, and of a reference of 140 patients."""
    folder = tmp_path_factory.mktemp("files")
    hearts = pegai.datasets.load_heart_disease("cleveland")
    order = np.random.default_rng(0).permutation(len(hearts))
    parts = {"train": order[:80], "holdout": order[80:160], "reference": order[160:300]}
    for name, rows in parts.items():
        write_table(hearts.take(rows), folder / f"{name}.csv")
    privacy = pegai.Privacy(1.0, 1e-3, ledger=folder / "ledger.jsonl")
    model = pegai.Independent().fit(hearts.take(parts["train"]), privacy=privacy)
    model.save(folder / "model")
    write_table(model.sample(80, rng=0), folder / "synthetic.csv")
    write_schema(hearts.schema, folder / "schema.json")
    return EvaluationRequest(
        folder / "train.csv", folder / "holdout.csv", [folder / "synthetic.csv"],
        folder / "schema.json", folder / "out", model=folder / "model",
        reference=folder / "reference.csv", tier="audit", vulnerable=folder / "vulnerable.csv",
    )  # fmt: skip


def test_an_audit_refits_inside_and_holds_the_guarantee(request_of, monkeypatch):
    monkeypatch.setitem(tiers.TIERS, "audit", LIGHT)
    folder = request_of.out.parent
    charged = (folder / "ledger.jsonl").read_bytes()
    request_of.vulnerable.write_text("old")
    request_of.vulnerable.chmod(0o644)
    content, files = evaluate_files(request_of, progress=quiet)
    evaluation = content.subject.evaluation
    assert (folder / "ledger.jsonl").read_bytes() == charged
    assert evaluation["membership_auc_shadow"].assessed
    assert evaluation["canary_epsilon"].value <= 1.0
    assert "at δ 0.001" in evaluation["canary_epsilon"].note
    gates = {gate.name: gate for gate in content.verdict.gates}
    assert gates["canary_epsilon"].status == "pass"
    assert "canary_auc" not in gates
    assert "Learning by heart" in files["report"].read_text(encoding="utf-8")
    # Also where a file that everybody could read was there before.
    assert stat.S_IMODE(request_of.vulnerable.stat().st_mode) == 0o600
    assert request_of.vulnerable.read_text().startswith("row,")


def test_a_new_list_of_patients_is_for_its_owner_too(request_of, tmp_path: Path):
    again = replace(request_of, tier="quick", vulnerable=tmp_path / "new.csv", out=tmp_path / "out")
    content, _ = evaluate_files(again, progress=quiet)
    assert stat.S_IMODE((tmp_path / "new.csv").stat().st_mode) == 0o600
    assert content.subject.evaluation.get("canary_auc") is None
