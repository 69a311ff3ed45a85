"""What private methods that train networks plan, and how plain fits of networks begin."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from pegai.privacy.calibrate import calibrate, gaussian_noise_multiplier
from pegai.privacy.events import Event, GaussianEvent, SubsampledGaussianEvent
from pegai.privacy.guarantee import Plan, Privacy
from pegai.schema import Schema
from pegai.synth.base import Synthesizer, taken_as_public
from pegai.synth.latent_config import DPSGDPrivacy

COUNTS = "class-conditional one-way tables"


def counts_and_steps(
    labels: Sequence[str], settings: DPSGDPrivacy, schema: Schema, privacy: Privacy
) -> Plan:
    """One Gaussian look at d one-way tables, then the steps of DP-SGD under each label.

    Args:
        labels: Of the networks that see real rows; all get the same noise multiplier.
        settings: Steps, sampling and the share of the look.
        schema: Of the table.
        privacy: The budget.
    """
    whole = gaussian_noise_multiplier(privacy.epsilon, privacy.delta)
    tables = GaussianEvent(COUNTS, whole / settings.counts_share**0.5)

    def events(noise_multiplier: float) -> tuple[Event, ...]:
        steps = (
            SubsampledGaussianEvent(
                label, noise_multiplier, settings.sampling_probability, settings.steps
            )
            for label in labels
        )
        return (tables, *steps)

    chosen = calibrate(events, epsilon=privacy.epsilon, delta=privacy.delta)
    return Plan.make(events(chosen), delta=privacy.delta, public=taken_as_public(schema))


def hold_back(
    units: np.ndarray, share: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the fitted and of the held-back patients; none is held back below 20 patients.

    Args:
        units: The patient of each row, codes 0..patients-1, shape (rows,).
        share: Of the patients.
        rng: Who.
    """
    patients = int(units.max()) + 1
    count = round(share * patients) if patients >= 20 else 0
    held = np.isin(units, rng.permutation(patients)[:count])
    return np.flatnonzero(~held), np.flatnonzero(held)


def identity(
    method: Synthesizer, schema: Schema, codes: np.ndarray, units: np.ndarray
) -> dict[str, Any]:
    """What a checkpoint of a fit belongs to, as JSON types.

    Args:
        method: With its settings.
        schema: Of the table.
        codes: Of its rows, shape (rows, columns).
        units: The patient of each row, shape (rows,).
    """
    digest = hashlib.sha256(np.ascontiguousarray(codes).data)
    digest.update(units.astype(np.int64).data)
    return {
        "method": method.name,
        "settings": method.settings(),
        "schema": schema.to_dict(),
        "rows": digest.hexdigest(),
    }
