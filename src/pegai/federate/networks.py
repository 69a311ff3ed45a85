"""Generators trained over several sites: clipped gradients summed step by step (DP-FedSGD).

The coordinator holds the networks. For each step it sends the weights of one that learns from real
rows; every site draws its own Poisson sample of patients, clips each patient's gradient, adds its
noise and sends the sum, bare or masked. So a step is that of DP-SGD (Abadi et al. 2016) on all
patients together, however they are spread over sites: no site's model is averaged, and skew moves
nothing. McMahan et al. 2017 (arXiv:1602.05629) call it FedSGD.

Whatever weights a site is sent, a patient moves its answer by the clipping norm at most. It builds
the network from the plan's method and settings, never from code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pegai.data.table import Table
from pegai.encode.table import TableEncoder
from pegai.errors import FederationError
from pegai.federate.coordinator import Coordinator
from pegai.federate.exchanges import Exchanges, Question
from pegai.federate.plan import FederationPlan
from pegai.federate.queries import encoder_from_dict
from pegai.federate.source import table_question
from pegai.federate.wire import digest
from pegai.privacy.dpsgd import (
    GRADIENT_GRID,
    Batch,
    Layout,
    PrivateSum,
    one_row_per_patient,
    share_sensitivity,
    sum_sensitivity,
)
from pegai.privacy.events import GaussianEvent, SubsampledGaussianEvent
from pegai.privacy.guarantee import Guarantee
from pegai.privacy.session import Session
from pegai.schema import Schema
from pegai.synth.base import Fitted, learned_schema
from pegai.synth.latent import LatentSynthesizer
from pegai.synth.looks import COUNTS
from pegai.synth.marginals.source import LookQuery
from pegai.synth.networks.blocks import one_thread
from pegai.synth.networks.private import Gradients, PrivatePart, PrivateSchedule, RowDraws
from pegai.synth.rows import encode_rows
from pegai.synth.running import Run

Method = LatentSynthesizer[Any]
AUDIT_SEED = 0
BLOCK_ROWS = 64


def method_of(plan: FederationPlan) -> Method:
    """The plan's method."""
    method = plan.synthesizer
    assert isinstance(method, LatentSynthesizer)  # noqa: S101 - for the type checker
    return method


def label_of(plan: FederationPlan, exchange: int) -> str:
    """The planned event that an exchange uses."""
    looks = method_of(plan).looks
    return COUNTS if exchange == 0 else looks[(exchange - 1) % len(looks)]


@dataclass(frozen=True, eq=False)
class GradientQuery:
    """The gradient of one network at given weights.

    Attributes:
        label: The event.
        encoder: The codes.
        known: Digest of codes and shares: what a network is built from.
        digests: SHA-256 of the arrays that come with it, `shares` and `weights`.
    """

    label: str
    encoder: TableEncoder
    known: str
    digests: Mapping[str, str]


def gradient_query(label: str, encoder: TableEncoder, arrays: Mapping[str, np.ndarray]) -> Any:
    """JSON types."""
    return {
        "kind": "gradient",
        "label": label,
        "encoder": encoder.to_dict(),
        "arrays": {name: _sha256(array) for name, array in arrays.items()},
    }


def read_gradient_query(plain: Any, schema: Schema) -> GradientQuery:
    """Read such a query.

    Raises:
        FederationError: It is none.
    """
    try:
        digests = {name: str(plain["arrays"][name]) for name in ("shares", "weights")}
        known = digest([plain["encoder"], digests["shares"]])
        encoder = encoder_from_dict(plain["encoder"], schema)
        if plain["kind"] != "gradient":
            raise ValueError
        return GradientQuery(str(plain["label"]), encoder, known, digests)
    except FederationError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise FederationError(
            f"the coordinator asked what can't be read ({type(error).__name__})"
        ) from None


def _sha256(array: np.ndarray) -> str:
    return sha256(np.ascontiguousarray(array).data).hexdigest()


class _Built:
    """Networks for one encoder and its shares, with a table's codes."""

    def __init__(
        self, method: Method, encoder: TableEncoder, shares: list[np.ndarray], table: Table
    ) -> None:
        begun = method.begin_at(encoder, shares, 1.0, np.random.default_rng(0), Run(device="cpu"))
        self.blocks = begun.start.layout.blocks
        self.parts = {part.label: part for part in method.parts(begun.start)}
        self.codes = encode_rows(table, encoder)
        self.layout = Layout(BLOCK_ROWS)


