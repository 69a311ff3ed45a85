"""The plan of a federated run: everything that is fixed before a site reads a row.

A person writes a draft (TOML) with the schema's file beside it. Frozen, with the keys of all sites,
it is JSON whose SHA-256 is what sites approve: another word in it is another plan.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pegai.errors import UsageError
from pegai.federate.wire import canonical, digest
from pegai.privacy.events import GaussianFilterEvent
from pegai.privacy.guarantee import MAX_DELTA, MAX_EPSILON, Privacy
from pegai.privacy.guarantee import Plan as PrivacyPlan
from pegai.privacy.noise_shares import MAX_SITES
from pegai.schema import Schema, read_schema, schema_from_dict
from pegai.synth.aim import AIM
from pegai.synth.base import check_public, check_schema, private_plan
from pegai.synth.catalog import make
from pegai.synth.latent import LatentSynthesizer
from pegai.synth.marginals.planning import MARGINALS
from pegai.synth.mst import MST

FORMAT = "pegai-federation/1"
SIGNED_FORMAT = "pegai-signed-plan/1"

Noise = Literal["local", "secagg", "central"]

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SiteEntry(_Strict):
    """A hospital.

    Attributes:
        name: Of the site, in letters, digits, `_`, `.` and `-`.
        key: Its public Ed25519 key, base64 of 32 bytes; empty in a draft.
    """

    name: Annotated[str, Field(pattern=NAME)]
    key: str = ""

    @field_validator("key")
    @classmethod
    def _is_key(cls, text: str) -> str:
        if text:
            key_bytes(text)
        return text


def key_bytes(text: str) -> bytes:
    """The 32 bytes of a public key.

    Raises:
        ValueError: They are none.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        raw = b""
    if len(raw) != 32:
        raise ValueError("a key is the base64 of 32 bytes")
    return raw


