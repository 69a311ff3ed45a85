"""The documentation is true: links resolve, commands and names exist, examples are valid."""

from __future__ import annotations

import ast
import json
import math
import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer.main

import pegai

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(p for p in (ROOT / "docs").rglob("*.md") if not {"_build", "api"} & set(p.parts)),
    ]
)
IDS = [str(page.relative_to(ROOT)) for page in PAGES]

FENCE = re.compile(r"^(`{3,})(\w*)[^\n]*\n(.*?)^\1\s*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    language: str
    text: str

    @property
    def place(self) -> str:
        first = self.text.strip().splitlines()[0] if self.text.strip() else ""
        return f"{self.page.relative_to(ROOT)}: {first}"


def blocks(*languages: str) -> list[Block]:
    found = [
        Block(page, match.group(2), match.group(3))
        for page in PAGES
        for match in FENCE.finditer(page.read_text(encoding="utf-8"))
    ]
    return [block for block in found if block.language in languages]


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


# ---------------------------------------------------------------- links


def anchors(page: Path) -> set[str]:
    """GitHub's and MyST's names of a page's headings, and its explicit targets."""
    text = prose(page)
    found = set(re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE))
    for heading in re.findall(r"^#{1,6} (.+)$", text, re.MULTILINE):
        plain = re.sub(r"[^\w\s-]", "", heading.lower()).strip()
        found.add(re.sub(r"\s", "-", plain))
    return found


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_relative_links_resolve(page: Path) -> None:
    broken: list[str] = []
    for target in LINK.findall(prose(page)):
        if re.match(r"^[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path) if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert not broken


def test_every_page_is_reached_from_the_index() -> None:
    reached: set[Path] = set()
    todo = [ROOT / "docs" / "index.md"]
    while todo:
        page = todo.pop()
        if page in reached or not page.exists():
            continue
        reached.add(page)
        for body in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
            names = [x for x in body.split("\n") if x and not x.startswith(":")]
            todo += [page.parent / f"{name}.md" for name in names]
    pages = {p for p in PAGES if (ROOT / "docs") in p.parents}
    assert pages <= reached


# ---------------------------------------------------------------- the command line


def command_tree() -> Any:
    from pegai.cli.main import app

    return typer.main.get_command(app)


def joined_lines(text: str) -> Iterator[str]:
    yield from text.replace("\\\n", " ").splitlines()


def console_commands() -> list[tuple[str, str]]:
    """(place, command line) of every `pegai ...` in shell blocks; `a && b` are two."""
    found: list[tuple[str, str]] = []
    for block in blocks("console", "bash", "sh", "shell"):
        for line in joined_lines(block.text):
            for part in re.split(r"&&|\|\||;|\|", line.removeprefix("$").strip()):
                words = part.strip()
                if re.match(r"^(\S*/)?pegai(\s|$)", words):
                    found.append((block.place, words))
    return found


def span_commands() -> list[tuple[str, str]]:
    """(place, command line) of every inline `pegai ...`."""
    return [
        (str(page.relative_to(ROOT)), span)
        for page in PAGES
        for span in SPAN.findall(prose(page))
        if span.startswith("pegai ")
    ]


def faults(line: str, *, whole: bool) -> list[str]:
    """What is wrong with a command line; `whole` also asks for required options and arguments."""
    words = shlex.split(line, comments=True)[1:]
    command, name = command_tree(), "pegai"
    while words and hasattr(command, "commands"):
        if words[0].startswith("-"):
            break
        if words[0] not in command.commands:
            return [f"{name} has no command {words[0]!r}"]
        command, name = command.commands[words[0]], f"{name} {words[0]}"
        words = words[1:]
    options = {opt: p for p in command.params for opt in (*p.opts, *p.secondary_opts)}
    wrong: list[str] = []
    given: set[str] = set()
    positional = 0
    while words:
        word = words.pop(0)
        flag, sign, _ = word.partition("=") if word.startswith("--") else (word, "", "")
        if flag in ("-h", "--help"):
            return wrong
        if flag.startswith("-") and not re.match(r"^-\d", flag):
            option = options.get(flag)
            if option is None:
                wrong.append(f"{name} has no option {flag}")
                continue
            given.add(option.name)
            if not sign and not getattr(option, "is_flag", False) and words:
                words.pop(0)
        else:
            positional += 1
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    if positional > sum(100 if p.nargs == -1 else p.nargs for p in arguments):
        wrong.append(f"{name} takes {len(arguments)} arguments, not {positional}")
    if whole and not hasattr(command, "commands"):
        needed = [p for p in arguments if p.required]
        if positional < len(needed):
            wrong.append(f"{name} needs {[p.name for p in needed]}")
        missing = [
            p.opts[0]
            for p in command.params
            if p.param_type_name == "option" and p.required and p.name not in given
        ]
        wrong += [f"{name} needs {option}" for option in missing]
    return wrong


def test_shell_blocks_name_commands_and_options_that_exist() -> None:
    found = console_commands()
    assert len(found) > 30
    wrong = [(p, line, f) for p, line in found if (f := faults(line, whole=True))]
    assert not wrong


def test_inline_commands_name_commands_and_options_that_exist() -> None:
    found = span_commands()
    assert len(found) > 10
    wrong = [(p, line, f) for p, line in found if (f := faults(line, whole=False))]
    assert not wrong


@pytest.mark.parametrize(
    "line",
    [
        "pegai fly data.csv",
        "pegai fit data.csv --schema s.json --out m --wings 2",
        "pegai fit data.csv --schema s.json",
        "pegai sample model --out a.csv extra -n 3",
        "pegai ledger burn",
    ],
)
def test_the_checker_finds_what_does_not_exist(line: str) -> None:
    assert faults(line, whole=True)


def leaf_commands(command: Any, name: str = "pegai") -> Iterator[tuple[str, Any]]:
    if hasattr(command, "commands"):
        for key, child in command.commands.items():
            yield from leaf_commands(child, f"{name} {key}")
    else:
        yield name, command


def test_the_reference_has_every_command_and_option() -> None:
    text = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (pegai [\w ]+)\n(.*?)(?=^## |\Z)", text, re.M | re.S))
    common = {"--json", "--quiet", "-q", "--help", "-h"}
    missing: list[str] = []
    for name, command in leaf_commands(command_tree()):
        section = sections.get(name) or sections.get(name.rsplit(" ", 1)[0])
        if section is None:
            missing.append(name)
            continue
        options = {opt for p in command.params for opt in p.opts if opt.startswith("-")} - common
        missing += [f"{name} {opt}" for opt in sorted(options) if f"{opt}" not in section]
    assert not missing


def test_the_reference_states_the_exit_codes_of_the_errors() -> None:
    from pegai import errors

    codes = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.PegaiError)
    }
    text = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    stated = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    assert codes | {0, 130} == stated