class SiteGradients:
    """A site's gradients.

    Args:
        plan: Whose method and settings say what is built.
        table: Private.
        audited: Whether draws come from a fixed seed, so that two fits can be compared.
    """

    def __init__(self, plan: FederationPlan, table: Table, *, audited: bool) -> None:
        self._method, self._table = method_of(plan), table
        self._units = table.unit_codes()
        self._patients = int(self._units.max(initial=-1)) + 1
        self._built: dict[str, _Built] = {}
        self._visits, self._draws = (
            (RowDraws(AUDIT_SEED), RowDraws(AUDIT_SEED + 1))
            if audited
            else (RowDraws.fresh(), RowDraws.fresh())
        )

    def answer(
        self,
        session: Session,
        query: GradientQuery,
        arrays: Mapping[str, np.ndarray],
        *,
        parts: int | None,
    ) -> np.ndarray:
        """The clipped sum over a fresh sample of patients.

        Args:
            session: Admits the query's label.
            query: The question.
            arrays: That came with it.
            parts: Sites whose parts of the noise are counted on; 0 adds all noise, and None none,
                for simulations.

        Raises:
            FederationError: The arrays are not those that were asked about, or do not fit.
        """
        with one_thread():
            built = self._networks(query, arrays)
            part = built.parts[query.label]
            _put(arrays["weights"], part)
            chosen = session.poisson_sample(query.label, self._patients)
            places = one_row_per_patient(chosen, self._units, self._visits.step())
            rows = built.blocks.one_hot(built.codes[places])
            batch: Batch = part.batch(rows, self._draws.step())
            summed = PrivateSum(
                part.model,
                part.loss,
                session=session,
                label=query.label,
                clipping_norm=self._method.config.privacy.clipping_norm,
                layout=built.layout,
            )
            if parts is None:
                return summed.exact(batch)
            return summed.release_share(batch, honest=parts) if parts else summed.release(batch)

    def _networks(self, query: GradientQuery, arrays: Mapping[str, np.ndarray]) -> _Built:
        for name, due in query.digests.items():
            if name not in arrays or _sha256(arrays[name]) != due:
                raise FederationError("the arrays that came are not those that were asked about")
        if query.known not in self._built:
            shares = self._shares(query.encoder, arrays["shares"])
            self._built = {query.known: _Built(self._method, query.encoder, shares, self._table)}
        built = self._built[query.known]
        if query.label not in built.parts:
            raise FederationError("the coordinator asked for a network that the plan has not")
        return built

    def _shares(self, encoder: TableEncoder, flat: np.ndarray) -> list[np.ndarray]:
        condition = self._method.condition(encoder.schema, private=True)
        classes = 1 if condition is None else encoder.sizes[encoder.index(condition.name)]
        cuts = np.cumsum([classes * size for size in encoder.sizes])
        fits = flat.dtype == np.float64 and flat.shape == (int(cuts[-1]),)
        if not fits or not (np.isfinite(flat) & (flat > 0)).all():
            raise FederationError("the coordinator asked what does not fit the plan: shares")
        return [part.reshape(classes, -1) for part in np.split(flat, cuts[:-1])]


def _put(flat: np.ndarray, part: PrivatePart) -> None:
    """Set the weights of a part."""
    parameters = list(part.model.parameters())
    if flat.dtype != np.float32 or flat.shape != (sum(p.numel() for p in parameters),):
        raise FederationError("the coordinator asked what does not fit the plan: weights")
    with torch.no_grad():
        for parameter, values in zip(parameters, _in_shapes(flat, parameters), strict=True):
            parameter.copy_(values)


def _in_shapes(flat: np.ndarray, parameters: Sequence[Tensor]) -> list[Tensor]:
    cuts = np.cumsum([p.numel() for p in parameters])[:-1]
    parts = np.split(flat, cuts)
    pairs = zip(parts, parameters, strict=True)
    return [torch.from_numpy(part.copy()).reshape(p.shape).to(p) for part, p in pairs]


class FederatedGradients(Gradients):
    """Noisy mean gradients over all sites.

    Args:
        plan: What is run.
        exchanges: Asks.
        encoder: The codes.
        shares: At which the networks began.
        schedule: Clipping and divisor.
    """

    def __init__(
        self,
        plan: FederationPlan,
        exchanges: Exchanges,
        encoder: TableEncoder,
        shares: Sequence[np.ndarray],
        schedule: PrivateSchedule,
    ) -> None:
        self._plan, self._exchanges, self._encoder = plan, exchanges, encoder
        self._shares = np.concatenate([part.ravel() for part in shares])
        self._schedule = schedule

    def noisy(self, part: PrivatePart) -> Sequence[Tensor]:
        """As `Gradients.noisy`."""
        parameters = list(part.model.parameters())
        weights = torch.cat([p.detach().ravel() for p in parameters]).cpu().numpy()
        arrays = {"shares": self._shares, "weights": weights}
        event = self._plan.privacy[part.label]
        assert isinstance(event, SubsampledGaussianEvent)  # noqa: S101 - for the type checker
        norm, masked = self._schedule.clipping_norm, self._plan.noise == "secagg"
        unit = GRADIENT_GRID if masked else 1
        question = Question(
            gradient_query(part.label, self._encoder, arrays),
            arrays,
            1.0,
            event.noise_multiplier,
            share_sensitivity(norm, weights.size) if masked else sum_sensitivity(norm),
            weights.size,
            "float64",
            f"gradients of {part.label}",
            norm * unit,  # a patient's clipped gradient
        )
        summed = self._exchanges.ask(question).values / unit
        return _in_shapes(summed / self._schedule.divisor, parameters)


def fit_by_steps(coordinator: Coordinator, rng: np.random.Generator, run: Run) -> Fitted:
    """Train the plan's networks over its sites."""
    plan, method = coordinator.plan, method_of(coordinator.plan)
    schema = learned_schema(plan.schema_)
    settings = method.config.privacy
    condition = method.condition(schema, private=True)
    query = LookQuery(schema, settings.grid_bins, True, condition and condition.name)
    event = plan.privacy[COUNTS]
    assert isinstance(event, GaussianEvent)  # noqa: S101 - for the type checker
    exchanges = Exchanges(coordinator)
    with one_thread():
        summed = exchanges.ask(table_question(query, event.noise_multiplier, budget=1.0))
        deviation = query.packing.deviations(summed.multiplier)[0]
        look = query.tables.read(query.packing.unpack(summed.values), deviation)
        begun = method.begin_private(look, rng, Run(run.progress, device="cpu"))

        def gradients(parts: Sequence[PrivatePart], schedule: PrivateSchedule) -> Gradients:
            return FederatedGradients(plan, exchanges, begun.encoder, begun.shares, schedule)

        guarantee = Guarantee.of(plan.privacy, unit=plan.unit)
        return method.train_private(begun, gradients, guarantee, run)


def expected_exchanges(plan: FederationPlan) -> int:
    """How many exchanges a run by steps has."""
    method = method_of(plan)
    return 1 + method.config.privacy.steps * len(method.looks)
