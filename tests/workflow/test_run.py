"""The whole way: what is written, what is charged, what is refused before anything is spent."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

import pegai
from pegai.errors import BudgetExceededError, IdentifierError, LedgerError, PegaiError, UsageError
from pegai.privacy.ledger import Ledger
from pegai.workflow import run as run_module
from pegai.workflow.config import config_from_dict, read_config
from pegai.workflow.run import run
from pegai.workflow.workplace import FILES


@pytest.fixture(scope="module")
def finished(tmp_path_factory, clinic_module):
    """A finished run, its folder and what it told of its progress."""
    from .conftest import RUN

    folder = tmp_path_factory.mktemp("clinic")
    clinic_module.write_clinic(folder)
    (folder / "run.toml").write_text(RUN)
    told: list[tuple[str, float]] = []
    config = read_config(folder / "run.toml")
    done = run(config, progress=lambda *what: told.append(what), commands=("pegai run run.toml",))
    return done, folder, told


@pytest.fixture
def no_evaluation(finished, monkeypatch):
    """The finished run's evaluations in place of new ones, which take seconds."""
    candidates = list(finished[0].content.candidates)
    monkeypatch.setattr(
        run_module, "_evaluate", lambda config, *_rest: candidates[: len(config.fit)]
    )


def charged(folder: Path) -> float:
    return Ledger(folder / "ledger.jsonl").spent("clinic")[0]


def test_what_is_written(finished):
    done, folder, _ = finished
    assert {p.name for p in (folder / "out").iterdir()} == {*FILES, "model"}
    assert done.files["ledger"] == folder / "ledger.jsonl"
    assert all(path.exists() for path in done.files.values())
    assert json.loads(done.files["run"].read_text())["output"]["rows"] == 60


def test_table_schema_and_model_belong_together(finished):
    done, _, _ = finished
    schema = pegai.read_schema(done.files["schema"])
    model = pegai.load(done.files["model"])
    assert model.schema == schema
    table = pegai.load_table(done.files["synthetic"], schema)
    again = model.sample(60, rng=run_module.Streams(3).get("sample", 0))
    assert table.frame.equals(again.frame)
    assert "mrn" not in table.frame.columns


def test_the_report_says_what_was_done(finished):
    done, folder, _ = finished
    content = done.content
    assert content.commands == ("pegai run run.toml",)
    assert content.lint is not None
    assert [c.name for c in content.candidates] == ["private", "open"]
    assert content.subject.name == "private"
    assert content.subject.guarantee is not None
    assert content.candidates[1].guarantee is None
    assert len(content.ledger) == 2
    assert content.subject.evaluation["membership_auc"].assessed
    text = (folder / "out" / "report.json").read_text()
    assert "Zyxname" not in text
    assert not re.search(r"(?<![.\d])70\d{6}(?!\d)", text)


def test_every_replicate_is_charged(finished):
    _, folder, _ = finished
    assert 1.9 < charged(folder) <= 2.0
    assert Ledger(folder / "ledger.jsonl").verify() == []


def test_progress_never_goes_back(finished):
    told = finished[2]
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    stages = [stage for stage, _ in told]
    assert "training: 3 of 3, last open" in stages
    # Inside of a long fit too: several shares under one stage.
    assert stages.count("training: 2 of 3, last private") >= 2


def test_one_process_or_two_give_the_same_bytes(clinic, clinic_module):
    clinic_module.write_clinic(clinic, patients=40)
    text = (clinic / "run.toml").read_text()
    text = text.replace("epsilon = 1.0\ndelta = 1e-3\n", "")
    # Fictitious ids and shifts are drawn anew in every run, whatever the seed.
    text = text.replace("[deidentify.columns]", "[deidentify]\nenabled = false\n\n[unused]")
    text = text.partition("[unused]")[0] + "[[fit]]" + text.partition("[[fit]]")[2]
    found = []
    for jobs in (1, 2):
        (clinic / "run.toml").write_text(text.replace("jobs = 1", f"jobs = {jobs}"))
        done = run(read_config(clinic / "run.toml"))
        assert "ledger" not in done.files
        names = ("synthetic.csv", "model/weights.safetensors", "model/model.json")
        scores = [c.evaluation.scores for c in done.content.candidates]
        found.append(([(clinic / "out" / n).read_bytes() for n in names], repr(scores)))
    assert found[0] == found[1]
    assert not (clinic / "ledger.jsonl").exists()


def edited(clinic: Path, old: str, new: str) -> pegai.workflow.config.RunConfig:
    text = (clinic / "run.toml").read_text()
    assert old in text
    (clinic / "run.toml").write_text(text.replace(old, new))
    return read_config(clinic / "run.toml")


def left_alone(clinic: Path) -> None:
    assert not (clinic / "out").exists()
    assert not (clinic / "ledger.jsonl").exists()


def test_over_budget_is_said_before_the_first_fit(clinic):
    config = edited(clinic, "replicates = 2", "replicates = 11")
    with pytest.raises(BudgetExceededError, match="11 private fits") as caught:
        run(config)
    assert caught.value.exit_code == 3
    left_alone(clinic)


