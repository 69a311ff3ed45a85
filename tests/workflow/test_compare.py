"""A comparison: what is charged, what is kept, and that a stopped one goes on where it was."""

from __future__ import annotations

import csv
import json
import os
import shutil
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from threadpoolctl import threadpool_limits

from pegai.errors import BudgetExceededError, DataError, PegaiError, PrivacyError, UsageError
from pegai.evaluate.scores import Evaluation, Score
from pegai.privacy.ledger import Ledger
from pegai.report import write_report
from pegai.workflow import compare as compare_module
from pegai.workflow import compare_cells
from pegai.workflow.compare import compare
from pegai.workflow.compare_plan import CompareConfig, parse_epsilons, parse_methods
from pegai.workflow.workplace import workplace

QUICK = {"max_steps": 5, "privacy": {"steps": 2, "hidden": 8}}


@pytest.fixture
def config(clinic: Path) -> CompareConfig:
    """Independent columns at two budgets and without any, two fits each."""
    return CompareConfig(
        data=clinic / "patients.csv",
        schema=clinic / "schema.json",
        folder=clinic / "compared",
        methods=("independent",),
        epsilons=(1.0, None),
        delta=1e-3,
        replicates=2,
        rows=60,
        jobs=1,
        ledger=clinic / "ledger.jsonl",
    )


def made_up(train, holdout, tables, *, seed, progress, cache, tier):
    """An evaluation that takes no time and depends on the tables only."""
    # Noise may leave a private table without a single age.
    value = sum(float(t["age"].mean() or 0.0) for t in tables) / len(tables) / 100
    figures = {"group": "utility", "title": "a figure", "low": value - 0.1, "high": value + 0.1}
    names = ("tstr_auc", "detection_auc", "membership_auc", "pair_trends")
    scores = tuple(Score(name, value=value, baseline=0.9, **figures) for name in names)
    return Evaluation(scores, rows={"train": len(train)}, seeds=(seed,), seconds=time.time())


@pytest.fixture
def fast(monkeypatch):
    """No real evaluation."""
    monkeypatch.setattr(compare_module, "real_baselines", lambda *_args, **_more: None)
    monkeypatch.setattr(compare_module, "evaluate", made_up)


def charges(config: CompareConfig) -> int:
    return sum(e.kind == "charge" for e in Ledger(config.ledger_path).entries())


def cell_files(config: CompareConfig) -> set[Path]:
    return {p for p in (config.folder / "cells").rglob("*") if p.is_file()}


def without_times(path: Path) -> dict:
    content = json.loads(path.read_text())
    content.pop("created")
    for cell in content["cells"]:
        cell.pop("fit_seconds")
    return content


@pytest.mark.usefixtures("fast")
def test_what_is_written(config):
    told: list[tuple[str, float]] = []
    noted: list[str] = []
    done = compare(
        config,
        progress=lambda *what: told.append(what),
        notice=noted.append,
        commands=["pegai compare patients.csv"],
    )
    assert {p.name for p in config.folder.iterdir()} == {
        "cells",
        "compare.html",
        "compare.json",
        "compare.csv",
    }
    assert (done.fitted, done.evaluated, charges(config)) == (4, 2, 2)
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert "cost epsilon 2 and delta 0.002 together" in noted[0]
    rows = list(csv.DictReader(done.files["csv"].read_text().splitlines()))
    assert [(r["method"], r["epsilon"], r["replicates"]) for r in rows] == [
        ("independent", "1.0", "2"),
        ("independent", "", "2"),
    ]
    assert all(0 <= float(r["membership_auc"]) <= 1 and r["verdict"] for r in rows)
    found = json.loads(done.files["json"].read_text())
    assert found["charged"]["private_fits"] == 2
    assert found["cells"][0]["guaranteed_epsilon"] <= 1.0
    assert found["cells"][1]["guaranteed_epsilon"] is None
    assert all((config.folder / m / "model.json").is_file() for m in found["cells"][0]["models"])
    page = done.files["html"].read_text()
    assert "curve-membership-auc" in page
    assert "pegai compare patients.csv" in page
    for text in (page, done.files["json"].read_text(), done.files["csv"].read_text()):
        assert "Zyxname" not in text


@pytest.mark.slow
def test_real_evaluations_are_read_back_as_they_were(config, clinic_module):
    clinic_module.write_clinic(config.data.parent, patients=40)
    config = replace(config, epsilons=(None,), delta=None, replicates=1)
    with threadpool_limits(1):  # threads only wait for each other on so few rows
        first = compare(config).comparison.content
    again = compare(config).comparison.content
    found, read = (c.candidates[0].evaluation for c in (first, again))
    assert repr(found.scores) == repr(read.scores)
    assert read["tstr_auc"].assessed
    assert read["membership_auc"].assessed
    # The full report can be drawn of what was read back.
    assert write_report(again, config.folder / "full")[0].is_file()