class FederationPlan(_Strict):
    """What sites agree to.

    Attributes:
        format: Of this file.
        study: A name for people, and in ledgers.
        table: The schema, whole; `schema` in the file.
        method: `aim` or `mst`, from tables; or `gan`, `ctgan`, `tvae` or `vaegan`, whose gradients
            are summed step by step: these need all sites to the end.
        settings: Of the method.
        epsilon: Of the whole run, for each patient.
        delta: Likewise.
        unit: Who is protected.
        noise: `local`: each site adds all the noise, and is safe against everyone. `secagg`: each
            adds a part and only the sum is seen; safe while no more than `colluders` sites fail or
            tell. `central`: the coordinator adds it; for simulations, as a yardstick.
        colluders: For `secagg`, sites that may fail or tell, taken together.
        sites: At least two.
        quorum: The fewest sites that a result may rest on; all of them, if left out.
        sites_a_patient: The most sites that hold rows of one and the same patient.
        timeout_seconds: How long one answer may take.
        wait_seconds: How long to wait for a site that is gone before going on or giving up.
        rows: Synthetic rows to draw; a public number.
    """

    format: Literal["pegai-federation/1"] = FORMAT
    study: Annotated[str, Field(pattern=NAME)]
    table: Annotated[dict[str, Any], Field(alias="schema")]
    method: Literal["aim", "mst", "gan", "ctgan", "tvae", "vaegan"] = "aim"
    settings: dict[str, Any] = {}
    epsilon: Annotated[float, Field(gt=0, le=MAX_EPSILON)]
    delta: Annotated[float, Field(gt=0, le=MAX_DELTA)]
    unit: Annotated[str, Field(min_length=1)] = "patient"
    noise: Noise = "local"
    colluders: Annotated[int, Field(ge=0)] = 1
    sites: Annotated[tuple[SiteEntry, ...], Field(min_length=2, max_length=MAX_SITES)]
    quorum: Annotated[int, Field(ge=1)] | None = None
    sites_a_patient: Annotated[int, Field(ge=1)] = 1
    timeout_seconds: Annotated[float, Field(gt=0, le=86_400)] = 60.0
    wait_seconds: Annotated[float, Field(ge=0, le=86_400)] = 300.0
    rows: Annotated[int, Field(ge=1)] = 1000

    @model_validator(mode="after")
    def _fits_together(self) -> FederationPlan:
        names = [site.name for site in self.sites]
        if len(set(names)) < len(names):
            raise ValueError("two sites have the same name")
        keys = [site.key for site in self.sites if site.key]
        if len(set(keys)) < len(keys):
            raise ValueError("two sites have the same key: each makes its own")
        if self.least > len(self.sites):
            raise ValueError(f"quorum is {self.quorum}, but there are {len(self.sites)} sites")
        if self.sites_a_patient > len(self.sites):
            raise ValueError("sites_a_patient is more than there are sites")
        if self.noise == "secagg" and self.least - self.colluders < 1:
            raise ValueError(
                f"secagg needs a quorum above colluders: {self.least} sites of which "
                f"{self.colluders} fail or tell leave nobody's noise"
            )
        if self.by_steps and self.least < len(self.sites):
            raise ValueError(
                f"{self.method} is trained step by step with all sites: leave the quorum out"
            )
        if self.by_steps and self.sites_a_patient > 1:
            raise ValueError(
                f"{self.method} samples patients at each site by itself, so that one may be at "
                "one site only: use aim or mst"
            )
        if self.noise == "secagg" and self.least < 2:
            raise ValueError("secagg needs a quorum of at least 2: the sum of one hides nothing")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Of the sites, sorted."""
        return tuple(sorted(site.name for site in self.sites))

    @property
    def least(self) -> int:
        """The fewest sites that a result may rest on."""
        return len(self.sites) if self.quorum is None else self.quorum

    @cached_property
    def schema_(self) -> Schema:
        """The schema, read.

        Raises:
            SchemaError: It breaks a rule.
        """
        return schema_from_dict(self.table, name="schema of the plan")

    @cached_property
    def privacy(self) -> PrivacyPlan:
        """What each site charges, before anything is drawn.

        Raises:
            PegaiError: The schema or the settings allow no private fit.
        """
        asked = Privacy(self.epsilon, self.delta, self.unit)
        return private_plan(self.synthesizer, self.schema_, asked, also_public=self.trust)

    @property
    def by_steps(self) -> bool:
        """Whether gradients are summed, step by step, rather than tables."""
        return self.method not in ("aim", "mst")

    @property
    def synthesizer(self) -> AIM | MST | LatentSynthesizer[Any]:
        """The method with its settings."""
        made = make(self.method, self.settings)
        assert isinstance(made, AIM | MST | LatentSynthesizer)  # noqa: S101 - for the type checker
        return made

    @property
    def trust(self) -> tuple[str, ...]:
        """What the guarantee rests on besides noise, in sentences."""
        few = self.sites_a_patient
        once = "at one site only" if few == 1 else f"at no more than {few} sites"
        where = f"that each {self.unit} has rows {once}"
        if self.noise == "local":
            return (where,)
        if self.noise == "central":
            return (where, "that the coordinator, who sees exact counts, keeps them: no real run")
        return (
            where,
            f"that of the sites, no more than {self.colluders} leave out their part of the noise "
            "or tell it to whoever sees the sums",
        )

    def parts(self, sites: int) -> int:
        """Of so many sites, those whose parts of the noise are counted on."""
        return sites - self.colluders if self.noise == "secagg" else sites

    def noise_variance(self, sites: int) -> float:
        """Variance of the noise in a sum over so many sites, by that of one full noise."""
        few = self.sensitivity_factor**2
        return few * (sites if self.noise == "local" else sites / self.parts(sites))

    @property
    def sensitivity_factor(self) -> int:
        """How much more than one of its rows' sites a patient moves what is released.

        A sum over sites moves by a patient's part at each; with local noise each site's release is
        one of its own, and they compose (`site_budget`).
        """
        return 1 if self.noise == "local" else self.sites_a_patient

    @property
    def privacy_budget(self) -> float:
        """What a patient's data may be spent in all, in squared mu; without limit by steps.

        A plan by steps names each of them, and its session admits no other.
        """
        if self.by_steps:
            return math.inf
        event = self.privacy[MARGINALS]
        assert isinstance(event, GaussianFilterEvent)  # noqa: S101 - for the type checker
        return event.mu_squared

    @property
    def site_budget(self) -> float:
        """What the answers of one site may spend in all, in squared mu."""
        return self.privacy_budget / (self.sites_a_patient if self.noise == "local" else 1)

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        return self.model_dump(mode="json", by_alias=True)

    def to_bytes(self) -> bytes:
        """What is hashed and approved."""
        return canonical(self.to_dict())

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the plan, in hexadecimal: what a site approves."""
        return digest(self.to_dict())

    def with_keys(self, keys: dict[str, bytes]) -> FederationPlan:
        """The plan with each site's public key, 32 bytes each."""
        sites = [
            {"name": site.name, "key": base64.b64encode(keys[site.name]).decode()}
            for site in self.sites
        ]
        return plan_from_dict(self.to_dict() | {"sites": sites})

    @property
    def pinned(self) -> dict[str, bytes]:
        """The sites' public keys.

        Raises:
            UsageError: A site has none.
        """
        bare = [site.name for site in self.sites if not site.key]
        if bare:
            raise UsageError(
                f"the plan has no key of {', '.join(bare)}",
                hint="a plan is frozen with the keys of all sites",
            )
        return {site.name: key_bytes(site.key) for site in self.sites}


