from __future__ import annotations

import json
import math
import re
import tomllib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from pegai.errors import UsageError
from pegai.evaluate.scores import Evaluation, Score
from pegai.report import (
    CONTROLLED_2,
    POLICIES,
    PUBLIC_1,
    PUBLIC_2,
    decide,
    find_policy,
    policy_toml,
    read_policy,
)
from pegai.report.gates_disclosure import detected, disclosure_gates
from pegai.report.policy import OPTIONAL
from pegai.report.policy_file import NEEDS, policy_from_dict

NAN = math.nan


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_a_printed_policy_reads_back_as_itself(name, tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text(policy_toml(POLICIES[name]), encoding="utf-8")
    assert find_policy(path) == find_policy(name) == POLICIES[name]


def test_json_is_read_too(tmp_path):
    path = tmp_path / "ours.json"
    raw = {"name": "ours-1", "title": "for us", "max_epsilon": 1, "max_membership_auc": 0.6,
           "max_tpr_at_1pct": 0.05, "max_tpr_at_01pct": 0.02, "max_tstr_drop": 0.1,
           "max_singling_out": 0.1, "required": ["singling_out"]}  # fmt: skip
    path.write_text(json.dumps(raw), encoding="utf-8")
    found = read_policy(path)
    assert (found.max_epsilon, found.required) == (1.0, ("singling_out",))
    assert found.max_linkability is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"max_epsilon": math.inf}, "max_epsilon"),
        ({"max_membership_auc": 0.4}, "max_membership_auc"),
        ({"max_copy_excess": 0.05}, "max_copy_excess"),  # a twentieth must never pass
        ({"name": "Public 2"}, "name"),
        ({"surprise": 1}, "surprise"),
        ({"fail_p": 0.2}, "fail_p"),
        ({"required": ["membership_p"]}, "required"),
        ({"required": ["linkability"], "max_linkability": None}, "max_linkability"),
        ({"max_epsilon": 10.0, "name": "public-2"}, "name of its own"),
    ],
)
def test_what_a_policy_may_not_say(change, said):
    raw = {**PUBLIC_2.__dict__, "name": "ours-1", **change}
    with pytest.raises(UsageError, match=said):
        policy_from_dict(raw)


def test_a_policy_that_is_not_there_names_those_that_are(tmp_path):
    with pytest.raises(UsageError, match="no such policy") as caught:
        find_policy("publik-2")
    assert "public-2" in caught.value.hint
    (tmp_path / "x.toml").write_text("max_epsilon = [", encoding="utf-8")
    with pytest.raises(UsageError, match="not TOML"):
        find_policy(tmp_path / "x.toml")


def test_the_second_policies_keep_every_limit_of_the_first():
    for one, two in pairwise((PUBLIC_1, PUBLIC_2)):
        for name, value in one.__dict__.items():
            if name not in ("name",) and value is not None:
                assert getattr(two, name) == value
    assert set(NEEDS) == set(OPTIONAL)


def one(name, value, low=NAN, high=NAN, better="lower") -> Evaluation:
    return Evaluation((Score(name, "privacy", name, value, low, high, better=better),))


@pytest.mark.parametrize("name", ["singling_out", "linkability", "attribute_inference"])
@pytest.mark.parametrize(
    ("value", "low", "high", "status"),
    [
        (0.0, -0.02, 0.04, "pass"),
        (-0.05, -0.3, 0.2, "caution"),  # sixty patients: too wide to exclude, no evidence either
        (0.12, -0.01, 0.3, "caution"),
        (0.12, 0.02, 0.3, "caution"),  # a leak, but perhaps a small one
        (0.3, 0.1, 0.5, "fail"),
        (0.3, NAN, NAN, "fail"),
        (NAN, NAN, NAN, "not assessed"),
    ],
)
def test_a_leak_fails_only_where_it_is_evident(name, value, low, high, status):
    gates = {g.name: g for g in disclosure_gates(one(name, value, low, high), PUBLIC_2)}
    assert gates[name].status == status
    assert bool(gates[name].control) == (status != "pass")


@pytest.mark.parametrize(
    ("value", "low", "high", "status"),
    [(0.03, 0.02, 0.05, "pass"), (0.08, 0.05, 0.12, "caution"), (0.2, 0.15, 0.25, "fail"),
     (0.2, NAN, NAN, "fail"), (0.05, NAN, NAN, "pass")],
)  # fmt: skip
def test_the_risk_of_being_identified(value, low, high, status):
    gates = {g.name: g for g in disclosure_gates(one("identity_risk", value, low, high), PUBLIC_2)}
    gate = gates["identity_risk"]
    assert gate.status == status
    assert "nothing about membership" in gate.reason


def test_a_risk_that_strangers_share_is_the_columns_fault():
    def status(baseline):
        score = Score("identity_risk", "privacy", "x", 0.2, 0.15, 0.25, baseline, "lower")
        gates = {g.name: g for g in disclosure_gates(Evaluation((score,)), PUBLIC_2)}
        return gates["identity_risk"].status

    assert [status(b) for b in (0.05, 0.2, NAN)] == ["fail", "caution", "fail"]


