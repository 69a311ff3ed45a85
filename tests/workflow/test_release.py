"""The bundle that leaves: what is in it, what is not, and that any change is seen."""

from __future__ import annotations

import datetime as dt
import json
import os
import random
import re
import shutil
import socket
import stat
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import pegai
from pegai.data.files import file_sha256, write_table
from pegai.data.signing import new_key, read_private_key
from pegai.data.table import Table
from pegai.errors import GateFailedError, PrivacyError, UsageError
from pegai.evaluate.scores import Evaluation, Score
from pegai.privacy.guarantee import Plan
from pegai.privacy.ledger import Ledger
from pegai.report import Candidate, build_content, render_json
from pegai.report.domain import domain_rows
from pegai.schema import read_schema, write_schema
from pegai.workflow.bundle import verify_bundle
from pegai.workflow.release import ReleaseRequest, from_run, release

NAMED = "oncology-zyx"
"""The data set's name in the ledger."""

ROWS = 617
"""Training rows: a number that stands nowhere else."""


def scores(attack: float = 0.50) -> tuple[Score, ...]:
    """What an honest table gets: nothing found, some evidence missing."""
    return (
        Score("membership_auc", "privacy", "Attack", attack, attack - 0.031, attack + 0.031, 0.5),
        Score("membership_p", "privacy", "p", 0.4237),
        Score("exact_copies", "privacy", "Copies", 0.0, 0.0, 0.0137, 0.0),
        Score("tstr_auc", "utility", "TSTR", 0.8123, 0.79, 0.83, 0.8841),
    )


def judged(folder: Path) -> dict[str, str]:
    """The table of a run as its report names it."""
    return {"synthetic.csv": file_sha256(folder / "synthetic.csv")}


def write_report(path: Path, guarantee, *, attack: float = 0.50, tables) -> None:
    schema = pegai.datasets.heart_disease_schema()
    rows = {"train": ROWS, "holdout": 303, "synthetic": 120}
    candidate = Candidate("a", "A", "independent", Evaluation(scores(attack), rows=rows),
                          guarantee, released=True, settings={})  # fmt: skip
    content = build_content(
        [candidate], title="Hearts", dataset=f"heart: {ROWS} rows", created="2026-11-24T00:00:00Z",
        lint=[], domain=domain_rows(schema), tables=tables,
        machine={"system": "Secret 1.0"}, commands=["pegai fit secret-folder"],
    )  # fmt: skip
    path.write_text(render_json(content), encoding="utf-8")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a run leaves it: table, schema, model with a guarantee, report."""
    folder = tmp_path_factory.mktemp("run")
    hearts = pegai.datasets.load_heart_disease()
    named = hearts.schema.pegai.model_copy(update={"dataset": NAMED})
    table = Table(hearts.frame, hearts.schema.model_copy(update={"pegai": named}))
    model = pegai.Independent().fit(
        table, privacy=pegai.Privacy(1.0, 1e-4, ledger=folder / "ledger.jsonl")
    )
    model.save(folder / "model")
    sampled = model.sample(120, rng=1)
    write_table(sampled, folder / "synthetic.csv")
    write_schema(sampled.schema, folder / "synthetic.schema.json")
    write_report(folder / "report.json", model.guarantee, tables=judged(folder))
    new_key(folder / "house.key")
    return folder


@pytest.fixture(scope="module")
def signed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "bundle"
    request = from_run(
        source, out, key=source / "house.key", with_model=True, zipped=True, recipient="a clinic",
        intended_use="teaching", approved_by="an officer",
    )  # fmt: skip
    done = release(request)
    assert done.approved and done.signed_by.startswith("SHA256:")
    return out


@pytest.fixture
def bundle(signed: Path, tmp_path: Path) -> Path:
    """A copy that may be spoilt."""
    return Path(shutil.copytree(signed, tmp_path / "bundle"))


def failed(bundle: Path, **options) -> list[str]:
    return [check.name for check in verify_bundle(bundle, **options) if check.ok is False]


def test_a_bundle_is_whole_and_trusted(signed, source):
    key = source / "house.key.pub"
    checks = verify_bundle(signed, key=key, ledger=source / "ledger.jsonl")
    assert all(check.ok for check in checks)
    assert {c.name for c in checks} == {
        "manifest", "status", "files", "signature", "signer", "guarantee", "ledger",
    }  # fmt: skip
    assert sorted(p.name for p in signed.iterdir()) == [
        "GUARANTEE.json", "MANIFEST.json", "MANIFEST.sig", "PUBLIC_KEY.pem", "README.md",
        "croissant.json", "model", "release.html", "release.json", "synthetic.csv",
        "synthetic.schema.json",
    ]  # fmt: skip
    assert failed(signed.with_name("bundle.zip"), key=key) == []


def test_without_a_key_the_signer_is_unknown(signed):
    (signer,) = (c for c in verify_bundle(signed) if c.name == "signer")
    assert signer.ok is None
    assert "intact, but signed by an unknown key" in signer.detail


def test_nothing_computed_from_patients_leaves(signed):
    """No attack, no model's score, no row count, no verdict, no machine, no command."""
    for path in signed.rglob("*"):
        if not path.is_file() or path.suffix in (".safetensors", ".csv", ".pem", ".sig"):
            continue
        text = path.read_text(encoding="utf-8")
        for secret in (str(ROWS), "303", "0.8123", "0.4237", "0.0137", "RELEASE WITH CONTROLS",
                       "Secret 1.0", "secret-folder"):  # fmt: skip
            assert not re.search(rf"(?<![\w.+/]){re.escape(secret)}(?![\w+/=])", text), (
                path.name,
                secret,
            )


