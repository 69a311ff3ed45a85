"""`pegai privacy`: what a budget means, before any data are looked at and anything is spent."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pegai.cli import show
from pegai.cli.show import JsonOption, QuietOption

if TYPE_CHECKING:
    from pegai.privacy.explain import Explanation
    from pegai.privacy.guarantee import Privacy
    from pegai.privacy.outlook import Outlook

app = typer.Typer(
    no_args_is_help=True,
    help="What an epsilon means, in noise and in words. Looks at no data and spends nothing.",
)

DeltaOption = Annotated[
    float,
    typer.Option(
        help="Chance left out of the promise, above 0; at most 1 / (10 x patients) is usual."
    ),
]
PatientsOption = Annotated[
    int | None,
    typer.Option(
        "--patients",
        "-n",
        min=1,
        help="How many there are, if that is no secret: errors are then given in shares.",
    ),
]


@app.command()
def plan(
    delta: DeltaOption,
    epsilon: Annotated[
        float | None, typer.Option(help="The promise: 1 is strong, 10 says little.")
    ] = None,
    epsilons: Annotated[
        str | None, typer.Option(help="Several, one line each: 0.1,1,3,10.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option("--method", "-m", help="Plan this method's fit; needs --schema."),
    ] = None,
    schema: Annotated[
        Path | None, typer.Option("--schema", "-s", help="The schema file, with --method.")
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(help="TOML file with settings of the method.")
    ] = None,
    tables: Annotated[
        int | None,
        typer.Option(min=1, help="Without a method: how many tables share the noise; else 10."),
    ] = None,
    patients: PatientsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show how much noise an epsilon means, and the error to expect from it.

    No table is read and no ledger is charged. Without --method: for a count, a table and several
    tables released together. With --method and --schema: every noisy look that this method would
    take at a table of this schema, and the noise in what it counts. Noise is the same for 300
    patients as for 300,000, so relative errors fall with their number: --patients gives them in
    shares.

    Examples: pegai privacy plan --epsilon 1 --delta 1e-5 --patients 1000

    pegai privacy plan --epsilons 0.1,1,3,10 --delta 1e-5 --method independent -s schema.json
    """
    from pegai.privacy.guarantee import Privacy

    make = _maker(method, schema, settings, tables)
    wanted = [Privacy(one, delta) for one in _epsilons(epsilon, epsilons)]
    with show.progress(quiet=quiet) as bar:
        found: list[Outlook] = []
        for i, one in enumerate(wanted):
            bar("planning", i / len(wanted))
            found.append(make(one))

    def text() -> None:
        if epsilon is None:
            _tell_many(found, patients)
        else:
            _tell_one(found[0], patients, method)
        show.suggest(
            *("pegai", "privacy", "explain", f"{wanted[0].epsilon:g}", "--delta", f"{delta:g}"),
            quiet=quiet,
        )

    content = {
        "method": method,
        "patients": patients,
        "plans": [outlook.to_dict(patients) for outlook in found],
    }
    show.result(content, as_json=as_json, text=text)