# ---------------------------------------------------------------- examples


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.place)
def test_python_examples_compile_and_name_what_exists(block: Block) -> None:
    tree = ast.parse(block.text)
    missing: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pegai"):
            module = __import__(node.module or "", fromlist=["x"])
            missing += [a.name for a in node.names if not hasattr(module, a.name)]
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Store):
            dotted = ast.unparse(node)
            if re.fullmatch(r"pegai(\.\w+)+", dotted) and not _resolves(dotted):
                missing.append(dotted)
    assert not missing


def _resolves(dotted: str) -> bool:
    value: Any = pegai
    for part in dotted.split(".")[1:]:
        try:
            value = getattr(value, part)
        except AttributeError:
            try:
                value = __import__(f"{value.__name__}.{part}", fromlist=["x"])
            except (ImportError, AttributeError):
                return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/howto/data-scientist.md"])
def test_python_examples_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PEGAI_LEDGER", raising=False)
    for block in blocks("python"):
        if block.page == ROOT / page:
            for model in tmp_path.glob("model"):
                shutil.rmtree(model)
            exec(compile(block.text, block.place, "exec"), {})  # noqa: S102
    assert (tmp_path / "pegai-ledger.jsonl").exists()


@pytest.mark.parametrize("block", blocks("toml"), ids=lambda block: block.place)
def test_toml_examples_are_valid(block: Block) -> None:
    from pegai.data.datasets import heart_disease_schema
    from pegai.federate.plan import plan_from_dict
    from pegai.synth.catalog import make
    from pegai.workflow.config import DeidentifySection, config_from_dict

    raw = tomllib.loads(block.text)
    if "fit" in raw:
        config = config_from_dict(raw)
        for fit in config.fit:
            make(fit.method, fit.settings)
    elif "deidentify" in raw:
        DeidentifySection.model_validate(raw["deidentify"])
    elif "study" in raw:
        plan_from_dict(raw | {"schema": heart_disease_schema().to_dict()})
    else:
        make("ctgan", raw)