def test_the_verdict_leaves_on_request_only(source, tmp_path):
    release(from_run(source, tmp_path / "b", include_verdict=True))
    twin = json.loads((tmp_path / "b" / "release.json").read_text(encoding="utf-8"))
    assert twin["verdict"] == {"decision": "RELEASE WITH CONTROLS"}
    assert "0.8123" not in json.dumps(twin)


def test_the_description_holds_the_hash_and_every_field(signed):
    described = json.loads((signed / "croissant.json").read_text(encoding="utf-8"))
    (file,) = described["distribution"]
    assert file["sha256"] == file_sha256(signed / "synthetic.csv")
    (records,) = described["recordSet"]
    names = [f["name"] for f in records["field"]]
    assert names == list(pegai.datasets.heart_disease_schema().only_modelled().names)
    assert described["conformsTo"] == "http://mlcommons.org/croissant/1.0"


def test_the_released_schema_and_table_fit_together(signed):
    from pegai.data.conform import load_table

    schema = read_schema(signed / "synthetic.schema.json")
    assert schema.pegai.dataset is None and schema.unit is None
    assert len(load_table(signed / "synthetic.csv", schema)) == 120


@pytest.mark.parametrize(
    "name", ["synthetic.csv", "synthetic.schema.json", "GUARANTEE.json", "release.html",
             "croissant.json", "README.md", "model/weights.safetensors", "PUBLIC_KEY.pem"],
)  # fmt: skip
def test_a_changed_byte_is_seen(bundle, name):
    path = bundle / name
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    assert "files" in failed(bundle)


def test_missing_and_extra_files_are_seen(bundle):
    (bundle / "README.md").unlink()
    (bundle / "model" / "MANIFEST.json").write_text("{}", encoding="utf-8")
    details = [c.detail for c in verify_bundle(bundle) if c.ok is False]
    assert details == ["missing: README.md", "not in the manifest: model/MANIFEST.json"]


@pytest.mark.skipif(os.name != "posix", reason="needs symbolic links")
def test_a_link_is_no_file(bundle, tmp_path):
    outside = tmp_path / "outside.csv"
    shutil.move(bundle / "synthetic.csv", outside)
    (bundle / "synthetic.csv").symlink_to(outside)
    assert "files" in failed(bundle)