@pytest.mark.usefixtures("fast")
def test_cells_hold_no_pickles_and_are_for_their_user_only(config):
    compare(config)
    endings = {p.suffix for p in cell_files(config)}
    assert endings == {".json", ".safetensors", ".parquet"}
    if os.name != "nt":
        mode = stat.S_IMODE((config.folder / "cells").stat().st_mode)
        assert mode == 0o700


@pytest.mark.usefixtures("fast")
def test_the_second_call_does_nothing(config):
    compare(config)
    before = {p: p.read_bytes() for p in cell_files(config)}
    first = without_times(config.folder / "compare.json")
    noted: list[str] = []
    again = compare(config, notice=noted.append)
    assert (again.fitted, again.evaluated, again.spending) == (0, 0, None)
    assert charges(config) == 2
    assert {p: p.read_bytes() for p in cell_files(config)} == before
    assert without_times(config.folder / "compare.json") == first
    assert noted == ["4 of 4 fits are there already and are kept"]


@pytest.mark.usefixtures("fast")
def test_without_privacy_two_folders_are_equal(config):
    config = replace(config, epsilons=(None,), delta=None)
    compare(config)
    other = replace(config, folder=config.folder.with_name("other"))
    compare(other)
    first, second = (without_times(c.folder / "compare.json") for c in (config, other))
    assert first == second
    assert not config.ledger_path.exists()


@pytest.mark.usefixtures("fast")
def test_more_replicates_keep_the_first_ones(config):
    compare(config)
    more = compare(replace(config, replicates=3))
    assert (more.fitted, more.evaluated) == (2, 2)
    assert charges(config) == 3


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize(
    ("change", "fitted"),
    [
        ({"epsilons": (0.5, None)}, 2),
        ({"delta": 2e-3}, 2),
        ({"seed": 1}, 4),
        ({"holdout": 0.4}, 4),
        ({"methods": ("mst", "independent")}, 4),
        ({"rows": 61}, 0),
        ({"tier": "standard"}, 0),
    ],
)
def test_changed_arguments_are_other_cells(config, change, fitted):
    compare(config)
    done = compare(replace(config, **change))
    assert done.fitted == fitted
    assert done.evaluated > 0


@pytest.mark.usefixtures("fast")
def test_changed_data_are_other_cells(config):
    compare(config)
    text = config.data.read_text().splitlines()
    config.data.write_text("\n".join([*text, text[1].replace(",F,", ",M,")]) + "\n")
    assert compare(config).fitted == 4


def stopped_at(monkeypatch, number: int, error: BaseException, *, charged: bool):
    """Make the fit of a number fail, before or after it is charged."""
    calls: list[int] = []
    fit = compare_cells.fit_one

    def failing(task, train, progress):
        calls.append(1)
        if len(calls) == number and not charged:
            raise error
        seconds = fit(task, train, progress)
        if len(calls) == number:
            raise error
        return seconds

    monkeypatch.setattr(compare_cells, "fit_one", failing)


@pytest.mark.usefixtures("fast")
def test_a_stopped_comparison_goes_on(config, monkeypatch):
    config = replace(config, epsilons=(1.0,), replicates=3)
    with monkeypatch.context() as patch:
        stopped_at(patch, 2, KeyboardInterrupt(), charged=True)
        with pytest.raises(KeyboardInterrupt):
            compare(config)
    assert charges(config) == 2
    kept = {p: p.read_bytes() for p in cell_files(config) if p.name == "cell.json"}
    assert len(kept) == 1
    noted: list[str] = []
    done = compare(config, notice=noted.append)
    assert done.fitted == 2
    assert charges(config) == 4  # the first is kept, the second was charged for nothing
    assert {p: p.read_bytes() for p in kept} == kept
    assert any("1 private fit began in an earlier call" in text for text in noted)
    assert any("2 private fits of 'clinic' cost epsilon 2" in text for text in noted)
    assert not list((config.folder / "cells").glob("*.begun"))