@pytest.mark.usefixtures("no_evaluation")
def test_a_budget_that_just_suffices(clinic):
    ledger = Ledger(clinic / "ledger.jsonl")
    ledger.set_budget("clinic", 2.0, 2e-3)
    run(read_config(clinic / "run.toml"))
    with pytest.raises(BudgetExceededError):
        run(read_config(clinic / "run.toml"))
    assert charged(clinic) <= 2.0


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ('method = "ctgan"', 'method = "magic"', UsageError),
        ("max_steps = 20", "max_step = 20", UsageError),
        ("max_steps = 20", 'max_steps = 20, condition = "age"', UsageError),
        ("epsilon = 1.0", "epsilon = inf", PegaiError),
        ("epsilon = 1.0", "epsilon = -1.0", PegaiError),
        ("delta = 1e-3", "delta = 1.5", PegaiError),
        ('visit = "keep"', 'visit = "offset"', IdentifierError),
        ("patients.csv", "absent.csv", PegaiError),
        ('folder = "out"', 'folder = "patients.csv"', UsageError),
    ],
)
def test_nothing_is_spent_on_a_run_that_can_t_end(clinic, old, new, kind):
    with pytest.raises(kind):
        run(edited(clinic, old, new))
    left_alone(clinic)


def test_private_sources_are_refused(clinic):
    path = clinic / "schema.json"
    path.write_text(path.read_text().replace('"expert"', '"private"'))
    with pytest.raises(pegai.PegaiError) as caught:
        run(read_config(clinic / "run.toml"))
    assert caught.value.exit_code == 3
    left_alone(clinic)


def test_before_a_private_fit_detection_may_not_decide(clinic):
    # A modelled column full of e-mail addresses that nobody spoke of, and no public categories.
    schema = json.loads((clinic / "schema.json").read_text())
    del schema["fields"][7]["categories"]
    (clinic / "schema.json").write_text(json.dumps(schema))
    table = pl.read_csv(clinic / "patients.csv", infer_schema=False)
    mails = [f"p{i}@example.org" for i in range(table.height)]
    table.with_columns(ward=pl.Series(mails)).write_csv(clinic / "patients.csv")
    with pytest.raises(IdentifierError, match="ward") as caught:
        run(read_config(clinic / "run.toml"))
    assert "example.org" not in str(caught.value)
    left_alone(clinic)


def test_an_edited_ledger_stops_the_run(clinic):
    Ledger(clinic / "ledger.jsonl").set_budget("clinic", 5, 1e-2)
    path = clinic / "ledger.jsonl"
    path.write_bytes(path.read_bytes().replace(b"5.0", b"9.0"))
    with pytest.raises(LedgerError):
        run(read_config(clinic / "run.toml"))
    assert not (clinic / "out").exists()


@pytest.mark.usefixtures("no_evaluation")
def test_a_failure_in_the_end_leaves_the_old_results(clinic, monkeypatch):
    config = edited(clinic, "replicates = 2", "replicates = 1")
    config = config.model_copy(update={"fit": config.fit[:1]})
    run(config)
    before = {p: p.read_bytes() for p in (clinic / "out").rglob("*") if p.is_file()}
    spent = charged(clinic)

    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_module, "write_report", full)
    with pytest.raises(OSError, match="No space"):
        run(config)
    assert {p: p.read_bytes() for p in (clinic / "out").rglob("*") if p.is_file()} == before
    assert charged(clinic) > spent  # what was charged stays charged


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_stopped_in_the_middle(clinic, number, code):
    text = (clinic / "run.toml").read_text().replace("jobs = 1", "jobs = 2")
    text = text.replace("max_steps = 20", "max_steps = 200000, learning_rate = 1e-9")
    (clinic / "run.toml").write_text(text.replace('"open"', '"open"\nreplicates = 2'))
    process = subprocess.Popen(
        [sys.executable, "-m", "pegai.cli.main", "run", "run.toml"],
        cwd=clinic,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    for line in process.stderr:  # both workers have been given a fit, one is done
        if "training: 2 of 4" in line:
            break
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert out == ""
    assert "Traceback" not in err
    assert ("interrupted" in err) == (number == signal.SIGINT)
    assert_session_ends(process.pid)
    assert Ledger(clinic / "ledger.jsonl").verify() == []
    if number != signal.SIGKILL:
        assert not (clinic / "out").exists()
        return
    left = [p.name for p in (clinic / "out").iterdir()]
    assert any(name.startswith(".work-") for name in left)
    shutil.copy(clinic / "run.toml", clinic / "again.toml")
    with pytest.raises(BudgetExceededError):
        run(edited(clinic, "replicates = 2\nrelease", "replicates = 20\nrelease"))
    assert [p.name for p in (clinic / "out").iterdir()] == []


def assert_session_ends(session: int, seconds: float = 10.0) -> None:
    """No process of a session is left, but for zombies that nobody has waited for yet."""
    end = time.monotonic() + seconds
    alive: list[str] = []
    while time.monotonic() < end:
        listed = subprocess.run(
            ["ps", "-eo", "sess,stat,args"], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        parts = [line.split(None, 2) for line in listed[1:]]
        alive = [p[2] for p in parts if p[0] == str(session) and not p[1].startswith("Z")]
        if not alive:
            return
        time.sleep(0.1)
    raise AssertionError(f"left running: {alive}")


def test_broken_rules_are_all_named():
    with pytest.raises(UsageError) as caught:
        config_from_dict(
            {
                "data": {"path": "a.csv", "schema": "s.json", "holdout": 2},
                "fit": [{"method": "ctgan", "epsilon": 1}],
                "outputs": {},
            }
        )
    for place in ("data.holdout", "fit.0", "outputs"):
        assert place in caught.value.message