def test_a_forged_manifest_is_seen(bundle, source):
    path = bundle / "synthetic.csv"
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    manifest = json.loads((bundle / "MANIFEST.json").read_text(encoding="utf-8"))
    manifest["files"]["synthetic.csv"]["sha256"] = file_sha256(path)
    (bundle / "MANIFEST.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert failed(bundle) == ["signature"]
    # Who strips the signature is unknown, and is caught by a trusted key.
    manifest["signed_by"] = None
    (bundle / "MANIFEST.json").write_text(json.dumps(manifest), encoding="utf-8")
    (bundle / "MANIFEST.sig").unlink()
    assert failed(bundle) == []
    assert failed(bundle, key=source / "house.key.pub") == ["signature"]


def test_another_house_is_not_trusted(signed, tmp_path):
    other, _ = new_key(tmp_path / "other.key")
    assert failed(signed, key=other) == ["signer"]


@pytest.mark.parametrize(
    "change",
    [
        {"epsilon": 0.1},
        {"events": []},
        {"epsilon": 25.0},
        {"epsilon": 10**400},
        {"delta": 0.5},
        {"delta": 0.0},
        {"events": [{"kind": "gaussian", "label": "x", "sigma": 1e-300, "count": 1}]},
        {"events": 3},
    ],
)
def test_a_guarantee_that_is_none_or_costs_more_than_it_says_is_seen(source, tmp_path, change):
    """Resealed without a signature, so that the hashes are right."""
    out = tmp_path / "b"
    release(from_run(source, out))
    for name in ("GUARANTEE.json", "release.json"):
        raw = json.loads((out / name).read_text(encoding="utf-8"))
        raw["guarantee"] |= change
        (out / name).write_text(json.dumps(raw), encoding="utf-8")
    manifest = json.loads((out / "MANIFEST.json").read_text(encoding="utf-8"))
    for name, entry in manifest["files"].items():
        entry["sha256"] = file_sha256(out / name)
    (out / "MANIFEST.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert failed(out, ledger=source / "ledger.jsonl") == ["guarantee"]


def test_a_refused_release_is_written_but_neither_signed_nor_accepted(source, tmp_path):
    guarantee = pegai.load(source / "model").guarantee
    write_report(tmp_path / "bad.json", guarantee, attack=0.9, tables=judged(source))
    request = replace(from_run(source, tmp_path / "b", key=source / "house.key"),
                      report=tmp_path / "bad.json")  # fmt: skip
    done = release(request)
    assert not done.approved and not done.signed_by
    assert done.verdict.decision == "DO NOT RELEASE"
    assert (tmp_path / "b" / "synthetic.csv").exists()
    assert not (tmp_path / "b" / "MANIFEST.sig").exists()
    assert failed(tmp_path / "b") == ["status"]
    assert "NOT APPROVED" in (tmp_path / "b" / "README.md").read_text(encoding="utf-8")


def test_without_a_guarantee_the_bundle_says_so(source, tmp_path):
    write_report(tmp_path / "plain.json", None, tables=judged(source))
    request = ReleaseRequest(source / "synthetic.csv", source / "synthetic.schema.json",
                             tmp_path / "plain.json", tmp_path / "b")  # fmt: skip
    done = release(request)
    assert done.approved
    raw = json.loads((tmp_path / "b" / "GUARANTEE.json").read_text(encoding="utf-8"))
    assert raw["formal"] is False and raw["guarantee"] is None
    for name in ("README.md", "release.html"):
        assert "No formal guarantee" in (tmp_path / "b" / name).read_text(encoding="utf-8")
    with pytest.raises(UsageError, match="needs --model"):
        release(replace(request, with_model=True))
    with pytest.raises(UsageError, match="guarantees differ"):
        release(replace(request, model=source / "model"))


def test_a_report_on_another_table_is_refused(source, tmp_path):
    guarantee = pegai.load(source / "model").guarantee
    write_report(tmp_path / "r.json", guarantee, tables={"synthetic.csv": "0" * 64})
    request = replace(from_run(source, tmp_path / "b"), report=tmp_path / "r.json")
    with pytest.raises(UsageError, match="is not the table"):
        release(request)
    assert not (tmp_path / "b").exists()
    write_report(tmp_path / "r.json", guarantee, tables=judged(source))
    assert release(request).approved


@pytest.mark.parametrize("gone", ["empty", "null", "missing"])
def test_a_report_on_no_table_is_refused(source, tmp_path, gone):
    """Else any table, even the real one, would be signed by the report on another."""
    raw = json.loads((source / "report.json").read_text(encoding="utf-8"))
    if gone == "missing":
        del raw["tables"]
    else:
        raw["tables"] = {} if gone == "empty" else None
    (tmp_path / "r.json").write_text(json.dumps(raw), encoding="utf-8")
    request = replace(from_run(source, tmp_path / "b", key=source / "house.key"),
                      report=tmp_path / "r.json")  # fmt: skip
    with pytest.raises(UsageError, match="which file it judged") as caught:
        release(request)
    assert "evaluate" in caught.value.hint
    assert not (tmp_path / "b").exists()


def test_the_source_is_not_named(source, signed, tmp_path):
    """The data set's name is by default the stem of the private file, and so is in the title."""
    name = NAMED
    assert name in (source / "model" / "model.json").read_text(encoding="utf-8")
    for path in signed.rglob("*"):
        if path.is_file() and path.suffix != ".safetensors":
            text = path.read_text(encoding="utf-8")
            assert name not in text and "Hearts" not in text, path.name
    kept, copied = pegai.load(source / "model"), pegai.load(signed / "model")
    assert copied.schema.pegai.dataset is None
    assert copied.guarantee == kept.guarantee
    assert copied.sample(30, rng=5).frame.equals(kept.sample(30, rng=5).frame)
    twin = json.loads((signed / "release.json").read_text(encoding="utf-8"))
    assert twin["title"] == "Synthetic patients"
    release(from_run(source, tmp_path / "b", title="Hearts of 2027"))
    twin = json.loads((tmp_path / "b" / "release.json").read_text(encoding="utf-8"))
    assert twin["title"] == "Hearts of 2027"


def test_a_model_with_something_else_in_it_does_not_leave(source, tmp_path):
    model = Path(shutil.copytree(source / "model", tmp_path / "model"))
    (model / "notes.txt").write_text("mine", encoding="utf-8")
    request = replace(from_run(source, tmp_path / "b", with_model=True), model=model)
    with pytest.raises(GateFailedError, match=r"notes\.txt"):
        release(request)
    assert not (tmp_path / "b").exists()


def test_a_model_without_a_guarantee_does_not_leave(source, tmp_path):
    table = pegai.datasets.load_heart_disease()
    pegai.Independent().fit(table, rng=0).save(tmp_path / "model")
    write_report(tmp_path / "plain.json", None, tables=judged(source))
    request = replace(from_run(source, tmp_path / "b", with_model=True),
                      model=tmp_path / "model", report=tmp_path / "plain.json")  # fmt: skip
    with pytest.raises(PrivacyError, match="must not leave"):
        release(request)


def test_what_it_is_made_of_is_never_replaced(source, tmp_path):
    with pytest.raises(UsageError):
        release(from_run(source, source, overwrite=True))
    assert (source / "report.json").exists()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="not empty"):
        release(from_run(source, tmp_path / "b"))


def test_an_archive_is_not_replaced_unasked(source, tmp_path):
    archive = tmp_path / "b.zip"
    archive.write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="exists already"):
        release(from_run(source, tmp_path / "b", zipped=True))
    assert archive.read_text(encoding="utf-8") == "mine"
    assert not (tmp_path / "b").exists()
    done = release(from_run(source, tmp_path / "b", zipped=True, overwrite=True))
    assert done.archive == archive and zipfile.is_zipfile(archive)
    archive.unlink()
    archive.mkdir()
    with pytest.raises(UsageError, match="no plain file"):
        release(from_run(source, tmp_path / "b", zipped=True, overwrite=True))


