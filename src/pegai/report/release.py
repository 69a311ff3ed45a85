"""The release report: what may leave with the data, and nothing else.

It holds the guarantee, the schema, the policy's limits and what people decided: public
configuration and post-processing of charged outputs. No figure of the evaluation is in it, since
each was computed from real patients without noise: no attack, no model's score, no distribution, no
number of training rows. The verdict is one bit of the same kind, and stands in it on request only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pegai._version import __version__
from pegai.privacy.guarantee import Guarantee
from pegai.report.content import plain
from pegai.report.domain import domain_grid, domain_rows
from pegai.report.html import environment
from pegai.report.numbers import significant
from pegai.report.policy import ReleasePolicy
from pegai.report.tables import facts_grid
from pegai.report.views import explained, when
from pegai.schema import Schema

FORMAT = "pegai-release-report/1"

NO_GUARANTEE = (
    "No formal guarantee. The generator was trained without differential privacy: nothing bounds "
    "what these data may reveal about one patient of the source. Treat them as personal data of "
    "the source unless an expert has determined otherwise."
)
WHAT_IT_IS = (
    "Every row was made by a generator; none is meant to be the record of anyone.",
    "Whoever gets these data must not try to find out who was in the source.",
    "A finding has to be confirmed on real patients before anyone acts on it.",
    "Standard errors from these data alone are too small: the noise of the synthesis is not in "
    "them.",
    "Do not use the data for decisions about single patients.",
)
"""What every user has to know; none of it depends on the data."""


@dataclass(frozen=True)
class ReleaseContent:
    """Everything that a release says about itself; nothing in it was computed from real rows.

    Attributes:
        title: The headline.
        created: When, ISO 8601.
        method: The generator's name.
        schema: Of the released columns, public parts only.
        rows: How many synthetic rows; a number of one's choice.
        guarantee: The formal guarantee; None where there is none.
        heuristic: Noise by a chosen scale, in words that say it is no guarantee; empty without.
        policy: The policy that was applied.
        recipient: Who gets the data, and where they are used.
        intended_use: What for.
        approved_by: Who signs for the residual risk.
        license: The licence's name or address, for catalogues; empty says that none is stated.
        verdict: Decision and summary; empty unless it is meant to leave.
        refused: The policy forbids this release, and the bundle is for inspection at home only.
    """

    title: str
    created: str
    method: str
    schema: Schema
    rows: int
    guarantee: Guarantee | None
    policy: ReleasePolicy
    heuristic: str = ""
    recipient: str = ""
    intended_use: str = ""
    approved_by: str = ""
    license: str = ""
    verdict: Mapping[str, str] = field(default_factory=dict)
    refused: bool = False

    def guarantee_dict(self) -> dict[str, Any]:
        """The content of GUARANTEE.json."""
        formal = self.guarantee is not None
        return {
            "formal": formal,
            "guarantee": plain(self.guarantee.to_dict()) if self.guarantee else None,
            "heuristic": self.heuristic or None,
            "in_words": list(self.in_words()),
        }

    def in_words(self) -> tuple[str, ...]:
        """The guarantee in sentences, the main one first; or that there is none."""
        if self.guarantee is None:
            return (NO_GUARANTEE, *((self.heuristic,) if self.heuristic else ()))
        return (*self.guarantee.in_words(), *explained(self.guarantee))

    def to_dict(self) -> dict[str, Any]:
        """The JSON twin of the page."""
        return {
            "format": FORMAT,
            "audience": "recipients",
            "title": self.title,
            "created": self.created,
            "pegai": __version__,
            "method": self.method,
            "rows": self.rows,
            "columns": list(domain_rows(self.schema)),
            **self.guarantee_dict(),
            "policy": plain(asdict(self.policy)),
            "recipient": self.recipient or None,
            "intended_use": self.intended_use or None,
            "approved_by": self.approved_by or None,
            "verdict": dict(self.verdict) or None,
            "refused": self.refused,
            "notes": list(WHAT_IT_IS),
        }


def render_release_html(content: ReleaseContent) -> str:
    """The page as text; equal content gives equal text."""
    limits = {k: v for k, v in asdict(content.policy).items() if v is not None}
    grid = facts_grid({k: v for k, v in limits.items() if k not in ("name", "title")}, "Limits")
    template = environment().get_template("release.html.j2")
    return template.render(
        content=content,
        version=__version__,
        created=when(content.created),
        words=content.in_words(),
        notes=WHAT_IT_IS,
        columns=domain_grid(domain_rows(content.schema)),
        limits=grid,
        epsilon=significant(content.guarantee.epsilon) if content.guarantee else "none",
    )


def render_release_json(content: ReleaseContent) -> str:
    """The JSON twin as text."""
    return _json(content.to_dict())


def render_guarantee(content: ReleaseContent) -> str:
    """GUARANTEE.json as text."""
    return _json(content.guarantee_dict())


def _json(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return text + "\n"


def render_readme(content: ReleaseContent, data_name: str) -> str:
    """The datasheet as Markdown."""
    lines = [f"# {_line(content.title)}", ""]
    if content.refused:
        lines += ["**NOT APPROVED. The policy forbids this release; it must not leave.**", ""]
    lines += [
        f"{content.rows:,} synthetic rows, {len(content.schema.fields)} columns, in `{data_name}`; "
        f"made by the method `{_line(content.method)}` of pegai {__version__}, {content.created}.",
        "",
        "## Guarantee",
        "",
        *(f"- {_line(sentence)}" for sentence in content.in_words()),
        "",
        "## Use",
        "",
        f"- Recipient and environment: {_line(content.recipient) or 'not stated'}",
        f"- Intended use: {_line(content.intended_use) or 'not stated'}",
        f"- Approved by: {_line(content.approved_by) or 'not stated'}, under policy "
        f"`{content.policy.name}` ({_line(content.policy.title)})",
        *(f"- {note}" for note in WHAT_IT_IS),
        "",
        "## Columns",
        "",
        "| column | kind | values | known from |",
        "|---|---|---|---|",
        *(
            "| "
            + " | ".join(_cell(row[key]) for key in ("column", "kind", "values", "source"))
            + " |"
            for row in domain_rows(content.schema)
        ),
        "",
        "## Check it",
        "",
        "`pegai verify FOLDER --key PUBLIC.pem` compares every file with `MANIFEST.json` and the "
        "signature with a public key that you got on another way. It needs no network.",
    ]
    return "\n".join(lines) + "\n"


def _line(text: str) -> str:
    """Text on one line; markup in it stays text."""
    return " ".join(str(text).split()).replace("<", "&lt;")


def _cell(text: Any) -> str:
    return _line(str(text)).replace("|", "\\|") or "–"


_TYPES = {
    "string": "sc:Text",
    "integer": "sc:Integer",
    "number": "sc:Float",
    "boolean": "sc:Boolean",
    "date": "sc:Date",
    "datetime": "sc:DateTime",
}


_FORMATS = {
    ".parquet": "application/x-parquet",
    ".pq": "application/x-parquet",
    ".tsv": "text/tab-separated-values",
}
"""Suffix to the type that readers of Croissant know; anything else is CSV, gzipped or not."""

UNLICENSED = "no licence is stated: ask whoever made this release"


def croissant(content: ReleaseContent, *, data_name: str, sha256: str, size: int) -> str:
    """The release described in Croissant 1.0 (JSON-LD), with hashes and fields.

    Source: MLCommons, "Croissant format specification", version 1.0.
    """
    made = f"{content.title}. Synthetic data made by pegai {__version__}, {content.created[:10]}."
    described = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": content.title,
        "description": " ".join((*content.in_words()[:1], *WHAT_IT_IS[:3])),
        "datePublished": content.created[:10],
        "version": "1.0.0",
        "isAccessibleForFree": True,
        "license": content.license or UNLICENSED,
        "citeAs": made,
        "usageInfo": content.intended_use or WHAT_IT_IS[1],
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": "table",
                "name": "table",
                "contentUrl": data_name,
                "contentSize": f"{size} B",
                "encodingFormat": _encoding_format(data_name),
                "sha256": sha256,
            }
        ],
        "recordSet": [
            {"@type": "cr:RecordSet", "@id": "rows", "name": "rows", "field": _fields(content)}
        ],
    }
    return json.dumps(described, indent=1, ensure_ascii=False) + "\n"


def _encoding_format(data_name: str) -> str:
    name = data_name.lower().removesuffix(".gz")
    found = (kind for suffix, kind in _FORMATS.items() if name.endswith(suffix))
    return next(found, "text/csv")


def _fields(content: ReleaseContent) -> list[dict[str, Any]]:
    columns = content.schema.fields
    return [
        {
            "@type": "cr:Field",
            "@id": f"rows/{mark}",
            "name": column.name,
            "description": column.title or column.description or column.name,
            "dataType": _TYPES[column.type],
            "source": {
                "fileObject": {"@id": "table"},
                "extract": {"column": column.name},
            },
        }
        for mark, column in zip(_marks([c.name for c in columns]), columns, strict=True)
    ]


def _marks(names: Sequence[str]) -> list[str]:
    """The last part of each field's `@id`: its name, or a number where that is no plain word.

    Readers refuse identifiers with spaces, and a slash would be a level of its own.
    """
    found: list[str] = []
    for number, name in enumerate(names, start=1):
        mark = name if _PLAIN.fullmatch(name) else f"column-{number}"
        while mark != name and (mark in names or mark in found):
            mark += "-"
        found.append(mark)
    return found


_PLAIN = re.compile(r"[A-Za-z0-9_.-]+")

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The JSON-LD context of the specification, and what its reader asks for besides."""
