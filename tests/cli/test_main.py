"""Exit codes and errors: what a user or a script sees when something is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import typer

from pegai.cli import main, show
from pegai.errors import PegaiError

COMMANDS = [
    "demo",
    "run",
    "schema infer",
    "schema check",
    "deidentify",
    "split",
    "fit",
    "sample",
    "evaluate",
    "methods",
    "ledger show",
    "ledger verify",
    "ledger budget",
]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_command_explains_itself(pegai, command):
    done = pegai(command, "--help")
    assert done.code == 0
    assert "Usage: pegai" in done.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_json_and_quiet(pegai, command):
    said = pegai(command, "--help").out
    assert "--json" in said
    assert "--quiet" in said


def test_help_joins_the_lines_of_a_paragraph():
    def documented() -> None:
        """Do it.

        One line
        and its end.

        Another.
        """

    assert main.paragraphs(documented) == "Do it.\n\nOne line and its end.\n\nAnother."


def test_version(pegai):
    done = pegai("--version")
    assert (done.code, done.out.split()[0]) == (0, "pegai")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nonsense", "nonsense"),
        ("fit", "data"),
        ("sample model -n 0 -o x.csv", "--rows"),
        ("sample model -n 5 -o x.csv --seed abc", "--seed"),
        ("methods --what", "--what"),
    ],
)
def test_wrong_usage_is_one_json_object(pegai, line, message):
    done = pegai(line, "--json")
    assert done.code == 2
    error = done.json["error"]
    assert message in error["message"]
    assert error["exit_code"] == 2
    assert error["hint"].startswith("pegai")


def test_wrong_usage_for_people_goes_to_stderr(pegai):
    done = pegai("fit")
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert "hint: pegai fit --help" in done.err


@pytest.mark.parametrize("error", [KeyboardInterrupt, typer.Abort])
def test_interrupted(pegai, monkeypatch, error):
    def stop(*_args, **_options):
        raise error

    monkeypatch.setattr(show, "result", stop)
    done = pegai("methods --json")
    assert done.code == 130
    assert done.json["error"]["exit_code"] == 130


def test_a_failure_of_ours_shows_no_value_and_no_traceback(pegai, monkeypatch):
    def stop(*_args, **_options):
        raise TypeError("could not convert 'Mrs Secret' to float")

    monkeypatch.setattr(show, "result", stop)
    done = pegai("methods")
    assert done.code == 70
    assert "TypeError" in done.err
    assert "Secret" not in done.err
    assert "PEGAI_TRACEBACK" in done.err


@pytest.mark.parametrize(
    ("error", "said"),
    [(MemoryError(), "memory"), (OSError(28, "No space left on device", "x.csv"), "No space")],
)
def test_what_the_machine_refuses_is_no_traceback(pegai, monkeypatch, error, said):
    def stop(*_args, **_options):
        raise error

    monkeypatch.setattr(show, "result", stop)
    done = pegai("methods")
    assert done.code == 2
    assert said in done.err


def test_an_error_s_exit_code_is_the_process_s():
    done = subprocess.run(
        [sys.executable, "-m", "pegai.cli.main", "ledger", "verify", "absent.jsonl", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["code"] == "UsageError"
    assert done.stderr == ""


@pytest.mark.skipif(os.name == "nt", reason="a shell")
def test_closed_streams_are_no_traceback():
    line = f"{sys.executable} -m pegai.cli.main methods"
    for closed in (">&-", "2>&-"):
        done = subprocess.run(
            ["sh", "-c", f"{line} {closed}"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0
        assert done.stderr == ""


def test_the_next_step_is_quoted_for_a_shell(capsys):
    show.suggest("pegai", "sample", "my model", "-n", 5, quiet=False)
    assert capsys.readouterr().out == "next: pegai sample 'my model' -n 5\n"


def test_methods(pegai):
    listed = pegai("methods --json").json["methods"]
    assert {"ctgan", "independent"} <= {row["name"] for row in listed}
    assert "ctgan" in pegai("methods").out


# ---------------------------------------------------------------- show


def test_json_has_no_nan_and_only_ascii(capsys):
    show.result(
        {"a": [float("nan"), 1.5], "b": {"c": float("inf")}, "d": "Käthe"},
        as_json=True,
        text=lambda: None,
    )
    out = capsys.readouterr().out
    assert json.loads(out) == {"ok": True, "a": [None, 1.5], "b": {"c": None}, "d": "Käthe"}
    assert out.isascii()


def test_brackets_in_paths_are_no_markup(capsys):
    show.say("wrote run[/1]/[bold]x.csv")
    show.failure(PegaiError("[/red]: no such file", hint="[x]"), as_json=False)
    captured = capsys.readouterr()
    assert captured.out == "wrote run[/1]/[bold]x.csv\n"
    assert "[/red]: no such file" in captured.err


def test_long_lines_are_left_whole_in_a_pipe(capsys):
    show.say("word " * 60)
    assert capsys.readouterr().out.count("\n") == 1


def test_progress_without_a_terminal_is_a_line_a_stage(capsys):
    now = 0.0
    tell = show.lines(clock=lambda: now)
    tell("reading", 0.0)
    for share in (0.1, 0.2):
        now += 1.0
        tell("training", share)
    now += 20.0
    tell("training", 0.5)
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "  0%  reading",
        " 10%  training",
        " 50%  training, about 22 s left",
    ]