def test_an_archive_is_written_over_or_into_nothing_it_is_made_of(source, tmp_path):
    key = tmp_path / "b.zip"
    shutil.copy2(source / "house.key", key)
    before = key.read_bytes()
    with pytest.raises(UsageError, match="would be replaced"):
        release(from_run(source, tmp_path / "b", key=key, zipped=True, overwrite=True))
    assert key.read_bytes() == before
    with pytest.raises(UsageError, match="model's folder"):
        release(from_run(source, source / "model" / "b", zipped=True))
    assert not (source / "model" / "b").exists()


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_a_private_key_is_its_users_alone(tmp_path, monkeypatch):
    path = tmp_path / "k"
    new_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    read_private_key(path)
    path.chmod(0o644)
    with pytest.raises(UsageError, match="open to other users"):
        read_private_key(path)
    with pytest.raises(UsageError, match="never overwritten"):
        new_key(path)
    monkeypatch.setenv("PEGAI_KEY_PASSPHRASE", "open sesame")
    new_key(tmp_path / "locked")
    assert b"ENCRYPTED" in (tmp_path / "locked").read_bytes()
    read_private_key(tmp_path / "locked")
    monkeypatch.delenv("PEGAI_KEY_PASSPHRASE")
    with pytest.raises(UsageError, match="passphrase"):
        read_private_key(tmp_path / "locked")


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "b\\..\\evil"])
def test_an_archive_can_not_write_elsewhere(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as packed:
        packed.writestr("bundle/MANIFEST.json", "{}")
        packed.writestr(name, "x")
    with pytest.raises(UsageError, match="no archive of a release bundle"):
        verify_bundle(tmp_path / "x.zip")
    assert not (tmp_path / "evil").exists()


def test_a_spoilt_archive_fails_its_check_and_never_crashes(signed, tmp_path):
    whole = signed.with_name("bundle.zip").read_bytes()
    chance = random.Random(7)
    names: list[str] = []
    for _ in range(30):
        content = bytearray(whole)
        # Half of them in the directory at the end, which says where, how and how much.
        low = 0 if chance.random() < 0.5 else len(content) - 1_200
        for _ in range(chance.randint(1, 8)):
            content[chance.randrange(low, len(content))] = chance.randrange(256)
        (tmp_path / "x.zip").write_bytes(content)
        try:
            names += failed(tmp_path / "x.zip")
        except UsageError:
            names.append("refused")
    assert "archive" in names


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_damaged_streams_fail_the_check(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", method) as packed:
        packed.writestr("bundle/MANIFEST.json", os.urandom(100).hex() * 20)
    content = bytearray((tmp_path / "x.zip").read_bytes())
    start = 30 + len("bundle/MANIFEST.json")
    content[start : start + 40] = b"\xff" * 40
    (tmp_path / "x.zip").write_bytes(content)
    assert failed(tmp_path / "x.zip") == ["archive"]


def test_an_unknown_compression_fails_the_check(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as packed:
        packed.writestr("bundle/MANIFEST.json", "{}")
    content = bytearray((tmp_path / "x.zip").read_bytes())
    for at in (content.index(b"PK\3\4") + 8, content.index(b"PK\1\2") + 10):
        content[at] = 77
    (tmp_path / "x.zip").write_bytes(content)
    assert failed(tmp_path / "x.zip") == ["archive"]


def test_a_name_that_is_no_utf8_fails_the_check(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as packed:
        packed.writestr("bundle/MANIFEST.ü", "{}")
    content = (tmp_path / "x.zip").read_bytes().replace("ü".encode(), b"\xff\xfe")
    (tmp_path / "x.zip").write_bytes(content)
    assert failed(tmp_path / "x.zip") == ["archive"]


def test_an_empty_folder_is_seen(bundle):
    (bundle / "model" / "more" / "deep").mkdir(parents=True)
    (found,) = (c for c in verify_bundle(bundle) if c.ok is False)
    assert found.name == "files" and "model/more, model/more/deep" in found.detail


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize("name", ["pipe", "model/pipe", "MANIFEST.sig", "MANIFEST.json"])
def test_a_pipe_is_seen_and_not_waited_for(bundle, name):
    (bundle / name).unlink(missing_ok=True)
    os.mkfifo(bundle / name)
    assert failed(bundle) == ["manifest" if name == "MANIFEST.json" else "files"]


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs sockets of files")
def test_a_socket_is_seen(bundle, monkeypatch):
    monkeypatch.chdir(bundle)  # its path may have 100 characters only
    with socket.socket(socket.AF_UNIX) as found:
        found.bind("s")
        assert failed(bundle) == ["files"]


def test_what_is_no_bundle(tmp_path):
    (tmp_path / "x").write_text("x", encoding="utf-8")
    with pytest.raises(UsageError, match="no release bundle"):
        verify_bundle(tmp_path / "x")
    assert failed(tmp_path) == ["manifest"]
    (tmp_path / "MANIFEST.json").write_text("[" * 100_000, encoding="utf-8")
    assert failed(tmp_path) == ["manifest"]


def test_equal_folders_give_equal_archives(signed, tmp_path):
    from pegai.workflow.bundle import write_zip

    write_zip(signed, tmp_path / "a.zip")
    write_zip(signed, tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def ledger_check(bundle: Path, ledger: Path):
    (check,) = (c for c in verify_bundle(bundle, ledger=ledger) if c.name == "ledger")
    return check


def charged_at(source: Path, ledger: Path, *moments: dt.timedelta, **change) -> Path:
    """A ledger with a charge as of the source's fit, so long after its guarantee was made."""
    guarantee = pegai.load(source / "model").guarantee
    assert guarantee is not None
    made = dt.datetime.fromisoformat(guarantee.created)
    plan = Plan(guarantee.events, change.get("epsilon", guarantee.epsilon), guarantee.delta)
    for after in moments:
        when = (made + after).isoformat(timespec="seconds")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("pegai.privacy.ledger.dt", SimpleNamespace(
                datetime=SimpleNamespace(now=lambda _zone, w=when: dt.datetime.fromisoformat(w)),
                UTC=dt.UTC,
            ))  # fmt: skip
            Ledger(ledger).charge(dataset="a", fingerprint="", unit=change.get("unit", "patient"),
                                  plan=plan, label="fit")  # fmt: skip
    return ledger


def test_the_charge_is_of_this_fit_and_of_no_equal_one(signed, source, tmp_path):
    hour = dt.timedelta(hours=1)
    later = charged_at(source, tmp_path / "later.jsonl", hour)
    assert ledger_check(signed, later).ok is False  # paid after this fit: it was another's
    own = charged_at(source, tmp_path / "own.jsonl", -hour, hour)
    assert ledger_check(signed, own).ok is True
    assert ledger_check(signed, own).detail.endswith("line 2")  # after the ledger's first line
    equal = charged_at(source, tmp_path / "equal.jsonl", -2 * hour, -hour)
    found = ledger_check(signed, equal)
    assert found.ok is None
    assert found.detail.endswith("lines 2, 3")


@pytest.mark.parametrize("change", [{"unit": "visit"}, {"epsilon": 3.0}])
def test_a_charge_of_something_else_is_none(signed, source, tmp_path, change):
    ledger = charged_at(source, tmp_path / "l.jsonl", dt.timedelta(hours=-1), **change)
    assert ledger_check(signed, ledger).ok is False
