"""One run at a time in a folder, and nothing left of a killed one."""

from __future__ import annotations

import os
import stat

import pytest

from pegai.errors import DataError, UsageError
from pegai.workflow.workplace import FILES, publish, workplace


def fill(folder, text="new"):
    ready = folder / "ready"
    (ready / "model").mkdir(parents=True)
    (ready / "model" / "model.json").write_text(text)
    for name in FILES:
        (ready / name).write_text(text)
    return ready


def test_private_and_gone_afterwards(tmp_path):
    with workplace(tmp_path / "a" / "out") as work:
        assert work.parent == tmp_path / "a" / "out"
        if os.name != "nt":
            assert stat.S_IMODE(work.stat().st_mode) == 0o700
        (work / "model").mkdir()
    # Nothing came of it, so not even the folders stay.
    assert list(tmp_path.iterdir()) == []


def test_gone_after_an_error_too(tmp_path):
    with pytest.raises(KeyboardInterrupt), workplace(tmp_path / "out") as work:
        (work / "secret.csv").write_text("x")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_there_stays_with_its_content(tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with workplace(tmp_path):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_what_a_killed_run_left_is_removed(tmp_path):
    (tmp_path / ".work-dead" / "model-0-0").mkdir(parents=True)
    (tmp_path / ".work-dead" / "model-0-0" / "weights").write_text("private")
    (tmp_path / ".synthetic.csv.12ab.part").write_text("half")
    (tmp_path / ".model.12ab.part").mkdir()
    (tmp_path / ".others.part").write_text("not ours")
    (tmp_path / ".pegai-lock").write_text("")
    with workplace(tmp_path) as work:
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
            [".others.part", ".pegai-lock", work.name]
        )


def test_two_runs_at_once_are_refused_and_the_first_is_left_alone(tmp_path):
    with workplace(tmp_path) as work:
        (work / "x").write_text("x")
        with pytest.raises(UsageError, match="another run"), workplace(tmp_path):
            pass
        assert (work / "x").exists()
    with workplace(tmp_path):
        pass


def test_publish_replaces_all_of_an_old_run(tmp_path):
    for text in ("old", "new"):
        with workplace(tmp_path) as work:
            files = publish(fill(work, text), tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {*FILES, "model"}
    for path in files.values():
        found = path / "model.json" if path.is_dir() else path
        assert found.read_text() == "new"


@pytest.mark.parametrize(
    ("occupy", "said"),
    [
        (lambda out: (out / "model").mkdir() or (out / "model" / "x").write_text("x"), "no pegai"),
        (lambda out: (out / "model").write_text("x"), "no pegai"),
        (lambda out: (out / "synthetic.csv").mkdir(), "is a folder"),
    ],
)
def test_occupied_names_are_refused_at_the_start(tmp_path, occupy, said):
    occupy(tmp_path)
    with pytest.raises(UsageError, match=said), workplace(tmp_path):
        raise AssertionError("must not be entered")


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(UsageError, match="is a file"), workplace(path):
            pass


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(DataError, match="can't be written"), workplace(tmp_path / "out"):
            pass
    finally:
        tmp_path.chmod(0o700)