@app.command()
def explain(
    epsilon: Annotated[float, typer.Argument(help="The promise: 1 is strong, 10 says little.")],
    delta: DeltaOption,
    unit: Annotated[str, typer.Option(help="Who is protected, as a word.")] = "patient",
    patients: PatientsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say in words what an (epsilon, delta) promises, and what it does not.

    How far anyone's belief about one patient can move, how many patients an attacker can recognise
    at most, what delta allows, what comes on top. Bounds hold against every attacker, whatever they
    know besides, and are rounded up.

    Example: pegai privacy explain 1.0 --delta 1e-5 --patients 10000
    """
    from pegai.privacy.explain import SCALE
    from pegai.privacy.explain import explain as explained

    found = explained(epsilon, delta, unit=unit, patients=patients)
    scale = [explained(e, delta, unit=unit) for e in sorted({*SCALE, epsilon})]

    def text() -> None:
        show.say(f"Epsilon {epsilon:g} with delta {delta:g}, for each {unit}:", style="bold")
        for sentence in found.in_words():
            show.say(f"- {sentence}")
        show.say("")
        _tell_scale(scale, epsilon)

    content = found.to_dict() | {
        "scale": [{k: v for k, v in e.to_dict().items() if k != "in_words"} for e in scale]
    }
    show.result(content, as_json=as_json, text=text)


def _epsilons(epsilon: float | None, epsilons: str | None) -> list[float]:
    from pegai.errors import UsageError

    if (epsilon is None) == (epsilons is None):
        raise UsageError(
            "say either --epsilon or --epsilons", hint="--epsilon 1, or --epsilons 0.1,1,3,10"
        )
    if epsilon is not None:
        return [epsilon]
    try:
        return [float(part) for part in (epsilons or "").split(",")]
    except ValueError:
        raise UsageError(
            f"--epsilons {epsilons!r} is no list of numbers", hint="as in --epsilons 0.1,1,3,10"
        ) from None


def _maker(
    method: str | None, schema: Path | None, settings: Path | None, tables: int | None
) -> Callable[[Privacy], Outlook]:
    """What plans one budget; refuses options that do not go together first."""
    from pegai.errors import UsageError
    from pegai.privacy.outlook import Outlook

    if method is None:
        if schema is not None or settings is not None:
            raise UsageError("--schema and --settings go with --method", hint="pegai methods")
        return lambda privacy: Outlook.of_tables(privacy, tables or 10)
    if schema is None:
        raise UsageError(
            f"--method {method} needs --schema",
            hint="pegai schema infer drafts one; a plan needs no table",
        )
    if tables is not None:
        raise UsageError("--tables goes without --method: a method knows its own tables")
    from pegai.workflow.outlook import method_outlook

    return lambda privacy: method_outlook(method, schema, privacy, settings=settings)


def _tell_one(outlook: Outlook, patients: int | None, method: str | None) -> None:
    from pegai.privacy.explain import percent
    from pegai.privacy.outlook import chance_range_95, event_in_words

    what = "" if method is None else f", method {method}"
    show.say(
        f"Epsilon {outlook.asked:g} with delta {outlook.plan.delta:g}{what}; no data were looked "
        "at and nothing was spent.",
        style="bold",
    )
    show.grid(("noisy look", "how"), [(e.label, event_in_words(e)) for e in outlook.plan.events])
    show.say("")
    if outlook.expected:
        heads = ["noise in", "deviation", "95 % within", "+-1 point from"]
        rows: list[list[object]] = [
            [e.what, e.deviation, f"+-{e.range_95:.4g}", f"{e.patients_for_one_point:,}"]
            for e in outlook.expected
        ]
        if patients is not None:
            heads.append(f"share of {patients:,}")
            for row, e in zip(rows, outlook.expected, strict=True):
                row.append(_share(e.share_range_95(patients)))
        show.grid(heads, rows)
        show.say(
            "Deviations are in patients, whatever their number. From so many patients on, 95 % of "
            "the shares are within a percentage point of those without noise."
        )
    if patients is not None:
        show.say(
            f"For comparison: who came, {patients:,} patients by chance, moves a share of 50 % by "
            f"{_share(chance_range_95(patients))} (95 %) without any noise."
        )
    show.say(
        "An attacker who may wrongly accuse 1 in 100 outsiders recognises at most "
        f"{percent(outlook.attack_tpr)} of the patients (guessing finds 1 %)."
    )


def _tell_many(found: list[Outlook], patients: int | None) -> None:
    from pegai.privacy.explain import percent

    looks = [event.label for event in found[0].plan.events]
    heads = [f"noise multiplier, {x}" if len(looks) > 1 else "noise multiplier" for x in looks]
    unit = "+-" if patients is None else f"share of {patients:,}"
    heads += [f"{expected.what}: {unit}" for expected in found[0].expected]
    rows: list[list[object]] = []
    for outlook in found:
        row: list[object] = [f"{outlook.asked:g}"]
        row += [_multiplier(e.to_dict()) for e in outlook.plan.events]
        for e in outlook.expected:
            row.append(
                f"{e.range_95:.4g}" if patients is None else _share(e.share_range_95(patients))
            )
        rows.append([*row, percent(outlook.attack_tpr)])
    show.grid(["epsilon", *heads, "attack finds at most"], rows)
    show.say(
        f"delta {found[0].plan.delta:g}. Ranges hold with a chance of 95 %"
        + (", in patients" if patients is None else "")
        + "; attack: of the patients, at 1 % false alarms."
    )


def _tell_scale(scale: list[Explanation], epsilon: float) -> None:
    from pegai.privacy.explain import percent, up
    from pegai.privacy.guarantee import ATTACK_FPR

    rows: list[list[object]] = []
    for e in scale:
        (attack,) = [a for a in e.attacks if a.false_alarms == ATTACK_FPR]
        here = " <" if e.epsilon == epsilon else ""
        beliefs = [percent(b.most) for b in e.beliefs]
        attacks = [percent(attack.any_mechanism), percent(attack.gaussian)]
        rows.append([f"{e.epsilon:g}{here}", f"{up(e.odds_factor)} x", *beliefs, *attacks])
    show.grid(
        ("epsilon", "odds", "50 % to", "10 % to", "1 % to", "attack finds", "if Gaussian"),
        rows,
        title="at most",
    )


def _share(value: float) -> str:
    points = 100 * value
    return "+-100 % or more" if points >= 100 else f"+-{points:.2g} points"


def _multiplier(event: dict[str, object]) -> str:
    value = event.get("noise_multiplier", math.nan)
    return f"{value:.4g}" if isinstance(value, float) else ""
