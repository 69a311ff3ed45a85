"""The choice of a method: from the schema alone, with its reason, and saved as what it is."""

from __future__ import annotations

from pathlib import Path

import pytest

import pegai
from pegai.errors import ModelError, UsageError
from pegai.privacy.guarantee import Privacy
from pegai.synth.auto import REASON, Auto, AutoConfig, FittedAuto
from pegai.synth.catalog import load, make
from pegai.synth.files import ModelFile
from pegai.synth.running import Run

QUICK = {"trees": {"trees": 1}, "tvae": {"max_steps": 60}, "aim": {"steps": 10, "components": 2}}


@pytest.mark.parametrize(
    ("rows", "limit", "chosen"),
    [
        (999, 100, "tvae"),
        (1000, 100, "trees"),
        (None, 100, "aim"),
        (None, 14, "aim"),
        (None, 13, "mst"),
    ],
)
def test_the_rules(rows: int | None, limit: int, chosen: str) -> None:
    schema = pegai.datasets.load_heart_disease("cleveland").schema
    assert len(schema.modelled) == 14
    choice = Auto(AutoConfig(aim_columns=limit)).choose(schema, rows=rows)
    assert choice.synthesizer.name == chosen
    assert choice.sentence.startswith(f"auto chose {chosen}: ")


@pytest.mark.parametrize("private", [False, True])
def test_the_model_is_the_chosen_methods_own(private: bool, tmp_path: Path) -> None:
    table = pegai.datasets.load_heart_disease("cleveland")
    told: list[str] = []
    budget = Privacy(1.0, 1e-3, ledger=tmp_path / "ledger.jsonl") if private else None
    model = make("auto", QUICK).fit(
        table,
        privacy=budget,
        rng=None if private else 0,
        run=Run(lambda stage, share: told.append(stage)),
    )
    assert model.method == ("aim" if private else "tvae")
    said = [stage for stage in told if stage.startswith("auto chose")]
    assert len(said) == 1
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.method == model.method
    assert again.settings[REASON] == said[0]
    assert again.sample(20, rng=1).frame.equals(model.sample(20, rng=1).frame)


def test_the_same_as_the_chosen_method_with_the_same_seed() -> None:
    table = pegai.datasets.load_heart_disease("cleveland")
    drawn = [
        make(name, settings).fit(table, rng=3).sample(50, rng=4).frame
        for name, settings in (
            ("auto", QUICK),
            ("tvae", QUICK["tvae"]),
            ("auto", {**QUICK, "few_rows": 300}),
            ("trees", QUICK["trees"]),
        )
    ]
    assert drawn[0].equals(drawn[1])
    assert drawn[2].equals(drawn[3])
    assert not drawn[0].equals(drawn[2])


def test_what_is_refused() -> None:
    with pytest.raises(UsageError, match="aim_columns"):
        AutoConfig(aim_columns=-1)
    schema = pegai.datasets.load_heart_disease("cleveland").schema
    with pytest.raises(ModelError, match="saves what it chose"):
        FittedAuto.from_file(ModelFile("auto", schema, {}, {}, {}, None))
