"""`pegai tune` through the door that users take: what is said, what is refused, exit codes."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from pegai.privacy.ledger import Ledger
from pegai.workflow import tune_charged

pytest.importorskip("optuna")

BUDGET = "--epsilon 1 --delta 1e-3"
LINE = f"tune patients.csv -s schema.json -m independent {BUDGET} --private-mode charge -o tuned"


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune_charged, "ROWS", 200)


def test_the_way_to_a_fit(pegai, clinic: Path) -> None:
    done = pegai(LINE, "--trials 2")
    assert done.code == 0
    assert "2 charged trials cost epsilon" in done.err
    assert "Nothing is refunded" in done.err
    assert "noise of" in done.out
    (following,) = [line for line in done.out.splitlines() if line.startswith("next: ")]
    assert pegai(following.removeprefix("next: pegai ")).code == 0
    charges = [e for e in Ledger(clinic / "pegai-ledger.jsonl").entries() if e.kind == "charge"]
    assert [e.label for e in charges] == ["tune independent: 2 trials", "fit independent"]


def test_json_and_quiet(pegai, clinic: Path) -> None:
    done = pegai(
        f"tune -s schema.json -m mst {BUDGET} -n 60 --trials 1 --repeats 1 -o tuned --json --quiet"
    )
    assert (done.code, done.err) == (0, "")
    found = done.json
    assert (found["private_mode"], found["made"], found["spent"]) == ("simulate", 1, [])
    assert found["chosen"]["trial"] == 0
    assert all(Path(path).exists() for path in found["files"].values())
    record = json.loads(Path(found["files"]["record"]).read_text())
    assert record["question"]["patients"] == 60
    assert not (clinic / "pegai-ledger.jsonl").exists()


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("-m independent", 2, "no table is given"),
        ("patients.csv -m magic", 2, "there are: auto, independent"),
        ("patients.csv -m auto", 2, "has no search space"),
        ("patients.csv -m mst", 2, "no setting without privacy"),
        (f"-m mst {BUDGET}", 2, "need a number of patients"),
        (f"-m mst {BUDGET} -n 3", 2, "at least 20"),
        ("patients.csv -m mst --epsilon 1", 2, "go together"),
        ("patients.csv -m independent --trials 0", 2, "at least 1"),
        ("patients.csv -m independent --max-minutes 0", 2, "above 0"),
        (f"patients.csv -m mst {BUDGET} --private-mode charge --trials 90", 3, "fewer trials"),
        (
            f"patients.csv -m mst {BUDGET} --private-mode charge --max-minutes 5",
            2,
            "fewer --trials",
        ),
        ("absent.csv -m independent", 2, "absent.csv"),
    ],
)
def test_what_is_refused(pegai, clinic: Path, line: str, code: int, said: str) -> None:
    done = pegai(f"tune {line} -s schema.json -o tuned")
    assert done.code == code
    assert said in " ".join(done.err.split())
    assert not (clinic / "tuned").exists()
    assert not (clinic / "pegai-ledger.jsonl").exists()


def test_settings_tuned_on_the_data_for_nothing_are_not_for_a_private_fit(
    pegai, clinic: Path
) -> None:
    tuning = "tune patients.csv -s schema.json -m independent --trials 2 --repeats 1 -o tuned"
    assert pegai(tuning).code == 0
    fit = "fit patients.csv -s schema.json -m independent --settings tuned/settings.toml"
    done = pegai(fit, *BUDGET.split(), "-o", "private")
    assert done.code == 3
    assert "without a charge" in " ".join(done.err.split())
    assert "--private-mode simulate" in " ".join(done.err.split())
    assert not (clinic / "private").exists()
    assert not (clinic / "pegai-ledger.jsonl").exists()
    assert pegai(fit, "-o", "plain").code == 0


def test_where_charged_and_simulated_settings_come_from(pegai, clinic: Path) -> None:
    assert pegai(LINE, "--trials 1").code == 0
    charged = tomllib.loads((clinic / "tuned" / "settings.toml").read_text())
    (entry,) = [e for e in Ledger(clinic / "pegai-ledger.jsonl").entries() if e.kind == "charge"]
    assert charged["tuned_on"] == "charged"
    (line,) = charged["tuned_charges"]
    assert line.endswith(f"line {entry.index}, {entry.hash}")
    simulate = f"tune -s schema.json -m mst {BUDGET} -n 60 --trials 1 --repeats 1 -o simulated"
    assert pegai(simulate).code == 0
    assert "tuned_on" not in (clinic / "simulated" / "settings.toml").read_text()
