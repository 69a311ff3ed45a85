"""The privacy core: what is charged, what it costs, and the only place where noise is drawn."""

from pegai.privacy.accountant import attack_bound, compute_delta, compute_epsilon
from pegai.privacy.calibrate import calibrate, gaussian_noise_multiplier
from pegai.privacy.events import (
    Event,
    ExponentialEvent,
    GaussianEvent,
    GaussianFilterEvent,
    KeySelectionEvent,
    LaplaceEvent,
    RandomizedResponseEvent,
    SubsampledGaussianEvent,
    event_from_dict,
)
from pegai.privacy.guarantee import AUDIT_ONLY, MAX_EPSILON, Guarantee, Plan, Privacy
from pegai.privacy.key_selection import KeySelectionMechanism
from pegai.privacy.ledger import Ledger
from pegai.privacy.ledger_chain import Entry, Problem
from pegai.privacy.mechanisms import (
    BoundedRangeMechanism,
    ExponentialMechanism,
    GaussianMechanism,
    LaplaceMechanism,
)
from pegai.privacy.randomized_response import RandomizedResponseMechanism
from pegai.privacy.recorder import Recorder
from pegai.privacy.samplers import SecureRandom
from pegai.privacy.session import Session

__all__ = [
    "AUDIT_ONLY",
    "MAX_EPSILON",
    "BoundedRangeMechanism",
    "Entry",
    "Event",
    "ExponentialEvent",
    "ExponentialMechanism",
    "GaussianEvent",
    "GaussianFilterEvent",
    "GaussianMechanism",
    "Guarantee",
    "KeySelectionEvent",
    "KeySelectionMechanism",
    "LaplaceEvent",
    "LaplaceMechanism",
    "Ledger",
    "Plan",
    "Privacy",
    "Problem",
    "RandomizedResponseEvent",
    "RandomizedResponseMechanism",
    "Recorder",
    "SecureRandom",
    "Session",
    "SubsampledGaussianEvent",
    "attack_bound",
    "calibrate",
    "compute_delta",
    "compute_epsilon",
    "event_from_dict",
    "gaussian_noise_multiplier",
]
