"""`pegai privacy plan` and `explain`: right figures, no data, no ledger, clear refusals."""

from __future__ import annotations

import math
import re

import pytest

import pegai as api
from pegai.privacy import attack_bound, gaussian_noise_multiplier
from pegai.synth.catalog import CATALOG, PRIVATE


def untouched(folder):
    return not list(folder.glob("*.jsonl"))


def test_a_plan_without_a_method_gives_the_noise_of_counts_and_tables(pegai, clinic):
    done = pegai("privacy plan --epsilon 1 --delta 1e-5 --tables 4 --patients 500 --json")
    assert done.code == 0
    (plan,) = done.json["plans"]
    multiplier = gaussian_noise_multiplier(1.0, 1e-5)
    count, table, mean = plan["expected"]
    assert count["deviation_patients"] == multiplier
    assert table["deviation_patients"] == pytest.approx(2 * multiplier)
    assert mean["deviation_patients"] == pytest.approx(multiplier / 2)
    assert count["share_range_95"] == pytest.approx(1.959964 * multiplier / 500)
    assert plan["events"][0]["noise_multiplier"] == multiplier
    assert plan["epsilon_spent"] <= plan["epsilon"] == 1.0
    assert untouched(clinic)


def test_the_text_says_what_noise_error_and_attack_are_to_be_expected(pegai):
    done = pegai("privacy plan --epsilon 1 --delta 1e-5 --patients 1000")
    assert done.code == 0
    flat = re.sub(r"\s+", " ", done.out)
    for part in (
        "3.731",
        "+-7.312",
        "+-0.73 points",
        "+-2.3 points",
        "at most 2 % of the patients",
    ):
        assert part in flat, part
    assert "no data were looked at" in flat
    assert "next: pegai privacy explain 1 --delta 1e-05" in done.out


@pytest.mark.parametrize("method", PRIVATE)
def test_the_plan_of_a_method_is_what_its_fit_would_charge(pegai, clinic, method):
    # The table is not there: a plan needs none.
    (clinic / "patients.csv").unlink()
    done = pegai(f"privacy plan --epsilon 2 --delta 1e-4 -m {method} -s schema.json --json")
    assert done.code == 0, done.err
    (plan,) = done.json["plans"]
    schema = api.read_schema(clinic / "schema.json")
    made = CATALOG[method].synthesizer().plan(schema, api.Privacy(2.0, 1e-4))
    assert plan["events"] == [event.to_dict() for event in made.events]
    assert plan["epsilon_spent"] == made.epsilon <= 2.0
    assert plan["expected"]
    assert untouched(clinic)
    shown = pegai(f"privacy plan --epsilon 2 --delta 1e-4 -m {method} -s schema.json -n 90")
    assert shown.code == 0
    assert "share of 90" in re.sub(r"\s+", " ", shown.out)


def test_the_settings_of_a_method_count(pegai, clinic):
    line = "privacy plan --epsilon 2 --delta 1e-4 -m ctgan -s schema.json --json"
    done = pegai(line, "--settings quick.toml")
    assert done.json["plans"][0]["events"][1]["count"] == 5
    assert pegai(line).json["plans"][0]["events"][1]["count"] == 200


def test_a_sweep_has_a_line_each_and_less_noise_with_more_epsilon(pegai):
    done = pegai("privacy plan --epsilons 0.1,1,3,10 --delta 1e-5 --json")
    plans = done.json["plans"]
    assert [p["epsilon"] for p in plans] == [0.1, 1, 3, 10]
    noise = [p["expected"][0]["deviation_patients"] for p in plans]
    assert noise == sorted(noise, reverse=True)
    shown = pegai("privacy plan --epsilons 0.1,1,3,10 --delta 1e-5 --patients 200")
    for first in ("0.1 ", "1 ", "3 ", "10 "):
        assert sum(line.startswith(first) for line in shown.out.splitlines()) == 1