def instrument(leak, **controls):
    scores = [Score("minimum_detectable_leak", "privacy", "leak", leak)]
    scores += [Score(f"control_{k}", "privacy", k, v) for k, v in controls.items()]
    gates = {g.name: g for g in disclosure_gates(Evaluation(tuple(scores)), PUBLIC_2)}
    return gates["instrument_check"].status


def test_a_quiet_attack_counts_only_if_it_would_have_seen_a_leak():
    assert instrument(0.02, planted=1.0, jitter=1.0, overfit=1.0) == "pass"
    assert instrument(0.02, planted=1.0, jitter=0.0, overfit=1.0) == "not assessed"
    assert instrument(0.30, planted=1.0, jitter=1.0, overfit=1.0) == "not assessed"
    assert instrument(NAN, planted=1.0) == "not assessed"
    assert instrument(0.02) == "not assessed"


def test_controls_may_be_p_values_or_shares_of_tries():
    assert detected(Score("control_planted", "privacy", "p", 0.001, better="lower")) is True
    assert detected(Score("control_planted", "privacy", "p", 0.4, better="lower")) is False
    assert detected(Score("control_planted", "privacy", "seen", 1.0)) is True
    assert detected(Score("control_planted", "privacy", "seen", NAN)) is None
    assert detected(None) is None


@pytest.mark.parametrize("name", ["singling_out", "linkability", "attribute_inference",
                                  "identity_risk", "minimum_detectable_leak"])  # fmt: skip
def test_evidence_that_cannot_exist_asks_for_controls_unless_it_is_required(
    make_evaluation, make_guarantee, name
):
    evaluation = make_evaluation(0.02, nan=(name,))
    verdict = decide(evaluation, make_guarantee(1.0), lint=[])
    assert verdict.decision == "RELEASE WITH CONTROLS"
    assert verdict.with_status("not assessed")
    gate = {"minimum_detectable_leak": "instrument_check"}.get(name, name)
    strict = replace(PUBLIC_2, name="ours-1", required=(gate,))
    blocked = decide(evaluation, make_guarantee(1.0), policy=strict, lint=[])
    assert blocked.decision == "NOT ASSESSED"
    assert blocked.controls


def test_an_evident_leak_forbids_whatever_else_is_missing(make_evaluation, make_guarantee):
    base = make_evaluation(0.02, nan=("linkability",))
    scores = tuple(
        replace(s, value=0.4, low=0.3, high=0.5) if s.name == "attribute_inference" else s
        for s in base.scores
    )
    verdict = decide(replace(base, scores=scores), make_guarantee(1.0), lint=[])
    assert verdict.decision == "DO NOT RELEASE"
    assert "inference of secrets" in verdict.summary
    assert [c.split()[0] for c in verdict.controls] == ["Fit"]


def test_small_honest_tables_are_not_failed(make_evaluation, make_guarantee):
    """Sixty patients: every interval is wide, no attack finds anything."""
    names = ("singling_out", "linkability", "attribute_inference")
    wide = dict.fromkeys(names, (0.0, -0.15, 0.15))
    base = make_evaluation(0.02)
    scores = tuple(
        replace(s, value=wide[s.name][0], low=wide[s.name][1], high=wide[s.name][2])
        if s.name in wide
        else s
        for s in base.scores
    )
    small = replace(base, scores=scores, rows={"train": 140, "holdout": 60, "synthetic": 140})
    for policy in (PUBLIC_2, CONTROLLED_2):
        verdict = decide(small, make_guarantee(1.0), policy=policy, lint=[])
        assert verdict.decision == "RELEASE WITH CONTROLS"


def test_the_first_policies_have_no_new_checks(make_evaluation, make_guarantee):
    old = ("singling_out", "linkability", "attribute_inference", "identity_risk",
           "equivalent_sample", "coefficient_overlap", "rule_violations")  # fmt: skip
    evaluation = make_evaluation(0.02, without=old)
    assert decide(evaluation, make_guarantee(1.0), policy=PUBLIC_1, lint=[]).decision == "RELEASE"


PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "policy.md"


def test_the_page_on_policies_has_a_valid_example():
    (text,) = re.findall(r"```text\n(name = .*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    assert policy_from_dict(tomllib.loads(text)).required[-1] == "instrument_check"


@pytest.mark.parametrize("policy", [PUBLIC_2, CONTROLLED_2], ids=lambda p: p.name)
def test_the_page_on_policies_states_their_limits(policy):
    column = 0 if policy is PUBLIC_2 else 1
    rows = re.findall(
        r"^\| [^|]+ \| `(\w+)` \| ([^|]+) \| ([^|]+) \|$", PAGE.read_text(encoding="utf-8"), re.M
    )
    others = ("name", "title", "required", "nonmembers_per_fpr")
    assert {name for name, *_ in rows} == set(policy.__dict__) - set(others)
    for name, *cells in rows:
        (number,) = re.findall(r"[\d.]+", cells[column])
        scale = 100 if "%" in cells[column] else 1
        assert float(number) / scale == pytest.approx(getattr(policy, name)), name
