"""Release policies as files: TOML or JSON in, every broken rule named; TOML out, to start from."""

from __future__ import annotations

import json
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pegai.errors import UsageError
from pegai.report.policy import OPTIONAL, POLICIES, ReleasePolicy

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Optional = Literal[
    "singling_out", "linkability", "attribute_inference", "identity_risk", "instrument_check"
]
NEEDS = {
    "singling_out": "max_singling_out",
    "linkability": "max_linkability",
    "attribute_inference": "max_attribute_inference",
    "identity_risk": "max_identity_risk",
    "instrument_check": "max_detectable_leak",
}
"""The limit that each optional check compares with."""


class PolicyFile(BaseModel):
    """What a policy file may say; the fields are those of `ReleasePolicy`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    title: Annotated[str, Field(min_length=1, max_length=200)]
    max_epsilon: Annotated[float, Field(ge=0, le=20, allow_inf_nan=False)]
    max_membership_auc: Annotated[float, Field(ge=0.5, lt=1)]
    max_tpr_at_1pct: Annotated[float, Field(ge=0.01, lt=1)]
    max_tpr_at_01pct: Annotated[float, Field(ge=0.001, lt=1)]
    max_tstr_drop: Share
    max_copy_excess: Annotated[float, Field(ge=0, lt=0.05)] = 0.001
    nonmembers_per_fpr: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 10.0
    min_p: Annotated[float, Field(gt=0, lt=1)] = 0.05
    fail_p: Annotated[float, Field(gt=0, lt=1)] = 0.01
    flag_detection_auc: Annotated[float, Field(ge=0.5, le=1)] = 0.80
    min_repeats: Annotated[int, Field(ge=1)] = 5
    max_singling_out: Share | None = None
    max_linkability: Share | None = None
    max_attribute_inference: Share | None = None
    max_identity_risk: Share | None = None
    max_rule_excess: Share | None = None
    min_equivalent_sample: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    min_coefficient_overlap: Share | None = None
    max_detectable_leak: Share | None = None
    required: tuple[Optional, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> PolicyFile:
        if self.fail_p > self.min_p:
            raise ValueError(f"fail_p {self.fail_p:g} is above min_p {self.min_p:g}")
        for name in self.required:
            if getattr(self, NEEDS[name]) is None:
                raise ValueError(f"required names {name}, which has no limit: set {NEEDS[name]}")
        built_in = POLICIES.get(self.name)
        if built_in is not None and self.policy() != built_in:
            raise ValueError(
                f"the name {self.name!r} is that of a policy of pegai with other limits; "
                "a policy with limits of your own needs a name of its own"
            )
        return self

    def policy(self) -> ReleasePolicy:
        """The frozen policy."""
        return ReleasePolicy(**{f.name: getattr(self, f.name) for f in fields(ReleasePolicy)})


def find_policy(name: str | Path) -> ReleasePolicy:
    """A policy by its name, or else read from the file of that name.

    Raises:
        UsageError: There is neither, or the file breaks a rule; every broken rule is listed.
    """
    if str(name) in POLICIES:
        return POLICIES[str(name)]
    return read_policy(Path(name))


def read_policy(path: Path) -> ReleasePolicy:
    """Read a policy file: JSON if its name ends in `.json`, else TOML.

    Raises:
        UsageError: The file is missing, can't be read, or breaks a rule.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        raw = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except FileNotFoundError:
        raise UsageError(
            f"{path}: there is no such policy and no such file",
            hint=f"policies: {', '.join(POLICIES)}; pegai policy show NAME prints one",
        ) from None
    except OSError as error:
        raise UsageError(f"{path}: can't be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not TOML or JSON: {error}") from None
    return policy_from_dict(raw, name=str(path))


def policy_from_dict(raw: Any, *, name: str = "policy") -> ReleasePolicy:
    """Validate the content of a policy file.

    Raises:
        UsageError: A rule is broken; every broken rule is listed with its field.
    """
    try:
        return PolicyFile.model_validate(raw).policy()
    except ValidationError as error:
        lines = [
            f"{'.'.join(str(p) for p in e['loc']) or 'policy'}: "
            f"{str(e['msg']).removeprefix('Value error, ')}"
            for e in error.errors()
        ]
        raise UsageError(
            f"{name}: {len(lines)} rule{'s' if len(lines) > 1 else ''} broken\n    "
            + "\n    ".join(lines),
            hint="pegai policy show public-2 prints one that is valid",
        ) from None


COMMENTS = {
    "name": "Change the name and its number with every change of a limit.",
    "max_epsilon": "Largest epsilon that counts as protection of its own.",
    "max_membership_auc": "Upper end of the 95 % interval of the membership attack's AUC.",
    "max_tpr_at_1pct": "Upper end of its hit rate at 1 % false alarms, and at 0.1 %.",
    "max_tstr_drop": "Loss of AUC of a model that is trained on synthetic patients.",
    "max_copy_excess": "Verbatim copies of training rows beyond the holdout's own rate.",
    "nonmembers_per_fpr": "A hit rate at rate a is an estimate from this / a holdout patients.",
    "min_p": "Permutation p that asks for controls, and that forbids where hits can't be measured.",
    "flag_detection_auc": "Above this AUC synthetic patients are said to be easily told apart.",
    "min_repeats": "Fewest synthetic tables for an interval to mean something.",
    "max_singling_out": "Success of each attack on patients beyond that on controls.",
    "max_identity_risk": "Risk of being identified; 0.09 is from EMA Policy 0070, for public data.",
    "max_rule_excess": "Violations of clinical rules beyond those of real patients.",
    "min_equivalent_sample": "Equivalent real sample size, as a share of the training rows.",
    "min_coefficient_overlap": "Mean overlap of the intervals of regression coefficients.",
    "max_detectable_leak": "A quiet attack counts only if it would have seen a leak of this share.",
    "required": f"Of {', '.join(OPTIONAL)}: without whose evidence nothing is released.",
}


def policy_toml(policy: ReleasePolicy) -> str:
    """A policy as the text of a TOML file, with comments; limits that are None are left out."""
    lines: list[str] = []
    for field in fields(ReleasePolicy):
        value = getattr(policy, field.name)
        if value is None:
            continue
        if field.name in COMMENTS:
            lines += ["", f"# {COMMENTS[field.name]}"]
        # JSON's strings, numbers and lists of strings are TOML's too.
        shown = list(value) if isinstance(value, tuple) else value
        lines.append(f"{field.name} = {json.dumps(shown, ensure_ascii=False)}")
    return "\n".join(lines).lstrip("\n") + "\n"
