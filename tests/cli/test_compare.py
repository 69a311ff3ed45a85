"""`pegai compare` through the door that users take: what is said, what is refused, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pegai.evaluate.scores import Evaluation, Score
from pegai.privacy.ledger import Ledger
from pegai.workflow import compare as compare_module

LINE = (
    "compare patients.csv -s schema.json -m independent --epsilons 1,none --delta 1e-3 "
    "--replicates 2 -n 60 --jobs 1 -o compared"
)


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    """No real evaluation."""

    def made_up(train, holdout, tables, *, seed, progress, cache, tier):
        names = ("tstr_auc", "detection_auc", "membership_auc", "exact_copies")
        return Evaluation(
            tuple(Score(n, "utility", n, 0.6, 0.5, 0.7, 0.9) for n in names), seeds=(seed,)
        )

    monkeypatch.setattr(compare_module, "real_baselines", lambda *_args, **_more: None)
    monkeypatch.setattr(compare_module, "evaluate", made_up)


def test_the_table_and_the_way_on(pegai, clinic):
    done = pegai(LINE)
    assert done.code == 0
    assert "2 private fits of 'clinic' cost epsilon 2" in done.err
    assert "fitting: 2 of 4" in done.err
    lines = [line.split() for line in done.out.splitlines()]
    for epsilon in ("1", "none"):
        assert ["independent", epsilon, *["0.600", "0.50-0.70"] * 3] in lines
    assert ["real", "patients", "0.900"] in lines
    assert "compared/compare.html" in done.out
    assert "4 fits and 2 evaluations were made" in done.out
    again = pegai(LINE)
    assert "4 of 4 fits are there already" in again.err
    assert "0 fits and 0 evaluations were made" in again.out


def test_json_and_quiet(pegai, clinic):
    done = pegai(LINE, "--json", "--quiet")
    assert (done.code, done.err) == (0, "")
    found = done.json
    assert found["ok"]
    assert (found["fitted"], found["evaluated"]) == (4, 2)
    assert found["spent"]["private_fits"] == 2
    assert found["spent"]["epsilon"] == pytest.approx(2, rel=1e-6)
    assert "Nothing is refunded" in found["notes"][0]
    assert [cell["name"] for cell in found["cells"]] == [
        "independent, epsilon 1",
        "independent, not private",
    ]
    assert all(Path(path).exists() for path in found["files"].values())
    assert pegai(LINE, "--quiet").out == ""


def test_the_page_names_the_command(pegai, clinic):
    (clinic / "s.toml").write_text("[independent]\n")
    pegai(LINE, "--settings s.toml --dataset ward --ledger l.jsonl --public-data")
    content = json.loads((clinic / "compared" / "compare.json").read_text())
    (command,) = content["commands"]
    for part in ("--epsilons 1,none", "--delta 0.001", "--settings s.toml", "--public-data"):
        assert part in command
    assert pegai(command.removeprefix("pegai ")).code == 0
    assert Ledger(clinic / "l.jsonl").spent("clinic")[0] == pytest.approx(2, rel=1e-6)


@pytest.mark.parametrize(
    ("old", "new", "code", "said"),
    [
        ("-m independent", "-m magic", 2, "there are: auto, independent, gan"),
        ("1,none", "0,none", 2, "epsilon '0' is no number above 0"),
        ("1,none", "a", 2, "epsilon 'a' is no number above 0"),
        ("1,none", "1,1", 2, "names 1 more than once"),
        ("1,none", "99", 3, "above the ceiling"),
        ("--delta 1e-3", "", 2, "needs a delta"),
        ("--delta 1e-3", "--delta 0.5", 3, "above the ceiling"),
        ("--replicates 2", "--replicates 0", 2, "not 0"),
        ("--replicates 2", "--replicates 11", 3, "11 private fits of 'clinic' cost epsilon 11"),
        ("-o compared", "-o patients.csv", 2, "is a file"),
        ("-n 60", "-n 60 --settings absent.toml", 2, "no such file"),
        ("-n 60", "-n 60 --settings quick.toml", 2, "not compared"),
        ("-n 60", "-n 60 --tier huge", 2, "huge"),
    ],
)
def test_what_is_refused(pegai, clinic, old, new, code, said):
    assert old in LINE
    done = pegai(LINE.replace(old, new))
    assert done.code == code
    assert said in " ".join(done.err.split())
    assert not (clinic / "compared").exists()
    assert not (clinic / "pegai-ledger.jsonl").exists()


def test_public_data(pegai, clinic):
    line = LINE.replace("--replicates 2", "--replicates 11")
    assert pegai(line).code == 3
    done = pegai(line, "--public-data")
    assert done.code == 0
    assert "said to be public" in done.err
    assert 10.9 < Ledger(clinic / "pegai-ledger.jsonl").spent("clinic")[0] <= 11