def test_every_key_of_a_federation_plan_is_described_with_its_default() -> None:
    from pegai.federate.plan import FederationPlan

    text = (ROOT / "docs" / "reference" / "federation.md").read_text(encoding="utf-8")
    for name, field in FederationPlan.model_fields.items():
        if name == "format":
            continue
        row = re.search(rf"^\|[^|]*`{field.alias or name}`[^|]*\|([^|]*)\|", text, re.MULTILINE)
        assert row, name
        said = row[1].strip().strip("`")
        if field.is_required():
            assert said == "required", name
        elif isinstance(field.default, str | int | float):
            assert said == str(field.default).removesuffix(".0"), name


@pytest.mark.parametrize("block", blocks("json"), ids=lambda block: block.place)
def test_json_examples_are_valid(block: Block) -> None:
    from pegai.privacy import Guarantee
    from pegai.schema import schema_from_dict

    raw = json.loads(block.text)
    if "fields" in raw:
        assert schema_from_dict(raw).to_dict()["fields"]
    elif "type" in raw:
        schema_from_dict({"fields": [raw]})
    elif "adjacency" in raw:
        Guarantee.from_dict(raw).require_releasable()
    else:
        assert raw["kind"] == "budget"


def test_the_complete_schema_example_can_be_fitted_privately() -> None:
    from pegai.schema import schema_from_dict
    from pegai.synth.base import check_public

    page = ROOT / "docs" / "reference" / "schema.md"
    (raw,) = [json.loads(b.text) for b in blocks("json") if b.page == page]
    check_public(schema_from_dict(raw))


def test_settings_in_the_reference_are_the_defaults() -> None:
    from dataclasses import asdict

    text = (ROOT / "docs" / "reference" / "config.md").read_text(encoding="utf-8")
    settings = asdict(pegai.CTGANConfig())
    flat = {k: v for k, v in settings.items() if not isinstance(v, dict)}
    nested = {k: v for k, v in settings.items() if isinstance(v, dict)}
    flat |= {f"{part}.{k}": v for part, inner in nested.items() for k, v in inner.items()}
    rows = re.findall(r"^\| (`[\w.]+`(?:, `[\w.]+`)*) \| ([^|]+) \|", text, re.MULTILINE)
    stated: dict[str, str] = {}
    for names, values in rows:
        keys = re.findall(r"`([\w.]+)`", names)
        stated |= dict(zip(keys, [v.strip() for v in values.split(",")], strict=False))
    assert not set(flat) - set(stated)
    wrong = {
        k: (stated[k], v)
        for k, v in flat.items()
        if isinstance(v, (int, float)) and float(stated[k]) != v
    }
    assert not wrong


def test_the_guarantee_page_states_what_the_accountant_computes() -> None:
    from pegai.privacy import Guarantee, Privacy, attack_bound

    text = (ROOT / "docs" / "explanation" / "guarantee.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| ([\d.]+) \| ([\d.,]+) times \| ([\d.]+) %[^|]*\| ([\d.]+) % \|", text, re.M
    )
    assert len(rows) == 4
    schema = pegai.datasets.heart_disease_schema()
    for epsilon, odds, anyhow, ctgan in rows:
        plan = pegai.CTGAN().plan(schema, Privacy(float(epsilon), 1e-4))
        bounds = (attack_bound(float(epsilon), 1e-4, 0.01), Guarantee.of(plan).attack_tpr)
        assert float(odds.replace(",", "")) == pytest.approx(math.exp(float(epsilon)), rel=2e-3)
        for stated, bound in zip((anyhow, ctgan), bounds, strict=True):
            assert 0 <= float(stated) - 100 * bound < 0.1 + 1e-6  # rounded up: "at most"


