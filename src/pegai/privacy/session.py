"""A charged plan, and the only way to run its mechanisms.

`Session.open` charges the ledger with the whole plan before anything is drawn. After that it admits
planned mechanisms only, each as often as it was planned. What was charged stays charged, whether
the run fails or not. A session can't be copied, pickled or used in another process, since that
would double what it admits.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from pegai.errors import BudgetExceededError, PlanError, PrivacyError
from pegai.privacy.bounded_range import bounded_range_mu
from pegai.privacy.events import (
    Event,
    ExponentialEvent,
    GaussianEvent,
    GaussianFilterEvent,
    KeySelectionEvent,
    LaplaceEvent,
    RandomizedResponseEvent,
    SubsampledGaussianEvent,
    is_positive,
)
from pegai.privacy.guarantee import Guarantee, Plan, Privacy
from pegai.privacy.key_selection import KeySelectionMechanism, entries
from pegai.privacy.ledger import Ledger
from pegai.privacy.ledger_chain import Entry
from pegai.privacy.mechanisms import (
    BoundedRangeMechanism,
    ExponentialMechanism,
    GaussianMechanism,
    LaplaceMechanism,
)
from pegai.privacy.noise_shares import GaussianShareMechanism
from pegai.privacy.randomized_response import RandomizedResponseMechanism
from pegai.privacy.recorder import Array, Mechanism, Recorder, show_mechanism
from pegai.privacy.samplers import MAX_DRAWS, SecureRandom

FILTER_ROUNDING = 2.0**-40
"""Relative part by which the sum of what a filter spends may pass it, from rounding alone; the
noise is 2^-30 wider than it must be (see `mechanisms`), which is more."""


class Session:
    """The mechanisms of one fit. Open it by `Session.open`.

    Example:
        session = Session.open(plan, privacy, dataset="ward", fingerprint_chunks=[table_bytes],
                               label="fit independent")
        noisy = session.gaussian("marginals", counts, l2_sensitivity=1.0)
        guarantee = session.guarantee()
    """

    def __init__(
        self, plan: Plan, privacy: Privacy, charge: Entry, *, recorder: Recorder | None = None
    ) -> None:
        if getattr(charge, "events", None) != plan.events:
            raise PlanError(
                "a session needs the ledger's charge for its own plan",
                hint="open it by Session.open, which charges the plan first",
            )
        self.plan = plan
        self.privacy = privacy
        self.charge = charge
        self._recorder = recorder
        self._left = {event.label: event.count for event in plan.events}
        self._armed: set[str] = set()
        self._spent: dict[str, list[float]] = {event.label: [] for event in plan.events}
        self._draws = 0
        self._process = os.getpid()
        self._lock = threading.Lock()

    @classmethod
    def open(
        cls,
        plan: Plan,
        privacy: Privacy,
        *,
        dataset: str,
        fingerprint_chunks: Iterable[bytes],
        label: str,
        recorder: Recorder | None = None,
    ) -> Session:
        """Charge the ledger with the whole plan, then admit its mechanisms.

        Args:
            plan: Every look at the data that will be taken.
            privacy: What was asked for; the plan may cost no more. Its `dataset`, where set, goes
                before the argument.
            dataset: The name under which spending adds up.
            fingerprint_chunks: The bytes of the private table, which bind the charge to it.
            label: What is being done, for the ledger.
            recorder: Only for audits; the guarantee is then void and says so.

        Raises:
            BudgetExceededError: The plan costs more than `privacy` or the data set's budget has.
            LedgerError: The ledger is damaged or was edited.
        """
        if plan.epsilon > privacy.epsilon or plan.delta > privacy.delta:
            raise BudgetExceededError(
                f"the plan costs epsilon {plan.epsilon:.6g} at delta {plan.delta:.3g}, asked for "
                f"was {privacy.epsilon:.6g} at {privacy.delta:.3g}",
                hint="calibrate the noise to what was asked for",
            )
        ledger = Ledger(privacy.ledger_path)
        dataset = privacy.dataset or dataset
        ledger.check(dataset=dataset, plan=plan)  # before the fingerprint writes a first line
        charge = ledger.charge(
            dataset=dataset,
            fingerprint=ledger.fingerprint(fingerprint_chunks),
            unit=privacy.unit,
            plan=plan,
            label=label,
        )
        return cls(plan, privacy, charge, recorder=recorder)

    @classmethod
    def resume(
        cls,
        plan: Plan,
        privacy: Privacy,
        *,
        charge_hash: str,
        spent: Mapping[str, Sequence[float]] | None = None,
        used: Mapping[str, int] | None = None,
    ) -> Session:
        """Go on with a plan that a process which is gone has charged.

        The caller has written every release down before it left: what it leaves out here would be
        spent twice.

        Args:
            plan: What was charged; filters, Gaussian and sub-sampled events only.
            privacy: As it was charged.
            charge_hash: Of the ledger's line.
            spent: Squared mu of each use so far of filters, by the event's label.
            used: How often other events were used, by label.

        Raises:
            PlanError: The plan holds other events, or was not charged so.
            LedgerError: The ledger is damaged or was edited.
        """
        counted = GaussianEvent | SubsampledGaussianEvent
        if not all(isinstance(event, GaussianFilterEvent | counted) for event in plan.events):
            raise PlanError("only plans of Gaussian events and filters can be gone on with")
        found = [e for e in Ledger(privacy.ledger_path).entries() if e.hash == charge_hash]
        if not found:
            raise PlanError(
                "the ledger has no such charge: the plan can't be gone on with",
                hint="name the ledger that the run was begun with",
            )
        session = cls(plan, privacy, found[0])
        for event in plan.events:
            if isinstance(event, GaussianFilterEvent):
                for mu_squared in (spent or {}).get(event.label, ()):
                    session._spend(event, mu_squared)
            for _ in range((used or {}).get(event.label, 0)):
                session._consume(event.label)
        return session

    def gaussian(
        self,
        label: str,
        values: Array,
        *,
        l2_sensitivity: float,
        noise_multiplier: float | None = None,
    ) -> Array:
        """The values with Gaussian noise of the planned multiplier times the sensitivity.

        For a sub-sampled event it works once after each `poisson_sample`.

        Args:
            label: A planned Gaussian, sub-sampled or filter event.
            values: To be released; any shape.
            l2_sensitivity: Bound on what one patient changes.
            noise_multiplier: Required where the event is a filter, of which it spends
                1 / noise_multiplier^2, and refused elsewhere: there it was planned.

        Raises:
            PlanError: No such planned event, it is used up, or no sample was drawn for it.
            PrivacyError: A value is not finite; the use is spent all the same.
        """
        multiplier = self._spend_gaussian(label, noise_multiplier)
        mechanism = GaussianMechanism(l2_sensitivity, multiplier)
        return self._release(label, "gaussian", values, l2_sensitivity, mechanism)

    def gaussian_share(
        self,
        label: str,
        values: Array,
        *,
        l2_sensitivity: float,
        honest: int,
        noise_multiplier: float | None = None,
    ) -> Array:
        """One site's part of a release that several sites make together; see `noise_shares`.

        It costs what `gaussian` costs, and what the plan says of the guarantee must name the
        condition: that `honest` sites keep their noise to themselves, and the sum is all that is
        seen.

        Args:
            label: As for `gaussian`.
            values: Integers; any shape.
            l2_sensitivity: Bound on what one patient changes.
            honest: At least so many sites add their parts and keep them.
            noise_multiplier: Of the sum; as for `gaussian`.

        Returns:
            `GaussianShareMechanism.scale` times the values with noise, int64.

        Raises:
            PlanError: As for `gaussian`.
            PrivacyError: The values are not integers; the use is spent all the same.
        """
        multiplier = self._spend_gaussian(label, noise_multiplier)
        mechanism = GaussianShareMechanism(l2_sensitivity, multiplier, honest)
        with self._lock:
            self._draws += (honest - 1) * np.size(values)  # each value has `honest` parts
        return self._release(label, "gaussian_share", values, l2_sensitivity, mechanism)

    def laplace(self, label: str, values: Array, *, l1_sensitivity: float) -> Array:
        """The values with Laplace noise of the planned multiplier times the sensitivity.

        Raises:
            PlanError: No such planned event, or it is used up.
            PrivacyError: A value is not finite; the use is spent all the same.
        """
        event = self._planned(label)
        if not isinstance(event, LaplaceEvent):
            raise _wrong_kind(event, "laplace")
        self._consume(label)
        mechanism = LaplaceMechanism(l1_sensitivity, event.noise_multiplier)
        return self._release(label, "laplace", values, l1_sensitivity, mechanism)

    def choose(
        self, label: str, scores: Array, *, sensitivity: float, epsilon: float | None = None
    ) -> int:
        """The index of a candidate with nearly the best score.

        By permute-and-flip where the event is a planned choice; by the exponential mechanism, whose
        losses have a bounded range, where it is a filter.

        Args:
            label: A planned choice or filter.
            scores: Higher is better, shape (candidates,).
            sensitivity: Bound on what one patient changes of any score.
            epsilon: Required where the event is a filter, of which it spends
                bounded_range_mu(epsilon)^2, and refused elsewhere.

        Raises:
            PlanError: No such planned event, or it is used up.
            PrivacyError: A score is not finite; the use is spent all the same.
        """
        event = self._planned(label)
        mechanism: BoundedRangeMechanism | ExponentialMechanism
        if isinstance(event, GaussianFilterEvent):
            if epsilon is None:
                raise PlanError(f"event {label!r} is a filter: say the epsilon of the choice")
            mechanism = BoundedRangeMechanism(sensitivity, epsilon)
            self._spend(event, bounded_range_mu(epsilon) ** 2)
        elif not isinstance(event, ExponentialEvent):
            raise _wrong_kind(event, "choose")
        elif epsilon is not None:
            raise PlanError(f"the epsilon of {label!r} was planned; it can't be chosen now")
        else:
            self._consume(label)
            mechanism = ExponentialMechanism(sensitivity, event.epsilon)
        return int(self._release(label, "choose", scores, sensitivity, mechanism)[0])

    def randomized_response(self, label: str, codes: Array) -> Array:
        """An answer of every place of a public list, true or by chance.

        The list must be fixed whoever is in the data, with at most one place a patient: its length
        is seen.

        Args:
            label: A planned randomized response.
            codes: A category from 0 for each place, or `randomized_response.ABSENT` where its
                person is not in the data; any shape.

        Returns:
            Answers, int64 of the same shape; `RandomizedResponseMechanism.estimate_counts` makes
            counts of them.

        Raises:
            PlanError: No such planned event, or it is used up.
            PrivacyError: A code is no category; the use is spent all the same.
        """
        event = self._planned(label)
        if not isinstance(event, RandomizedResponseEvent):
            raise _wrong_kind(event, "randomized_response")
        self._consume(label)
        mechanism = RandomizedResponseMechanism(event.epsilon, event.categories)
        return self._release(label, "randomized_response", codes, 1.0, mechanism)

    def select_keys(
        self, label: str, keys: Sequence[str], weights: Array, *, whole: int, max_keys: int
    ) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        """The values that many patients share, with noisy weights; see `key_selection`.

        Args:
            label: A planned key selection.
            keys: The values that occur, none twice. How many, and in which order, is private and
                stays so.
            weights: Integers, shape (keys,). A patient adds at most `whole` in all, to at most
                `max_keys` of them; the caller sees to it.
            whole: The weight of a patient; public.
            max_keys: The most values of one patient; public.

        Returns:
            The released keys, sorted, and their noisy weights, shape (released,).

        Raises:
            PlanError: No such planned event, or it is used up.
        """
        event = self._planned(label)
        if not isinstance(event, KeySelectionEvent):
            raise _wrong_kind(event, "select_keys")
        self._consume(label)
        mechanism = KeySelectionMechanism(whole, event.noise_multiplier, event.delta, max_keys)
        released = self._release(
            label, "select_keys", entries(keys, weights), float(whole), mechanism
        )
        return tuple(released["key"]), released["weight"].astype(np.int64)

    def poisson_sample(self, label: str, population: int) -> NDArray[np.bool_]:
        """Who is in this step: each patient independently with the planned probability.

        Uses up one step and admits one `gaussian` of the same label. The sample is private: it may
        be empty, and nothing visible may depend on its size.

        Args:
            label: A planned sub-sampled event.
            population: Number of patients.

        Returns:
            Boolean mask, shape (population,).
        """
        event = self._planned(label)
        if not isinstance(event, SubsampledGaussianEvent):
            raise _wrong_kind(event, "poisson_sample")
        population = int(population)
        if population < 0:
            raise PlanError(f"population must be >= 0, not {population}")
        self._consume(label)
        with self._lock:
            self._armed.add(label)
        if self._recorder is not None:
            size = np.array([population], np.int64)
            replayed = self._recorder.record(label, "poisson_sample", size, 1.0)
            if replayed is not None:
                return np.asarray(replayed, np.bool_)
        return SecureRandom().bernoulli(event.sampling_probability, population)

    def remaining(self, label: str) -> int:
        """How often a planned event may still run."""
        self._planned(label)
        return self._left[label]

    def filter_left(self, label: str) -> float:
        """What a filter may still spend, in squared mu; public, since only plans spend it."""
        event = self._planned(label)
        if not isinstance(event, GaussianFilterEvent):
            raise _wrong_kind(event, "filter_left")
        with self._lock:
            return max(event.mu_squared - math.fsum(self._spent[label]), 0.0)

    def guarantee(self) -> Guarantee:
        """What the whole plan guarantees, whether or not all of it was used."""
        return Guarantee.of(
            self.plan, unit=self.privacy.unit, audit_only=self._recorder is not None
        )

    def _planned(self, label: str) -> Event:
        if os.getpid() != self._process:
            raise PlanError("a session works only in the process that opened it")
        try:
            return self.plan[label]
        except KeyError:
            raise PlanError(
                f"no event {label!r} was planned",
                hint=f"planned: {', '.join(event.label for event in self.plan.events)}",
            ) from None

    def _consume(self, label: str) -> None:
        with self._lock:
            if self._left[label] < 1:
                raise PlanError(
                    f"event {label!r} was planned {self.plan[label].count} times, and all are used"
                )
            self._left[label] -= 1

    def _spend(self, event: GaussianFilterEvent, mu_squared: float) -> None:
        with self._lock:
            spent = math.fsum([*self._spent[event.label], mu_squared])
            # Sums of many parts of a whole come out a rounding away from it, which the samplers'
            # own slack in the noise (2^-30) covers.
            if spent > event.mu_squared * (1 + FILTER_ROUNDING):
                raise PlanError(
                    f"filter {event.label!r} can't spend a squared mu of {mu_squared:.6g}: "
                    f"{event.mu_squared:.6g} was planned, {spent - mu_squared:.6g} is spent"
                )
            self._spent[event.label].append(mu_squared)

    def _spend_gaussian(self, label: str, noise_multiplier: float | None) -> float:
        """Use a Gaussian event up; its noise multiplier."""
        event = self._planned(label)
        if isinstance(event, GaussianFilterEvent):
            if noise_multiplier is None:
                raise PlanError(f"event {label!r} is a filter: say the noise_multiplier")
            if not is_positive(noise_multiplier):
                raise PlanError(f"noise_multiplier must be finite and > 0, not {noise_multiplier}")
            self._spend(event, noise_multiplier**-2)
            return noise_multiplier
        if noise_multiplier is not None:
            raise PlanError(f"the noise of {label!r} was planned; it can't be chosen now")
        if isinstance(event, SubsampledGaussianEvent):
            self._disarm(label)
        elif isinstance(event, GaussianEvent):
            self._consume(label)
        else:
            raise _wrong_kind(event, "gaussian")
        return event.noise_multiplier

    def _disarm(self, label: str) -> None:
        with self._lock:
            if label not in self._armed:
                raise PlanError(
                    f"no sample was drawn for this step of {label!r}",
                    hint="call poisson_sample before each gaussian of a sub-sampled event",
                )
            self._armed.remove(label)

    def _release(
        self,
        label: str,
        kind: str,
        values: Array,
        sensitivity: float,
        mechanism: Mechanism,
    ) -> Array:
        """The one door through which private values leave; the use is already spent."""
        values = np.asarray(values)
        self._draws += values.size
        if self._draws > MAX_DRAWS:
            raise PlanError(
                f"a session releases at most {MAX_DRAWS} numbers, which its delta accounts for"
            )
        if self._recorder is not None:
            show_mechanism(self._recorder, label, mechanism)
            replayed = self._recorder.record(label, kind, values.copy(), sensitivity)
            if replayed is not None:
                return np.array(replayed)
        return mechanism.release(values)

    def __copy__(self) -> NoReturn:
        raise PrivacyError("a session can't be copied: it would admit every mechanism twice")

    def __deepcopy__(self, memo: object) -> NoReturn:
        self.__copy__()

    def __reduce__(self) -> NoReturn:
        self.__copy__()


def _wrong_kind(event: Event, asked: str) -> PlanError:
    return PlanError(f"event {event.label!r} was planned as {event.kind}, not for {asked}()")
