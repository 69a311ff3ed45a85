"""`pegai schema estimate` as a user meets it."""

import json
import shutil

import pytest

from pegai.data.datasets import heart_disease_path


def spent(pegai, dataset):
    (row,) = [d for d in pegai("ledger show --json").json["datasets"] if d["dataset"] == dataset]
    return row


def test_from_a_draft_to_a_private_model_on_the_bundled_table(pegai, clinic):
    shutil.copy(heart_disease_path(), clinic / "heart.csv")
    assert pegai("schema infer heart.csv -o draft.json --dataset heart -q").code == 0
    draft = json.loads((clinic / "draft.json").read_text())
    assert pegai("fit heart.csv -s draft.json -m mst --epsilon 1 --delta 1e-4 -o m").code == 3

    done = pegai(
        "schema estimate heart.csv draft.json --epsilon 8 --delta 1e-4 -o heart.json --json -q"
    )
    assert done.code == 0
    assert done.json["unresolved"] == []
    assert len(done.json["estimated"]) == len(draft["fields"])
    assert done.json["guarantee"]["epsilon"] == pytest.approx(8.0)
    written = json.loads((clinic / "heart.json").read_text())
    assert {f["pegai"]["source"] for f in written["fields"]} == {"dp-estimate"}
    assert [f["name"] for f in written["fields"]] == [f["name"] for f in draft["fields"]]

    fit = pegai("fit heart.csv -s heart.json -m mst --epsilon 1 --delta 1e-4 -o model -q")
    assert fit.code == 0
    ledger = pegai("ledger show --json").json
    assert "estimate schema" in json.dumps(ledger)
    # 8 + 1 of the default 10 are spent, so that the next estimate is over it.
    more = pegai(
        "schema estimate heart.csv draft.json --epsilon 3 --delta 1e-4 -o again.json --json"
    )
    assert more.code == 3
    assert more.json["error"]["code"] == "BudgetExceededError"
    assert not (clinic / "again.json").exists()


def test_nothing_to_estimate_costs_nothing(pegai, clinic):
    done = pegai("schema estimate patients.csv schema.json --epsilon 1 --delta 1e-4 -o out.json")
    assert done.code == 0
    assert "nothing is charged" in done.out
    assert (clinic / "out.json").exists()
    assert not (clinic / "pegai-ledger.jsonl").exists()


def test_no_value_is_shown_but_what_was_released(pegai, clinic):
    assert pegai("schema infer patients.csv -o draft.json --dataset clinic -q").code == 0
    # At this budget nothing of 90 patients stands out.
    done = pegai("schema estimate patients.csv draft.json --epsilon 0.02 --delta 1e-7 -o out.json")
    assert done.code == 1
    assert "not estimated" in done.out
    assert "the charge stays" in done.out
    written = (clinic / "out.json").read_text()
    for secret in ("Zyxname", "icu", "onco", "cardio", "70000"):
        assert secret not in done.out + done.err + written
    assert "clinic" in json.dumps(pegai("ledger show --json").json)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("--epsilon 1 --delta 1e-4 -o schema.json", 2),
        ("--epsilon 1 --delta 1e-4 -o patients.csv --force", 2),
        ("--epsilon 1 --delta 1e-4 -o quick.toml", 2),
        ("--epsilon 0 --delta 1e-4 -o out.json", 3),
        ("--epsilon 1 --delta 0.5 -o out.json", 3),
        ("--epsilon 21 --delta 1e-4 -o out.json", 3),
        ("--epsilon 1 -o out.json", 2),
        ("--epsilon 1 --delta 1e-4 -o no/where/out.json", 2),
    ],
)
def test_wrong_usage_is_refused_and_charges_nothing(pegai, clinic, line, code):
    before = (clinic / "quick.toml").read_text()
    assert pegai(f"schema estimate patients.csv schema.json {line}").code == code
    assert (clinic / "quick.toml").read_text() == before
    assert not (clinic / "pegai-ledger.jsonl").exists()
    assert not (clinic / "out.json").exists()
