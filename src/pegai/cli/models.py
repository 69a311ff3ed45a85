"""`pegai fit`, `pegai sample`, `pegai methods`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pegai.cli import show
from pegai.cli.show import JsonOption, QuietOption, SeedOption


def fit(
    data: Annotated[
        Path,
        typer.Argument(help="The training table: CSV, TSV, gzip, Parquet or a folder of Parquet."),
    ],
    schema: Annotated[Path, typer.Option("--schema", "-s", help="The schema file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the model.")],
    method: Annotated[
        str,
        typer.Option(
            "--method", "-m", help="As pegai methods lists them; auto picks one and says why."
        ),
    ] = "ctgan",
    epsilon: Annotated[
        float | None, typer.Option(help="With it the fit is private; needs --delta.")
    ] = None,
    delta: Annotated[
        float | None, typer.Option(help="At most 1 / (10 x patients) is usual.")
    ] = None,
    ledger: Annotated[
        Path | None, typer.Option(help="Default: $PEGAI_LEDGER or ./pegai-ledger.jsonl.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Name in the ledger; default: the schema's.")
    ] = None,
    settings: Annotated[
        Path | None, typer.Option(help="TOML file with settings of the method.")
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Of a CSV; default: detected, UTF-8 for a private fit.")
    ] = None,
    delimiter: Annotated[
        str | None, typer.Option(help="Of a CSV; default: detected, a comma for a private fit.")
    ] = None,
    stream: Annotated[
        bool | None,
        typer.Option(
            "--stream/--no-stream",
            help="Read Parquet chunk by chunk, not whole: the same model in less memory. Default: "
            "above 20 million cells, and for a folder.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        typer.Option(help="Where networks train. Only the CPU gives the same bytes for a seed."),
    ] = "auto",
    log: Annotated[
        Path | None,
        typer.Option(
            help="Losses as they come, a JSON object a line, behind what is in the file. "
            "A private fit tells of steps only."
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="Folder that keeps the state of training: the same command goes on from it. "
            "Refused for a private fit."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing model.")] = False,
    seed: SeedOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train a generator on a table.

    With --epsilon and --delta the model carries a differential-privacy guarantee by patient, the
    ledger is charged before a row is looked at, and --seed is refused: noise must be secret. Cells
    that can't be read then count as missing, and rows without a patient id are left out: one
    patient must not change how the others are read.

    Example: pegai fit train.csv -s schema.json --epsilon 1 --delta 1e-4 -o model
    """
    from pegai.synth.running import Run
    from pegai.workflow.steps import fit_file, json_lines

    with show.progress(quiet=quiet) as bar, json_lines(log) as losses:
        model, seconds = fit_file(
            data,
            schema,
            out,
            method=method,
            epsilon=epsilon,
            delta=delta,
            ledger=ledger,
            dataset=dataset,
            settings=settings,
            overwrite=force,
            seed=seed,
            progress=bar,
            encoding=encoding,
            delimiter=delimiter,
            stream=stream,
            run=Run(log=losses, device=device, checkpoint=checkpoint),
        )
    guarantee = None if model.guarantee is None else model.guarantee.to_dict()
    chosen = model.to_file().settings.get("auto")  # why, where auto chose the method

    def text() -> None:
        show.say(f"wrote {out} in {seconds:.1f} s", quiet=quiet)
        if chosen:
            show.say(chosen, quiet=quiet)
        if model.guarantee is None:
            show.say("no formal guarantee: this model must stay inside", quiet=quiet)
            if model.heuristic:
                show.say(model.heuristic, quiet=quiet)
        else:
            for line in model.guarantee.in_words():
                show.say(f"  {line}", quiet=quiet)
        show.suggest("pegai", "sample", out, "-n", 1000, "-o", "synthetic.csv", quiet=quiet)

    content = {
        "model": str(out),
        "method": model.method,
        "chosen": chosen,
        "seconds": round(seconds, 2),
        "guarantee": guarantee,
        "heuristic": model.heuristic or None,
    }
    show.result(content, as_json=as_json, text=text)


def sample(
    model: Annotated[Path, typer.Argument(help="A model folder.")],
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, help="How many rows.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="CSV, TSV, gzip or Parquet.")],
    given: Annotated[
        list[str] | None,
        typer.Option(help="column=value that every row must have; repeat it. 'age=' is missing."),
    ] = None,
    jobs: Annotated[
        int,
        typer.Option("--jobs", "-j", min=0, help="Processes; 0 is one a core. The same bytes."),
    ] = 1,
    seed: SeedOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Draw synthetic patients from a model, any number of them: chunks go to the disk as they come.

    Example: pegai sample model -n 500 --given sex=1 --given num=1 -o men.csv
    """
    from pegai.workflow.steps import sample_file

    with show.progress(quiet=quiet) as bar:
        done = sample_file(model, rows, out, given=given or [], seed=seed, progress=bar, jobs=jobs)
    content = {"file": str(out), "rows": done.rows, "columns": list(done.columns)}

    def text() -> None:
        show.say(f"wrote {out}: {done.rows} rows, {len(done.columns)} columns", quiet=quiet)
        show.suggest(
            *("pegai", "evaluate", "--synthetic", out, "--model", model),
            *("--train", "TRAIN", "--holdout", "HOLDOUT", "-s", "SCHEMA", "-o", "report"),
            quiet=quiet,
        )

    show.result(content, as_json=as_json, text=text)


def methods(as_json: JsonOption = False, quiet: QuietOption = False) -> None:
    """List the generators there are, and what each guarantees."""
    from pegai.synth.catalog import CATALOG

    rows = [(name, m.synthesizer.title, m.synthesizer.promise) for name, m in CATALOG.items()]
    listed = [{"name": n, "title": t, "guarantee": g} for n, t, g in rows]
    show.result(
        {"methods": listed},
        as_json=as_json,
        text=lambda: show.grid(("method", "what it is", "what it guarantees"), rows),
    )