def test_explain_says_it_in_words_and_figures(pegai, clinic):
    done = pegai("privacy explain 1.0 --delta 1e-5 --patients 10000 --json")
    assert done.code == 0
    found = done.json
    assert found["odds_factor"] == pytest.approx(math.e)
    (attack,) = [a for a in found["attacks"] if a["false_alarms"] == 0.01]
    assert attack["any_mechanism"] == attack_bound(1.0, 1e-5, 0.01)
    assert found["expected_failures"] == pytest.approx(0.1)
    assert [e["epsilon"] for e in found["scale"]] == [0.1, 0.5, 1, 3, 10]
    shown = pegai("privacy explain 1.0 --delta 1e-5 --patients 10000")
    for sentence in found["in_words"]:
        assert sentence in shown.out
    assert "1 <" in shown.out
    assert untouched(clinic)


def test_an_epsilon_beside_the_scale_is_put_into_it(pegai):
    found = pegai("privacy explain 2 --delta 1e-5 --json").json
    assert [e["epsilon"] for e in found["scale"]] == [0.1, 0.5, 1, 2, 3, 10]


@pytest.mark.parametrize("command", ["plan --epsilon {}", "plan --epsilons 1,{}", "explain -- {}"])
@pytest.mark.parametrize("epsilon", ["0", "-1", "nan", "inf", "21"])
def test_epsilons_out_of_range_are_refused(pegai, command, epsilon):
    verb, _, rest = command.partition(" ")
    done = pegai(f"privacy {verb} --delta 1e-5 --json {rest.format(epsilon)}")
    assert done.code == 3
    assert "epsilon" in done.json["error"]["message"]


@pytest.mark.parametrize("command", ["plan --epsilon 1", "explain 1"])
@pytest.mark.parametrize("delta", ["0", "1", "-1e-5", "nan", "0.5"])
def test_deltas_out_of_range_are_refused(pegai, command, delta):
    done = pegai(f"privacy {command} --delta {delta} --json")
    assert done.code == 3
    assert "delta" in done.json["error"]["message"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("plan --delta 1e-5", "--epsilon"),
        ("plan --delta 1e-5 --epsilon 1 --epsilons 1,2", "--epsilon"),
        ("plan --delta 1e-5 --epsilons 1,x", "no list of numbers"),
        ("plan --epsilon 1", "--delta"),
        ("plan --epsilon x --delta 1e-5", "--epsilon"),
        ("plan --epsilon 1 --delta 1e-5 -m ctgan", "needs --schema"),
        ("plan --epsilon 1 --delta 1e-5 -s schema.json", "--method"),
        ("plan --epsilon 1 --delta 1e-5 -m nope -s schema.json", "no method"),
        ("plan --epsilon 1 --delta 1e-5 -m ctgan -s schema.json --tables 3", "--tables"),
        ("plan --epsilon 1 --delta 1e-5 -m ctgan -s none.json", "none.json"),
        ("plan --epsilon 1 --delta 1e-5 --tables 0", "--tables"),
        ("plan --epsilon 1 --delta 1e-5 --patients 0", "--patients"),
        ("explain", "EPSILON"),
        ("explain 1", "--delta"),
        ("explain one --delta 1e-5", "EPSILON"),
    ],
)
def test_wrong_usage_is_told_with_exit_code_2(pegai, line, said):
    done = pegai(f"privacy {line}")
    assert done.code == 2
    assert said.lower() in done.err.lower()


def test_a_schema_that_a_private_fit_refuses_is_refused_here(pegai, clinic):
    text = (clinic / "schema.json").read_text(encoding="utf-8")
    (clinic / "private.json").write_text(text.replace('"expert"', '"private"'), encoding="utf-8")
    done = pegai("privacy plan --epsilon 1 --delta 1e-5 -m independent -s private.json")
    assert done.code == 3
    assert "source: private" in done.err


@pytest.mark.parametrize("verb", ["plan", "explain"])
def test_help_teaches_with_an_example(pegai, verb):
    done = pegai(f"privacy {verb} --help")
    assert done.code == 0
    assert f"pegai privacy {verb}" in re.sub(r"\s+", " ", done.out.replace("│", " "))
    assert "Example" in done.out
