"""`pegai federation`, `pegai site` and `pegai federate rehearse`, without a running engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pegai.data.datasets import load_heart_disease
from pegai.data.files import write_table
from pegai.schema import read_schema, write_schema

pytest.importorskip("nvflare.collab")

SITES = ("hungarian", "va")


@pytest.fixture
def study(clinic: Path, pegai) -> Path:
    """A coordinator and two sites that have joined, with their data and a draft."""
    columns = ["age", "sex", "cp", "num"]
    for site in SITES:
        write_table(load_heart_disease(site).select(columns), clinic / f"{site}.csv")
    write_schema(load_heart_disease("va").select(columns).schema, clinic / "heart.schema.json")
    (clinic / "plan.toml").write_text(
        'study = "heart"\nschema = "heart.schema.json"\nmethod = "mst"\nepsilon = 1.0\n'
        'delta = 1e-3\nnoise = "secagg"\nsites = [{ name = "hungarian" }, { name = "va" }]\n'
    )
    named = "--site hungarian --site va"
    assert pegai(f"federation init f --study heart --host localhost --port 1 {named}").code == 0
    for site in SITES:
        assert pegai(f"federation kit f {site}").code == 0
        assert pegai(f"site join {site}.kit.zip s-{site}").code == 0
    return clinic


KEYS = " ".join(f"--key s-{site}/{site}.site-key.json" for site in SITES)


@pytest.fixture
def digest(study: Path, pegai) -> str:
    done = pegai(f"federation freeze f plan.toml {KEYS} -o plan.json --json")
    assert done.code == 0
    return done.json["digest"]


def test_the_coordinator_s_key_is_told_to_both(study, pegai):
    known = pegai("site join va.kit.zip again --json").json["coordinator"]
    assert known.startswith("SHA256:")
    done = pegai("federation init g --study g --host h --site a --site b --json")
    assert done.json["key"] != known


def test_a_draft_without_all_keys(study, pegai):
    done = pegai("federation freeze f plan.toml --key s-va/va.site-key.json")
    assert done.code == 2
    assert "no key of hungarian" in done.err


def test_checks_of_a_site(study, digest, pegai):
    done = pegai("site check s-va --plan plan.json --data va.csv --schema heart.schema.json --json")
    assert done.code == 1  # no server
    found = {c["what"]: c["passed"] for c in done.json["checks"]}
    assert found == {
        "this site's certificate": True,
        "the server at localhost:1": False,
        "the plan": True,
        "this site in the plan": True,
        "the schema": True,
        "the data": True,
    }


def test_a_schema_that_differs_is_said_column_by_column(study, digest, pegai):
    schema = read_schema(study / "heart.schema.json").to_dict()
    schema["fields"][0]["constraints"]["maximum"] = 99
    schema["fields"][1]["name"] = "gender"
    (study / "own.json").write_text(json.dumps(schema))
    done = pegai("site check s-va --plan plan.json --schema own.json")
    assert "described otherwise: age" in done.out
    assert "only in the plan: sex" in done.out
    assert "only here: gender" in done.out


def test_a_yes_is_asked_for(study, digest, pegai):
    done = pegai("site approve s-va plan.json --data va.csv")
    assert done.code == 2
    assert "nobody said yes" in done.err
    assert "the number of patients" in done.out
    assert "epsilon 1" in done.out
    assert not list((study / "s-va" / "approved").glob("*"))


def test_an_approval_and_its_end(study, digest, pegai):
    done = pegai("site approve s-va plan.json --data va.csv --yes --json --runs 2")
    assert done.code == 0
    told = done.json
    assert (told["digest"], told["runs"], told["rows"]) == (digest, 2, 200)
    assert told["columns"] == ["age", "sex", "cp", "num"]
    assert next(q["what"] for q in told["questions"]) == "the number of patients"
    assert all(0 < q["epsilon_alone"] < told["epsilon"] for q in told["questions"])
    assert pegai(f"site revoke s-va {digest[:8]}").code == 0
    assert pegai(f"site revoke s-va {digest[:8]}").code == 3
    assert pegai("site revoke s-va zz").code == 2
    assert pegai("site ledger s-va").code == 2  # nothing was charged


def test_data_that_do_not_fit_are_not_approved(study, digest, pegai):
    (study / "bad.csv").write_text("age,sex\n60,1\n")
    done = pegai("site approve s-va plan.json --data bad.csv --yes")
    assert done.code == 2
    assert not list((study / "s-va" / "approved").glob("*"))


def test_a_plan_for_others(study, digest, pegai):
    text = (study / "s-va" / "member.json").read_text()
    (study / "s-va" / "member.json").write_text(text.replace('"va"', '"lugano"'))
    done = pegai("site approve s-va plan.json --data va.csv --yes")
    assert done.code == 3
    assert "'lugano' is not one of" in done.err


def test_status_and_deploy_without_a_server(study, digest, pegai):
    found = pegai("federation status f --json").json
    assert found["server_answers"] is False
    assert [p["state"] for p in found["plans"]] == ["new"]
    done = pegai(f"federation deploy f {digest[:6]}")
    assert done.code == 3
    assert "nothing answers at localhost:1" in done.err
    assert pegai(f"federation resume f {digest[:6]}").code == 2
    assert pegai("federation deploy f zz").code == 2


def test_a_rehearsal_reads_no_row(study, pegai):
    (study / "sparse.csv").write_text("age,sex,ward\nthis is no row")
    done = pegai("federate rehearse plan.toml --patients 60 --site va=sparse.csv --json --quiet")
    assert done.code == 1
    assert done.json["disagreements"] == {
        "va": ["no column 'cp'", "no column 'num'", "column 'ward' will be left out"]
    }
    assert len(done.json["questions"]) >= 3
    assert not list(study.glob("*.jsonl"))
    assert pegai("federate rehearse plan.toml --patients 60 --site va=va.csv").code == 0


def test_sites_rehearse_the_plan_that_they_were_sent(study, digest, pegai):
    assert pegai("federate plan plan.json --json").json["digest"] == digest
    assert pegai("federate rehearse plan.json --patients 60 --site va=va.csv -q").code == 0