@pytest.mark.usefixtures("fast")
def test_one_failing_fit_does_not_take_others_with_it(config, monkeypatch):
    with monkeypatch.context() as patch:
        stopped_at(patch, 1, DataError("broken", hint="mend it"), charged=False)
        with pytest.raises(DataError, match="independent, epsilon 1: broken") as caught:
            compare(config)
    assert caught.value.hint == "mend it"
    assert compare(config).fitted == 1


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("Zyxname"), "RuntimeError at "),
        (OSError(28, "No space left"), "No space left"),
        (MemoryError(), "out of memory"),
    ],
)
def test_no_failing_fit_takes_others_with_it(config, monkeypatch, error, said):
    config = replace(config, epsilons=(1.0,), replicates=3)
    with monkeypatch.context() as patch:
        stopped_at(patch, 2, error, charged=True)
        with pytest.raises(PegaiError, match=said) as caught:
            compare(config)
    assert str(caught.value).startswith("independent, epsilon 1: ")
    assert "Zyxname" not in str(caught.value)
    assert charges(config) == 3  # the third was fitted, and is kept
    done = compare(config)
    assert (done.fitted, charges(config)) == (1, 4)


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("error", [RuntimeError("Zyxname"), MemoryError()])
def test_no_failing_evaluation_takes_others_with_it(config, monkeypatch, error):
    calls: list[int] = []

    def failing(*args, **more):
        calls.append(1)
        if len(calls) == 1:
            raise error
        return made_up(*args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(compare_module, "evaluate", failing)
        with pytest.raises(PegaiError, match=r"^independent, epsilon 1: ") as caught:
            compare(config)
    assert "Zyxname" not in str(caught.value)
    assert len(calls) == 2
    done = compare(config)
    assert (done.fitted, done.evaluated) == (0, 1)


@pytest.mark.usefixtures("fast")
def test_a_private_fit_belongs_to_its_ledger_and_data_set(config, monkeypatch):
    compare(config)
    other = replace(config, ledger=config.ledger_path.with_name("other.jsonl"))
    assert compare(other).fitted == 2  # the private ones
    assert charges(other) == 2
    monkeypatch.chdir(config.ledger_path.parent)
    assert compare(replace(config, ledger=Path("ledger.jsonl"))).fitted == 0
    schema = json.loads(config.schema.read_text())
    schema["pegai"].pop("dataset", None)
    config.schema.write_text(json.dumps(schema))
    assert compare(replace(config, dataset="one")).fitted == 4  # another schema
    assert compare(replace(config, dataset="two")).fitted == 2


@pytest.mark.usefixtures("fast")
def test_a_stopped_evaluation_charges_nothing_again(config, monkeypatch):
    def stop(*_args, **_more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(compare_module, "evaluate", stop)
        with pytest.raises(KeyboardInterrupt):
            compare(config)
    done = compare(config)
    assert (done.fitted, done.evaluated, charges(config)) == (0, 2, 2)


def test_over_budget_is_refused_with_the_sum_before_anything_is_spent(config):
    config = replace(config, epsilons=(3.0, 1.0), replicates=3)
    with pytest.raises(BudgetExceededError, match="6 private fits of 'clinic' cost epsilon 12"):
        compare(config)
    try:
        compare(config)
    except BudgetExceededError as error:
        assert error.exit_code == 3
        assert "pegai ledger budget clinic --epsilon 12 --delta 0.006" in error.hint
        assert "--public-data" in error.hint
    assert not config.folder.exists()
    assert not config.ledger_path.exists()


@pytest.mark.usefixtures("fast")
def test_the_budget_that_is_hinted_at_suffices(config):
    config = replace(config, epsilons=(3.0, 1.0), replicates=3)
    Ledger(config.ledger_path).set_budget("clinic", 12, 0.006)
    assert compare(config).fitted == 6


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("composition", ["sums", "gaussian"])
def test_public_data_raise_the_budget_to_what_is_spent(config, composition):
    config = replace(config, epsilons=(3.0, 1.0), replicates=3, public_data=True)
    ledger = Ledger(config.ledger_path)
    ledger.set_budget("clinic", 1, 1e-3, composition=composition)
    noted: list[str] = []
    compare(config, notice=noted.append)
    assert charges(config) == 6
    assert ledger.budget("clinic")[0] >= ledger.spent("clinic")[0]
    assert ledger.budget("clinic")[0] < 12.1
    assert "said to be public" in noted[0]
    lines = len(ledger.entries())
    compare(config)
    assert len(ledger.entries()) == lines


def test_private_sources_are_refused(config):
    config.schema.write_text(config.schema.read_text().replace('"expert"', '"private"'))
    with pytest.raises(PrivacyError):
        compare(config)
    assert not config.ledger_path.exists()


@pytest.mark.usefixtures("fast")
def test_what_has_no_private_form_is_fitted_without_privacy_only(config):
    settings = {"ctgan": {**QUICK, "heuristic": {"weight_noise": 0.1}}}
    config = replace(config, methods=("ctgan",), settings=settings, replicates=1)
    noted: list[str] = []
    done = compare(config, notice=noted.append)
    assert [t.epsilon for t in done.comparison.trials] == [None]
    assert noted[0].startswith("ctgan, epsilon 1 is left out: heuristic noise")
    assert "is left out" in done.files["html"].read_text()
    assert not config.ledger_path.exists()
    with pytest.raises(UsageError, match="nothing can be compared of ctgan"):
        compare(replace(config, epsilons=(1.0,)))


def test_a_damaged_cell_is_named(config, monkeypatch):
    monkeypatch.setattr(compare_module, "real_baselines", lambda *_args, **_more: None)
    monkeypatch.setattr(compare_module, "evaluate", made_up)
    compare(config)
    path = next(p for p in cell_files(config) if p.name == "cell.json")
    path.write_text("{")
    with pytest.raises(DataError, match="no finished cell") as caught:
        compare(config)
    assert f"remove {path.parent}" in caught.value.hint


def test_one_comparison_at_a_time(config):
    with (
        workplace(config.folder),
        pytest.raises(UsageError, match="another run is writing into it"),
    ):
        compare(config)


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"replicates": 0}, UsageError, "replicates must lie between 1 and 100, not 0"),
        ({"delta": None}, UsageError, "needs a delta"),
        ({"rows": 0}, UsageError, "rows must be at least 1"),
        ({"holdout": 1.0}, UsageError, "holdout must lie between 0 and 1"),
        ({"epsilons": (50.0,)}, PrivacyError, "above the ceiling"),
        ({"settings": {"ctgan": {}}}, UsageError, "not compared"),
        ({"settings": {"independent": 3}}, UsageError, "no table"),
        ({"settings": {"independent": {"x": 1}}}, UsageError, "no setting 'x'"),
        ({"data": Path("absent.csv")}, PegaiError, "absent.csv"),
    ],
)
def test_what_can_t_be_is_refused_before_anything_is_made(config, change, kind, said):
    with pytest.raises(kind, match=said):
        compare(replace(config, **change))
    assert not config.folder.exists()
    assert not config.ledger_path.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("magic", "no method 'magic'"),
        ("aim,aim", "names aim more than once"),
        ("aim,,mst", "empty part"),
        ("", "empty part"),
    ],
)
def test_methods_that_can_t_be(text, said):
    with pytest.raises(UsageError, match=said) as caught:
        parse_methods(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0", "'0' is no number above 0"),
        ("-1", "no number above 0"),
        ("nan", "no number above 0"),
        ("inf", "no number above 0"),
        ("one", "no number above 0"),
        ("1,1.0", "names 1 more than once"),
        ("none,NONE", "names none more than once"),
        ("1;2", "no number above 0"),
        ("1,", "empty part"),
    ],
)
def test_epsilons_that_can_t_be(text, said):
    with pytest.raises(UsageError, match=said) as caught:
        parse_epsilons(text)
    assert caught.value.hint


