"""Scenario: which columns an attacker knows of a patient, and which it wants to learn.

Known are the quasi-identifiers of the schema; secrets are its `sensitive` columns and its target.
Where the schema names none, an attacker that knows everything else is assumed, which is stronger
than most: the notes say so.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from pegai.evaluate.features import Encoded, Features
from pegai.schema import Schema

MAX_SECRETS = 10
"""Named secrets that are attacked in the full suite."""

MAX_GUESSED_SECRETS = 3
"""Secrets that are tried where the schema names none."""

QUICK_SECRETS = 2


@dataclass(frozen=True)
class Scenario:
    """What is known and what is wanted.

    Attributes:
        quasi_identifiers: The columns with the role, as far as they are coded, by name.
        secrets: The columns to learn.
        named: Whether the schema names the secrets.
        columns: All coded columns, by name.
        note: What was assumed in place of roles, or left out.
    """

    quasi_identifiers: tuple[str, ...]
    secrets: tuple[str, ...]
    named: bool
    columns: tuple[str, ...]
    note: str

    def known(self, secret: str) -> tuple[str, ...]:
        """The columns that the attacker of a secret knows."""
        if self.quasi_identifiers:
            return tuple(c for c in self.quasi_identifiers if c != secret)
        hidden = set(self.secrets) if self.named else {secret}
        return tuple(c for c in self.columns if c not in hidden and c != secret)


def fit_scenario(schema: Schema, features: Features, *, full: bool) -> Scenario:
    """Read the roles of a schema.

    Args:
        schema: Of the training table.
        features: Its coding; free text is not coded and plays no part.
        full: Whether all named secrets are attacked, up to `MAX_SECRETS`.
    """
    columns = tuple(sorted(features.names))
    quasi = tuple(c for c in columns if schema[c].role == "quasi-identifier")
    wanted = [c for c in columns if schema[c].role in ("sensitive", "target")]
    named = bool(wanted)
    notes = [] if quasi else ["no quasi-identifiers named: every other column is taken as known"]
    if not named:
        wanted = [c for c in columns if c not in quasi]
    limit = MAX_SECRETS if named else MAX_GUESSED_SECRETS
    if not full:
        limit = QUICK_SECRETS if named else 1
    secrets = sorted(by_hash(wanted)[:limit])
    if not named and secrets:
        notes.append(
            f"no sensitive column or target named: tried {len(secrets)} of {len(wanted)} columns, "
            "chosen by a hash of their names"
        )
    elif len(secrets) < len(wanted):
        notes.append(
            f"tried {len(secrets)} of {len(wanted)} secrets, chosen by a hash of their names"
        )
    return Scenario(quasi, tuple(secrets), named, columns, "; ".join(notes))


def by_hash(names: Sequence[str]) -> list[str]:
    """Names in the order of their SHA-256: fixed, and blind to what the columns hold."""
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())


def restrict(table: Encoded, names: Sequence[str]) -> Encoded:
    """The same rows with some columns only; `keys` are hashes of these columns."""
    wanted, spec = set(names), table.features
    numbers = [i for i, c in enumerate(spec.numbers) if c.name in wanted]
    discrete = [i for i, c in enumerate(spec.discrete) if c.name in wanted]
    features = Features(
        tuple(spec.numbers[i] for i in numbers), tuple(spec.discrete[i] for i in discrete)
    )
    kept = dataclasses.replace(
        table, features=features, numbers=table.numbers[:, numbers], codes=table.codes[:, discrete]
    )
    return dataclasses.replace(kept, keys=_keys(kept))


def _keys(table: Encoded) -> np.ndarray:
    columns: dict[str, pl.Series] = {}
    for i in range(table.numbers.shape[1]):
        columns[f"n{i}"] = pl.Series(table.numbers[:, i]).fill_nan(None)
    for i in range(table.codes.shape[1]):
        columns[f"c{i}"] = pl.Series(table.codes[:, i])
    if not columns:
        return np.zeros(len(table), dtype=np.uint64)
    return pl.DataFrame(columns).hash_rows(seed=0).to_numpy().astype(np.uint64)
