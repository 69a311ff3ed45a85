"""`pegai audit`: nothing is found, what is found shows, and model folders are scanned."""

from __future__ import annotations

import json

FAST = "--check parts --check gdp --runs 1000 -m independent"


def test_an_audit_finds_nothing_and_says_what_that_means(pegai, clinic):
    done = pegai(f"audit {FAST}")
    assert done.code == 0
    assert "independent" in done.out
    assert "mu claimed" in done.out
    assert "can refute a guarantee, never prove it" in done.out
    assert not list(clinic.glob("*.jsonl"))  # no ledger of the user's is touched


def test_the_same_for_machines_on_a_schema_of_ones_own(pegai):
    done = pegai("audit --check replay -m independent -m mst -s schema.json --json -q")
    assert done.code == 0
    assert done.json["findings"] == []
    assert {r["method"] for r in done.json["replays"]} == {"independent", "mst"}


def test_a_breach_shows_with_exit_code_1(pegai, monkeypatch):
    from pegai.privacy.session import Session

    monkeypatch.setattr(Session, "_consume", lambda self, label: None)
    done = pegai("audit --check parts")
    assert done.code == 1
    assert "BREACHES" in done.out
    assert "more was released than was charged" in " ".join(done.out.split())


def test_a_model_folder_is_scanned(pegai, clinic):
    fit = "fit patients.csv -s schema.json -m independent --epsilon 1 --delta 1e-4 -o model -q"
    assert pegai(fit).code == 0
    assert pegai("audit --model model").code == 0
    scan = "audit --model model --data patients.csv -s schema.json"
    assert pegai(scan).code == 0
    assert "needs --schema" in pegai("audit --model model --data patients.csv").err
    (clinic / "model" / "notes.txt").write_text("x")
    done = pegai(f"{scan} --json")
    assert done.code == 1
    assert "notes.txt" in done.json["findings"][0]["what"]


def test_what_is_wrong_is_said(pegai, clinic):
    assert "goes with --model" in pegai("audit --data patients.csv").err
    assert pegai("audit --model nothing").code == 2
    assert "no check 'x'" in pegai("audit --check x").err
    assert pegai("audit --epsilon 0").code == 3
    raw = json.loads((clinic / "schema.json").read_text())
    raw["fields"][3]["pegai"]["source"] = "private"
    (clinic / "guessed.json").write_text(json.dumps(raw))
    assert pegai("audit -s guessed.json --check replay").code == 3