def test_the_page_on_the_private_ctgan_states_its_plan() -> None:
    text = (ROOT / "docs" / "explanation" / "dp-ctgan.md").read_text(encoding="utf-8")
    plan = pegai.CTGAN().plan(pegai.datasets.heart_disease_schema(), pegai.Privacy(1.0, 1e-3))
    stated = re.findall(r"noise multipliers of ([\d.]+) and ([\d.]+)\.", text)
    events = [event.to_dict()["noise_multiplier"] for event in plan.events]
    assert [float(x) for x in stated[0]] == pytest.approx(events, abs=0.006)
    assert f"`steps`, {plan.events[1].count} by default" in text


def test_the_policy_page_states_the_limits_of_the_policies() -> None:
    from pegai.report.policy import CONTROLLED_2, PUBLIC_2

    text = (ROOT / "docs" / "explanation" / "policy.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| [^|]+\| `(\w+)` \|([^|]+)\|([^|]+)\|", text, re.MULTILINE)
    for field, *cells in rows:
        for cell, policy in zip(cells, (PUBLIC_2, CONTROLLED_2), strict=True):
            (number,) = re.findall(r"[\d.]+", cell)
            scale = 100 if "%" in cell else 1
            assert float(number) / scale == pytest.approx(getattr(policy, field)), field
    limits = {f.name for f in fields(PUBLIC_2)} - {"name", "title", "required"}
    assert limits - {field for field, *_ in rows} == {"nonmembers_per_fpr"}


def test_the_reference_names_every_score_and_plot_of_an_evaluation() -> None:
    from pegai.evaluate.suite import evaluate
    from pegai.evaluate.utility.learners import LEARNERS, REGRESSORS
    from pegai.streams import Streams

    table = pegai.datasets.load_heart_disease(site="cleveland")
    parts = pegai.split(table, holdout=0.3, rng=Streams(0).get("split"))
    model = pegai.Independent().fit(parts.train, rng=0)
    found = evaluate(parts.train, parts.holdout, [model.sample(200, rng=0)], tier="quick")
    text = (ROOT / "docs" / "reference" / "report-json.md").read_text(encoding="utf-8")
    metrics = {s.name.split("/")[0] for s in found.scores if not s.name.startswith("tstr_")}
    names = {*metrics, *found.plots, *LEARNERS, *REGRESSORS}
    names |= {s.name.split("/")[1] for s in found.scores if s.name.startswith("membership_auc/")}
    assert not {name for name in names if f"`{name}" not in text}


# ---------------------------------------------------------------- versions and words


def test_the_changelog_has_the_current_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(pegai.__version__)}\] - \d{{4}}-\d\d-\d\d$", text, re.M)


def test_the_citation_has_the_current_version() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    (version,) = re.findall(r"^version: (\S+)$", text, re.MULTILINE)
    assert version == pegai.__version__


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_no_page_claims_what_nobody_can_promise(page: Path) -> None:
    text = page.read_text(encoding="utf-8").lower()
    for word in ("anonymous", "gdpr-compliant", "hipaa-compliant", "zero risk", "zero-risk"):
        assert word not in text


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_no_page_names_a_path_of_one_machine(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"(?<![\w/])/(work|home|root|Users)/", text)


def test_constraints_pin_every_package_of_the_project() -> None:
    pins: dict[str, str] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            assert re.fullmatch(r"[\w.-]+==[\w.!]+", line), line
            name, _, version = line.partition("==")
            pins[_canonical(name)] = version
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [r for part in project["optional-dependencies"].values() for r in part]
    names = {
        _canonical(re.split(r"[\[<>=!~; ]", requirement)[0])
        for requirement in [*project["dependencies"], *extras]
    } - {"pegai"}
    assert not names - set(pins)


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
