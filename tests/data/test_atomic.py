"""Writes are whole or absent, whatever stops them."""

import errno
import os

import pytest

from pegai.data import atomic_folder, atomic_path, atomic_write_bytes, atomic_write_text
from pegai.errors import DataError, UsageError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


class TestFiles:
    def test_writes_and_replaces(self, tmp_path):
        path = tmp_path / "a.json"
        atomic_write_text(path, "é\n")
        atomic_write_bytes(path, b"new")
        assert path.read_bytes() == b"new"
        assert names(tmp_path) == ["a.json"]

    @pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt(), SystemExit(1)])
    def test_an_error_leaves_the_old_file(self, tmp_path, error):
        path = tmp_path / "a.json"
        path.write_text("old")
        with pytest.raises(type(error)), atomic_path(path) as temporary:
            temporary.write_text("half")
            raise error
        assert path.read_text() == "old"
        assert names(tmp_path) == ["a.json"]

    def test_a_full_disk_leaves_the_old_file(self, tmp_path, monkeypatch):
        path = tmp_path / "a.json"
        path.write_text("old")

        def full(_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(DataError, match="No space left"):
            atomic_write_text(path, "new")
        assert path.read_text() == "old"
        assert names(tmp_path) == ["a.json"]

    def test_refuses_folders_devices_and_missing_parents(self, tmp_path):
        with pytest.raises(DataError, match="is a folder"):
            atomic_write_text(tmp_path, "x")
        with pytest.raises(DataError, match="does not exist"):
            atomic_write_text(tmp_path / "no" / "a.txt", "x")
        with pytest.raises(DataError, match="not a plain file"):
            atomic_write_text(os.devnull, "x")

    @pytest.mark.skipif(os.name == "nt", reason="modes and links are POSIX")
    def test_keeps_mode_and_links(self, tmp_path):
        real, link = tmp_path / "real.txt", tmp_path / "link.txt"
        real.write_text("old")
        real.chmod(0o640)
        link.symlink_to(real)
        atomic_write_text(link, "new")
        assert link.is_symlink()
        assert real.read_text() == "new"
        assert real.stat().st_mode & 0o777 == 0o640

    def test_long_names(self, tmp_path):
        path = tmp_path / ("x" * 251 + ".csv")
        atomic_write_text(path, "x")
        assert path.read_text() == "x"


class TestFolders:
    def test_makes_and_replaces_a_model(self, tmp_path):
        path = tmp_path / "deep" / "model"
        for text in ("1", "2"):
            with atomic_folder(path) as folder:
                (folder / "sub").mkdir()
                (folder / "sub" / text).write_text(text)
                (folder / "model.json").write_text(text)
                assert (path / "model.json").exists() == (text == "2")
        assert sorted(p.name for p in path.rglob("*")) == ["2", "model.json", "sub"]
        assert names(path.parent) == ["model"]

    def test_replaces_an_empty_folder(self, tmp_path):
        (tmp_path / "m").mkdir()
        with atomic_folder(tmp_path / "m") as folder:
            (folder / "x").touch()
        assert names(tmp_path / "m") == ["x"]

    @pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt()])
    def test_an_error_leaves_the_old_folder(self, tmp_path, error):
        path = tmp_path / "m"
        path.mkdir()
        (path / "model.json").write_text("old")
        with pytest.raises(type(error)), atomic_folder(path) as folder:
            (folder / "model.json").write_text("half")
            raise error
        assert (path / "model.json").read_text() == "old"
        assert names(tmp_path) == ["m"]

    def test_refuses_what_is_not_a_model(self, tmp_path):
        path = tmp_path / "m"
        path.mkdir()
        (path / "thesis.doc").touch()
        with pytest.raises(UsageError, match=r"not empty and holds no model\.json"):
            atomic_folder(path).__enter__()
        with atomic_folder(path, overwrite=True) as folder:
            (folder / "x").touch()
        assert names(path) == ["x"]

    def test_refuses_what_appeared_meanwhile(self, tmp_path):
        path = tmp_path / "m"
        with pytest.raises(UsageError, match="not empty"), atomic_folder(path):
            path.mkdir()
            (path / "thesis.doc").touch()
        assert names(tmp_path) == ["m"]
        assert names(path) == ["thesis.doc"]

    def test_refuses_the_working_folder_and_its_parents(self, tmp_path, monkeypatch):
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "model.json").touch()
        monkeypatch.chdir(tmp_path / "a")
        for path in (".", "..", "/"):
            with pytest.raises(UsageError, match="working or home"):
                atomic_folder(path, overwrite=True).__enter__()

    def test_refuses_a_file(self, tmp_path):
        (tmp_path / "m").touch()
        with pytest.raises(UsageError, match="is a file"):
            atomic_folder(tmp_path / "m", overwrite=True).__enter__()

    def test_a_failed_swap_brings_the_old_one_back(self, tmp_path, monkeypatch):
        from pathlib import Path

        path = tmp_path / "m"
        path.mkdir()
        (path / "model.json").write_text("old")
        rename = Path.rename

        def refuse(self, target):
            if self.name.endswith(".part") and not self.name.endswith(".old.part"):
                raise OSError(errno.EACCES, "Permission denied")
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", refuse)
        with pytest.raises(DataError, match="Permission denied"), atomic_folder(path) as folder:
            (folder / "model.json").write_text("new")
        assert (path / "model.json").read_text() == "old"
        assert names(tmp_path) == ["m"]