def plan_from_dict(raw: dict[str, Any], *, name: str = "plan") -> FederationPlan:
    """Validate a plan.

    Raises:
        UsageError: A rule is broken; each is named with its place.
        SchemaError: The schema is none.
        PrivateDomainError: Its bounds or categories come from private data.
        PegaiError: It allows no private fit for another reason.
    """
    try:
        plan = FederationPlan.model_validate(raw)
    except ValidationError as error:
        lines = [
            f"{'.'.join(str(p) for p in e['loc']) or 'plan'}: "
            f"{str(e['msg']).removeprefix('Value error, ')}"
            for e in error.errors()
        ]
        raise UsageError(
            f"{name}: {len(lines)} rule{'s' if len(lines) > 1 else ''} broken\n    "
            + "\n    ".join(lines),
            hint="the format is described in docs/reference/federation",
        ) from None
    check_schema(plan.schema_)
    check_public(plan.schema_)
    _ = plan.privacy  # refuses settings that no site could run
    return plan


def read_plan(path: str | Path) -> FederationPlan:
    """Read a draft in TOML, whose `schema` names a file beside it, or a frozen plan in JSON.

    Of a signed plan the signature is not looked at: `agreement.read_signed` does.

    Raises:
        UsageError: The file is missing or breaks a rule; each is named.
        SchemaError: Its schema does.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        raw = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except FileNotFoundError:
        raise UsageError(
            f"{path}: no such file", hint="an example is in docs/reference/federation"
        ) from None
    except (tomllib.TOMLDecodeError, json.JSONDecodeError) as error:
        raise UsageError(f"{path}: can't be read as a plan: {error}") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: can't be read as a plan ({type(error).__name__})") from None
    content = cast("dict[str, Any]", raw)
    if isinstance(content, dict) and content.get("format") == SIGNED_FORMAT:  # pyright: ignore
        content = cast("dict[str, Any]", content.get("plan"))
    if isinstance(content, dict) and isinstance(content.get("schema"), str):  # pyright: ignore
        content["schema"] = read_schema(path.parent / content["schema"]).to_dict()
    return plan_from_dict(content, name=str(path))
