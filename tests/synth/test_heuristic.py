"""Noise by a chosen scale: does what it says, is never private, is labelled wherever it shows."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import pegai
from pegai.errors import UsageError
from pegai.report import Candidate, build_content
from pegai.synth.catalog import load, make
from pegai.synth.heuristic import NO_GUARANTEE, HeuristicNoise

QUICK = {"max_steps": 20, "hidden": 16}


@pytest.fixture(scope="module")
def table():
    return pegai.datasets.load_heart_disease("cleveland")


@pytest.fixture(scope="module")
def fits(table):
    """The same fit without noise, with noise on weights, and with noise on latents."""
    noises = ({}, {"weight_noise": 0.5}, {"latent_noise": 3.0})
    return [make("ctgan", {**QUICK, "heuristic": n}).fit(table, rng=3) for n in noises]


def test_weights_get_noise_of_the_chosen_part_of_their_spread():
    weights = {"a": np.random.default_rng(0).normal(0, 4, (300, 300)).astype(np.float32)}
    noisy = HeuristicNoise(weight_noise=0.25).on_weights(weights, np.random.default_rng(1))["a"]
    added = noisy - weights["a"]
    assert noisy.dtype == np.float32
    # 90,000 draws: six standard errors are 1.4 %; false alarms below 1e-8, and the seed is fixed.
    assert added.std() == pytest.approx(1.0, rel=0.014)
    assert abs(added.mean()) < 6 / 300


def test_no_noise_changes_no_byte(table, fits):
    plain = make("ctgan", QUICK).fit(table, rng=3)
    for name, array in plain.weights.items():
        assert array.tobytes() == fits[0].weights[name].tobytes()
    assert plain.sample(50, rng=1).frame.equals(fits[0].sample(50, rng=1).frame)
    assert (plain.heuristic, fits[0].heuristic) == ("", "")


def test_noise_on_weights_is_added_once_at_the_end_of_the_fit(table, fits):
    plain, noisy, _ = fits
    changed = {
        name: float((noisy.weights[name] - array).std() / array.std())
        for name, array in plain.weights.items()
        if array.size > 200
    }
    assert len(changed) >= 2
    assert all(0.35 < ratio < 0.65 for ratio in changed.values()), changed
    again = make("ctgan", {**QUICK, "heuristic": {"weight_noise": 0.5}}).fit(table, rng=3)
    assert all((again.weights[k] == v).all() for k, v in noisy.weights.items())
    assert not plain.sample(200, rng=1).frame.equals(noisy.sample(200, rng=1).frame)


def test_noise_on_latents_widens_them_and_leaves_the_weights_alone(fits):
    import torch

    plain, _, wide = fits
    assert all((wide.weights[k] == v).all() for k, v in plain.weights.items())
    rng = torch.Generator().manual_seed(0)
    latent = torch.randn(400, plain.generator.latent, generator=rng)
    classes = torch.nn.functional.one_hot(torch.zeros(400).long(), len(plain.class_shares))
    with torch.no_grad():
        due = plain.generator(latent * math.sqrt(10.0), classes.float())
        assert torch.allclose(wide.generator(latent, classes.float()), due, atol=1e-5)
    assert not plain.sample(200, rng=1).frame.equals(wide.sample(200, rng=1).frame)
    given = wide.sample(20, given={"sex": "1"}, rng=1)
    assert set(given.texts("sex")) == {"1"}


def test_a_private_fit_refuses_it_before_anything_is_charged(table, tmp_path):
    for noise in ({"weight_noise": 0.1}, {"latent_noise": 0.1}):
        method = make("ctgan", {**QUICK, "heuristic": noise})
        privacy = pegai.Privacy(1.0, 1e-4, ledger=tmp_path / "ledger.jsonl")
        with pytest.raises(UsageError, match=NO_GUARANTEE):
            method.fit(table, privacy=privacy)
        with pytest.raises(UsageError, match=NO_GUARANTEE):
            method.plan(table.schema, privacy)
    assert not (tmp_path / "ledger.jsonl").exists()


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
@pytest.mark.parametrize("name", ["weight_noise", "latent_noise"])
def test_scales_out_of_range_are_refused(name, value):
    with pytest.raises(UsageError, match=name):
        make("ctgan", {"heuristic": {name: value}})


def test_the_label_says_what_and_that_it_is_no_guarantee():
    assert HeuristicNoise().label == ""
    both = HeuristicNoise(0.1, 0.25).label
    assert both == "heuristic noise (0.1 on weights, 0.25 on latents): no formal guarantee"


def test_the_model_folder_carries_the_label(fits, tmp_path):
    for i, model in enumerate(fits):
        model.save(tmp_path / f"m{i}")
        raw = json.loads((tmp_path / f"m{i}" / "model.json").read_text(encoding="utf-8"))
        assert raw["guarantee"] is None
        assert raw.get("heuristic", "") == model.heuristic == load(tmp_path / f"m{i}").heuristic
        assert (NO_GUARANTEE in raw.get("heuristic", "")) == (i > 0)
        first, second = (m.sample(30, rng=1).frame for m in (model, load(tmp_path / f"m{i}")))
        assert first.equals(second)


def test_models_of_before_load_without_it(fits):
    model = fits[0].to_file()
    del model.settings["heuristic"]
    assert type(fits[0]).from_file(model).heuristic == ""


def test_the_report_names_it_in_verdict_page_and_json():
    from pegai.evaluate.scores import Evaluation
    from pegai.report.html import render_html

    label = HeuristicNoise(weight_noise=0.1).label
    candidates = [
        Candidate("a", "A", "ctgan", Evaluation(()), released=True, heuristic=label),
        Candidate("b", "B", "ctgan", Evaluation(())),
    ]
    content = build_content(candidates, title="t", dataset="d", created="2026-01-01")
    with_noise, without = content.verdicts
    assert label in with_noise.gates[0].value
    assert "promises nothing" in with_noise.gates[0].reason
    assert without.gates[0].value == "none"
    # It buys nothing: the same result as without.
    assert with_noise.gates[0].status == without.gates[0].status == "caution"
    page = render_html(content)
    assert page.count(label[1:]) >= 2  # what is promised, and the check
    assert "heuristic noise only" in page
    assert "heuristic noise,<br>no formal guarantee" in page or "heuristic noise,\nno" in page
    assert label[1:] not in render_html(
        build_content(candidates[1:], title="t", dataset="d", created="2026-01-01")
    )
    raw = content.to_dict()["candidates"]
    assert [c["heuristic"] for c in raw] == [label, None]


def test_the_methods_say_so():
    from pegai.synth.catalog import CATALOG

    assert "no formal guarantee without, nor with heuristic noise" in (
        CATALOG["ctgan"].synthesizer.promise
    )