def test_lists_are_read():
    assert parse_epsilons(" 0.5, none,3 ") == (0.5, None, 3.0)
    assert parse_methods("aim, ctgan") == ("aim", "ctgan")


@pytest.mark.usefixtures("fast")
@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_killed_comparison_loses_no_finished_cell(config):
    slow = "[ctgan]\nmax_steps = 200000\nlearning_rate = 1e-9\n"
    folder = config.folder.parent
    (folder / "slow.toml").write_text(slow)
    line = (
        "compare patients.csv -s schema.json -m independent,ctgan --epsilons 1,none --delta 1e-3 "
        "--replicates 2 -n 60 --jobs 2 --settings slow.toml --ledger ledger.jsonl -o compared"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "pegai.cli.main", *line.split()],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    for text in process.stderr:
        if "fitting: 5 of 8" in text:
            break
    process.kill()
    process.communicate(timeout=30)
    assert_session_ends(process.pid)
    cells = list((config.folder / "cells").glob("*/cell.json"))
    assert len(cells) >= 5
    assert Ledger(config.ledger_path).verify() == []
    before = charges(config)
    done = compare(config)  # of the independent columns all is there
    assert (done.fitted, charges(config)) == (0, before)
    assert not list((config.folder / "cells").glob(".*"))


def assert_session_ends(session: int, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    alive: list[str] = []
    while time.monotonic() < end:
        listed = subprocess.run(
            ["ps", "-eo", "sess,stat,args"], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        parts = [text.split(None, 2) for text in listed[1:]]
        alive = [p[2] for p in parts if p[0] == str(session) and not p[1].startswith("Z")]
        if not alive:
            return
        time.sleep(0.1)
    raise AssertionError(f"left running: {alive}")


@pytest.mark.usefixtures("fast")
def test_two_processes_give_the_same_tables(config):
    config = replace(config, epsilons=(None,), delta=None)
    found = []
    for jobs in (1, 2):
        folder = config.folder.with_name(f"jobs{jobs}")
        # Fits in processes; the evaluation is one call, which stays here.
        compare(replace(config, jobs=jobs, folder=folder))
        tables = sorted(folder.glob("cells/*/synthetic-60.parquet"))
        found.append([(p.parent.name, p.read_bytes()) for p in tables])
        shutil.rmtree(folder)
    assert found[0] == found[1]
    assert len(found[0]) == 2
