"""The plan of a method whose looks are all taken out of one filter."""

from __future__ import annotations

from pegai.privacy.calibrate import gaussian_noise_multiplier
from pegai.privacy.events import GaussianFilterEvent
from pegai.privacy.guarantee import Plan, Privacy
from pegai.schema import Schema
from pegai.synth.base import taken_as_public

MARGINALS = "marginals"
"""The filter's label."""


def one_filter(schema: Schema, privacy: Privacy) -> Plan:
    """One filter that costs the whole budget; how it is divided may depend on what it releases."""
    whole = gaussian_noise_multiplier(privacy.epsilon, privacy.delta)
    return Plan.make(
        (GaussianFilterEvent(MARGINALS, whole),),
        delta=privacy.delta,
        public=taken_as_public(schema),
    )
