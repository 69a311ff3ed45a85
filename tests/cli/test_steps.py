"""The single steps on a small clinic: the happy way, what is refused, and what is left behind."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import polars as pl
import pytest

import pegai as api


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def no_private_text(*texts: str) -> None:
    for text in texts:
        assert "Zyxname" not in text
        assert not re.search(r"(?<![.\d])70\d{6}(?!\d)", text)


def test_from_table_to_report(pegai, clinic):
    assert pegai("schema check patients.csv schema.json").code == 0
    done = pegai(
        *[
            "split",
            "patients.csv",
            "-s",
            "schema.json",
            "--train",
            "a.csv",
            "--holdout",
            "b.csv",
            "--seed",
            "1",
            "--json",
        ]
    )
    rows = done.json["rows"]
    assert rows["train"] == len(pl.read_csv(clinic / "a.csv"))
    train, held = (pl.read_csv(clinic / name)["mrn"] for name in ("a.csv", "b.csv"))
    assert not set(train) & set(held)
    done = pegai(
        *[
            "fit",
            "a.csv",
            "-s",
            "schema.json",
            "-o",
            "model",
            "--settings",
            "quick.toml",
            "--seed",
            "1",
            "--json",
        ]
    )
    assert done.json["guarantee"] is None
    done = pegai(
        *[
            "sample",
            "model",
            "-n",
            "60",
            "-o",
            "s.csv",
            "--given",
            "sex=F",
            "--given",
            "crp=",
            "--seed",
            "2",
            "--json",
        ]
    )
    assert done.json["rows"] == 60
    table = pl.read_csv(clinic / "s.csv", infer_schema=False)
    assert table["sex"].unique().to_list() == ["F"]
    assert table["crp"].null_count() == 60
    done = pegai(
        *[
            "evaluate",
            "--train",
            "a.csv",
            "--holdout",
            "b.csv",
            "--synthetic",
            "s.csv",
            "-s",
            "schema.json",
        ],
        "--out report --model model --json",
    )
    assert done.code in (0, 1)
    assert (done.code == 1) == (done.json["verdict"] == "DO NOT RELEASE")
    twin = json.loads((clinic / "report" / "report.json").read_text())
    assert twin["commands"][0].startswith("pegai evaluate --train a.csv")
    assert "progress" not in done.out


def test_types_and_digits_survive(pegai, clinic):
    pegai(
        *[
            "fit",
            "patients.csv",
            "-s",
            "schema.json",
            "-o",
            "model",
            "--settings",
            "quick.toml",
            "--seed",
            "1",
        ]
    )
    pegai("sample model -n 80 -o s.csv --seed 2")
    pegai("sample model -n 80 -o s.parquet --seed 2")
    text = pl.read_csv(clinic / "s.csv", infer_schema=False)
    assert text["crp"].drop_nulls().str.contains(r"^\d+\.\d$").all()
    assert text["visit"].drop_nulls().str.contains(r"^\d{4}-\d\d-\d\d$").all()
    assert set(text["smoker"].drop_nulls()) <= {"true", "false"}
    typed = pl.read_parquet(clinic / "s.parquet")
    assert typed.schema["admitted"] == pl.Datetime("us")
    assert typed["crp"].round(1).to_list() == text["crp"].cast(pl.Float64).to_list()
    assert "mrn" not in typed.columns


def test_the_same_seed_gives_the_same_bytes(pegai, clinic):
    for name in "ab":
        pegai(f"fit patients.csv -s schema.json -o {name} --settings quick.toml --seed 3")
        pegai(f"sample {name} -n 50 -o {name}.csv --seed 4")
    for name in ("model.json", "weights.safetensors"):
        assert (clinic / "a" / name).read_bytes() == (clinic / "b" / name).read_bytes()
    assert (clinic / "a.csv").read_bytes() == (clinic / "b.csv").read_bytes()
    pegai("sample a -n 50 -o c.csv --seed 5")
    assert (clinic / "a.csv").read_bytes() != (clinic / "c.csv").read_bytes()


@pytest.mark.parametrize("method", ["independent", "ctgan"])
def test_a_sample_is_what_sample_gives_and_a_larger_one_goes_on_from_it(
    pegai, clinic, method, monkeypatch
):
    from pegai.workflow import sampling

    settings = ["--settings", "quick.toml"] if method == "ctgan" else []
    pegai(f"fit patients.csv -s schema.json -o m -m {method} --seed 1", *settings)
    done = pegai("sample m -n 40 -o s.parquet --seed 2 --jobs 2")
    assert "sampling" in done.err
    whole = api.load(clinic / "m").sample(40, rng=2)
    assert pl.read_parquet(clinic / "s.parquet").equals(whole.frame)
    monkeypatch.setattr(sampling, "CHUNK_ROWS", 40)
    assert pegai("sample m -n 130 -o t.parquet --seed 2", "--json").json["rows"] == 130
    assert pl.read_parquet(clinic / "t.parquet").height == 130
    assert pl.read_parquet(clinic / "t.parquet").head(40).equals(whole.frame)


def as_parquet(clinic: Path) -> None:
    """The clinic as one Parquet file and as a folder of two, cells as they stand."""
    frame = pl.read_csv(clinic / "patients.csv", infer_schema=False)
    frame.write_parquet(clinic / "patients.parquet")
    (clinic / "parts").mkdir()
    frame[:100].write_parquet(clinic / "parts" / "a.parquet")
    frame[100:].write_parquet(clinic / "parts" / "b.parquet")


def test_a_stream_is_fitted_like_the_file(pegai, clinic, monkeypatch):
    from pegai.workflow import steps

    as_parquet(clinic)
    opened: list[str] = []
    read = steps.open_stream

    def noted(path, *rest, **more):
        opened.append(Path(path).name)
        return read(path, *rest, **more)

    monkeypatch.setattr(steps, "open_stream", noted)
    fit = "fit {} -s schema.json -o {} -m independent --seed 1"
    pegai(fit.format("patients.parquet", "whole"))
    pegai(fit.format("patients.parquet", "streamed"), "--stream")
    pegai(fit.format("parts", "folder"))
    monkeypatch.setattr(steps, "STREAMED_CELLS", 100)
    pegai(fit.format("patients.parquet", "large"))
    pegai(fit.format("patients.parquet", "asked"), "--no-stream")
    assert opened == ["patients.parquet", "parts", "patients.parquet"]
    models = [(clinic / m / "model.json").read_bytes() for m in ("whole", "streamed", "folder")]
    assert models[0] == models[1] == models[2]


def test_auto_says_what_it_chose_and_why(pegai, clinic):
    (clinic / "auto.toml").write_text("few_rows = 0\n[trees]\ntrees = 1\n")
    fit = "fit patients.csv -s schema.json -m auto --settings auto.toml --seed 1"
    told = pegai(f"{fit} -o m")
    assert told.code == 0
    assert "auto chose trees: without privacy, and at least 0 rows" in told.out
    found = json.loads(pegai(f"{fit} -o n --json").out)
    assert (found["method"], found["chosen"].split(":")[0]) == ("trees", "auto chose trees")
    plain = pegai("fit patients.csv -s schema.json -o p -m independent --seed 1 --json")
    assert json.loads(plain.out)["chosen"] is None


def test_a_stream_that_can_not_be(pegai, clinic):
    refused = pegai("fit patients.csv -s schema.json -o m --stream")
    assert refused.code == 2
    assert "only Parquet" in refused.err
    empty = clinic / "empty"
    empty.mkdir()
    refused = pegai("fit empty -s schema.json -o m")
    assert refused.code == 2
    assert ".parquet" in refused.err


def test_a_private_fit_of_a_stream_is_charged_like_another(pegai, clinic):
    as_parquet(clinic)
    line = "fit parts -s schema.json -o m -m mst --epsilon 1 --delta 1e-3"
    assert pegai(line, "--json").json["guarantee"]["epsilon"] <= 1
    pegai("fit patients.csv -s schema.json -o n -m mst --epsilon 1 --delta 1e-3 --dataset other")
    # The same patients under another name: the fingerprint of a stream is that of the file.
    lines = (clinic / "pegai-ledger.jsonl").read_text().splitlines()
    charges = [json.loads(text) for text in lines]
    found = [charge.get("fingerprint") or charge["body"]["fingerprint"] for charge in charges[1:]]
    assert len(found) == 2
    assert found[0] == found[1]


def test_losses_are_written_as_they_come(pegai, clinic, monkeypatch):
    from pegai.synth.independent import Independent

    before = Independent._fit

    def fit(self, table, session, rng, run):
        run.log({"step": 1, "loss": 0.5, "part": "b"})
        assert log.read_text().endswith('{"step": 1, "loss": 0.5, "part": "b"}\n')
        run.log({"step": 2, "loss": float("nan")})
        told.append((run.device, run.checkpoint))
        return before(self, table, session, rng, run)

    log, told = clinic / "losses.jsonl", []
    log.write_text('{"step": 0}\n')
    monkeypatch.setattr(Independent, "_fit", fit)
    line = "fit patients.csv -s schema.json -o m -m independent --log losses.jsonl"
    pegai(line, "--device cpu --checkpoint kept")
    lines = [json.loads(text) for text in log.read_text().splitlines()]
    assert lines == [
        {"step": 0},
        {"step": 1, "loss": 0.5, "part": "b"},
        {"step": 2, "loss": None},
    ]
    assert told == [("cpu", Path("kept"))]


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        ("--log absent/x.jsonl", 2, "absent"),
        ("--device tpu", 2, "tpu"),
        ("--checkpoint c --epsilon 1 --delta 1e-3", 3, "no checkpoint"),
    ],
)
def test_a_run_that_can_not_be(pegai, clinic, more, code, said):
    refused = pegai(f"fit patients.csv -s schema.json -o m -m independent {more}")
    assert refused.code == code
    assert said in refused.err
    assert not (clinic / "m").exists()


def test_private_fit_charges_and_says_so(pegai, clinic):
    line = "fit patients.csv -s schema.json -o m --settings quick.toml --epsilon 1 --delta 1e-3"
    done = pegai(line, "--json")
    assert done.json["guarantee"]["epsilon"] <= 1
    shown = pegai("ledger show --json").json
    assert shown["datasets"][0]["data set"] == "clinic"
    assert shown["datasets"][0]["epsilon spent"] == pytest.approx(done.json["guarantee"]["epsilon"])
    assert "epsilon 1 " in pegai(line.replace("-o m", "-o n")).out
    assert pegai("ledger show").out.count("fit ctgan") == 2


FIT = "fit patients.csv -s schema.json -o m --settings quick.toml"


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (f"{FIT} --epsilon 1", 2, "together"),
        (f"{FIT} --delta 1e-3", 2, "together"),
        (f"{FIT} --epsilon 1 --delta 1e-3 --seed 1", 3, "seed"),
        (f"{FIT} --epsilon 0 --delta 1e-3", 3, "epsilon"),
        (f"{FIT} --epsilon -1 --delta 1e-3", 3, "epsilon"),
        (f"{FIT} --epsilon nan --delta 1e-3", 3, "epsilon"),
        (f"{FIT} --epsilon inf --delta 1e-3", 3, "epsilon"),
        (f"{FIT} --epsilon 1 --delta 0", 3, "delta"),
        (f"{FIT} --epsilon 1 --delta 1", 3, "delta"),
        (f"{FIT} --epsilon 1 --delta nan", 3, "delta"),
        (f"{FIT} --epsilon 11 --delta 1e-3", 3, "left of 10"),
        (f"{FIT} --epsilon 1 --delta 1e-3 --ledger patients.csv/l.jsonl", 3, "l.jsonl"),
        (f"{FIT} --method magic", 2, "independent"),
        (f"{FIT} --settings absent.toml", 2, "no such file"),
        (f"{FIT} --settings patients.csv", 2, "TOML"),
        ("fit absent.csv -s schema.json -o m", 2, "no such file"),
        ("fit patients.csv -s absent.json -o m", 2, "no such file"),
        ("fit patients.csv -s patients.csv -o m", 2, "JSON"),
        ("fit patients.csv -s schema.json -o patients.csv", 2, "is a file"),
        ("fit patients.csv -s schema.json -o . --force", 2, "working"),
        ("fit . -s schema.json -o m", 2, "folder"),
        ("split patients.csv -s schema.json --train a.csv --holdout a.csv", 2, "one file"),
        ("split patients.csv -s schema.json --train patients.csv --holdout b.csv", 2, "read"),
        ("split patients.csv -s schema.json --train a.csv --holdout no/b.csv", 2, "not exist"),
        ("split patients.csv -s schema.json --train a.csv --holdout b.csv --share 2", 2, "0.3"),
        ("deidentify patients.csv -o patients.csv", 2, "read"),
        ("deidentify patients.csv -o x.csv --drop nope", 2, "nope"),
        ("deidentify patients.csv -o x.csv --action age=explode", 2, "topcode"),
        ("deidentify patients.csv -o x.csv --keep sex", 2, "REASON"),
        ("schema infer patients.csv -o schema.json", 2, "exists"),
        ("schema infer patients.csv -o patients.csv --force", 2, "read"),
        ("schema infer patients.csv -o no/s.json", 2, "can't be written"),
        ("schema check patients.csv absent.json", 2, "no such file"),
        ("sample absent -n 5 -o x.csv", 2, "no model folder"),
        ("sample patients.csv -n 5 -o x.csv", 2, "no model folder"),
        ("ledger show absent.jsonl", 2, "no ledger"),
        ("ledger budget clinic --epsilon -1 --delta 1e-3", 3, "epsilon"),
        ("run absent.toml", 2, "no such file"),
    ],
)
def test_refused_and_nothing_written(pegai, clinic, line, code, said):
    before = files(clinic)
    kept = (clinic / "patients.csv").read_bytes()
    done = pegai(line, "--json")
    assert done.code == code
    error = done.json["error"]
    assert said in f"{error['message']} {error['hint']}"
    assert files(clinic) == before
    assert (clinic / "patients.csv").read_bytes() == kept
    no_private_text(done.out, done.err)


@pytest.mark.parametrize(
    "setting",
    [
        "privacy = 3",
        "latent = 0",
        "hidden = 0.5",
        'max_steps = "many"',
        "max_steps = -1",
        "ema = 2.0",
        "held_back = 1.0",
        "learning_rate = nan",
        "max_step = 1",
        'condition = "age"',
        'condition = "nope"',
        "[privacy]\nsteps = 0",
        "[privacy]\nclipping_norm = inf",
    ],
)
def test_settings_that_can_t_be(pegai, clinic, setting):
    (clinic / "s.toml").write_text(setting + "\n")
    line = "fit patients.csv -s schema.json -o m --settings s.toml --epsilon 1 --delta 1e-3"
    done = pegai(line, "--json")
    assert done.code == 2
    assert done.json["error"]["code"] in ("UsageError", "SchemaError")
    assert not (clinic / "m").exists()
    assert not (clinic / "pegai-ledger.jsonl").exists()


def test_private_sources_are_refused_before_the_table_is_read(pegai, clinic):
    schema = json.loads((clinic / "schema.json").read_text().replace("expert", "private"))
    (clinic / "private.json").write_text(json.dumps(schema))
    line = "fit absent.csv -s private.json -o m --epsilon 1 --delta 1e-3"
    done = pegai(line, "--json")
    assert done.code == 3
    assert done.json["error"]["code"] == "PrivateDomainError"


def test_an_existing_model_needs_force(pegai, clinic):
    assert pegai(FIT, "--seed", "1").code == 0
    before = (clinic / "m" / "model.json").read_bytes()
    assert pegai(FIT, "--seed", "2").code == 2
    assert (clinic / "m" / "model.json").read_bytes() == before
    assert pegai(FIT, "--seed", "2", "--force").code == 0
    assert (clinic / "m" / "model.json").read_bytes() != before


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("sax=F", "sax"),
        ("sex=X", "F, M"),
        ("sex", "column=value"),
        ("age=old", "no integer"),
        ("age=500", "18 to 90"),
        ("age=63.5", "18 to 90"),
        ("age=nan", "18 to 90"),
        ("visit=2023-02-30", "no date"),
    ],
)
def test_given_typos(pegai, clinic, given, said):
    pegai("fit patients.csv -s schema.json -o m -m independent --seed 1")
    done = pegai(f"sample m -n 5 -o x.csv --given {given}", "--json")
    assert done.code == 2
    assert said in f"{done.json['error']['message']} {done.json['error']['hint']}"
    assert not (clinic / "x.csv").exists()


def test_a_truncated_model(pegai, clinic):
    pegai("fit patients.csv -s schema.json -o m -m independent --seed 1")
    for name in ("weights.safetensors", "model.json"):
        shutil.copytree(clinic / "m", clinic / "t", dirs_exist_ok=True)
        (clinic / "t" / name).write_bytes((clinic / "m" / name).read_bytes()[:300])
        done = pegai("sample t -n 5 -o x.csv --json")
        assert done.code == 2
        assert done.json["error"]["code"] == "ModelError"


def test_an_edited_ledger(pegai, clinic):
    line = "fit patients.csv -s schema.json -o m -m independent --epsilon 0.5 --delta 1e-3"
    assert pegai(line).code == 0
    assert pegai("ledger verify --json").json["whole"] is True
    path = clinic / "pegai-ledger.jsonl"
    raw = bytearray(path.read_bytes())
    raw[raw.index(b'"epsilon"') + 12] ^= 1
    path.write_bytes(raw)
    done = pegai("ledger verify --json")
    assert done.code == 1
    assert done.json["problems"]
    done = pegai(line.replace("-o m ", "-o n "), "--json")
    assert done.code == 3
    assert done.json["error"]["code"] == "LedgerError"
    assert not (clinic / "n").exists()
    assert path.read_bytes() == raw


def test_how_charges_add_up_is_chosen_with_the_budget_and_shown(pegai):
    line = "ledger budget clinic --epsilon 3 --delta 1e-3 --composition"
    assert pegai(f"{line} gaussian --json").json["composition"] == "gaussian"
    fit = "fit patients.csv -s schema.json -o m -m independent --epsilon 0.5 --delta 1e-3"
    for number in range(2):
        assert pegai(fit.replace("-o m ", f"-o m{number} ")).code == 0
    shown = pegai("ledger show --json").json["datasets"][0]
    assert shown["adds up by"] == "gaussian"
    assert 0.5 < shown["epsilon spent"] < 0.8
    assert "gaussian" in pegai("ledger show").out
    refused = pegai(f"{line} sums", "--json")
    assert (refused.code, refused.json["error"]["code"]) == (3, "PrivacyError")
    assert pegai(f"{line} roots").code == 2


def test_budget_set_and_kept(pegai):
    assert pegai("ledger budget clinic --epsilon 0.4 --delta 1e-2").code == 0
    line = "fit patients.csv -s schema.json -o m -m independent --epsilon 0.5 --delta 1e-3"
    done = pegai(line, "--json")
    assert done.code == 3
    assert done.json["error"]["code"] == "BudgetExceededError"
    assert pegai("ledger show --json").json["datasets"][0]["epsilon spent"] == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"a,a\n1,2\n", "same name"),
        (b"a,b\n1,\x002\n", "NUL"),
        (b"a,b\n1,2,3\n", "cells"),
    ],
)
def test_files_that_are_no_tables(pegai, clinic, content, said):
    (clinic / "bad.csv").write_bytes(content)
    done = pegai("schema infer bad.csv -o bad.json --json")
    assert done.code == 2
    assert said in done.json["error"]["message"]
    assert not (clinic / "bad.json").exists()


def test_one_row(pegai, clinic):
    lines = (clinic / "patients.csv").read_text().splitlines()[:2]
    (clinic / "one.csv").write_text("\n".join(lines) + "\n")
    assert pegai("fit one.csv -s schema.json -o m --settings quick.toml").code == 0
    assert pegai("sample m -n 3 -o x.csv").code == 0
    line = "split one.csv -s schema.json --train a.csv --holdout b.csv --json"
    done = pegai(line)
    assert done.code == 2
    assert "patients" in done.json["error"]["message"]
    assert not (clinic / "a.csv").exists()


def test_check_counts_and_never_shows(pegai, clinic):
    text = (clinic / "patients.csv").read_text().replace(",F,", ",Qqq,")
    (clinic / "odd.csv").write_text(text)
    done = pegai("schema check odd.csv schema.json")
    assert done.code == 1
    assert "sex" in done.out
    assert "Qqq" not in done.out
    no_private_text(done.out)


def test_infer_tells_whose_privacy_it_drafted(pegai, clinic):
    done = pegai("schema infer patients.csv -o draft.json --json")
    assert done.json["unit"] == "mrn"
    said = pegai("schema infer patients.csv -o draft.json --force").out
    assert "column 'mrn', up to 5 rows each" in said


def test_deidentify(pegai, clinic):
    line = "deidentify patients.csv -o clean.csv -s schema.json --schema-out clean.json"
    done = pegai(line, "--report", "actions.json", "--seed", "1")
    assert done.code == 0
    clean = (clinic / "clean.csv").read_text()
    no_private_text(clean, done.out, (clinic / "actions.json").read_text())
    assert pegai("schema check clean.csv clean.json").code == 0
    again = line.replace("clean.csv", "again.csv").replace("clean.json", "again.json")
    pegai(again, "--seed", "1")
    assert (clinic / "again.csv").read_text() == clean


def test_quiet_says_nothing(pegai, clinic):
    done = pegai("fit patients.csv -s schema.json -o m -m independent --quiet")
    assert (done.out, done.err) == ("", "")


def test_heuristic_noise_is_named_wherever_it_shows(pegai, clinic):
    label = "heuristic noise (0.2 on weights, 0.5 on latents): no formal guarantee"
    text = (clinic / "quick.toml").read_text(encoding="utf-8")
    noise = "\n[heuristic]\nweight_noise = 0.2\nlatent_noise = 0.5\n"
    (clinic / "noisy.toml").write_text(text + noise, encoding="utf-8")
    fit = "fit patients.csv -s schema.json --settings noisy.toml"
    shown = pegai(fit, "-o m --seed 1")
    assert shown.code == 0
    assert label in shown.out
    assert pegai(fit, "-o m2 --seed 1 --json").json["heuristic"] == label
    plain = pegai("fit patients.csv -s schema.json --settings quick.toml -o m3 --seed 1 --json")
    assert plain.json["heuristic"] is None
    refused = pegai(fit, "-o m4 --epsilon 1 --delta 1e-4 --json")
    assert refused.code == 2
    assert "no formal guarantee" in refused.json["error"]["message"]
    assert not (clinic / "pegai-ledger.jsonl").exists()
    assert "heuristic noise" in " ".join(pegai("methods").out.split())
