"""A step of DP-SGD: pegai's, Opacus's and one without privacy, side by side.

Prints milliseconds for the clipped gradients of all patients and their sum, and the ratios to a
step without privacy and to Opacus's hooks. The network has two hidden layers of 256. All work in
one process on one thread, in turn within each round, and must first agree on the sum. Rows named
"+ noise" draw it too: pegai's comes from the operating system and is exact, Opacus's is torch's.
Opacus is measured if it is found; it has a folder of its own, and uses pegai's torch:

    pip install --no-deps --target .bench/opacus 'opacus>=1.6,<1.7' 'opt-einsum>=3.3'
    python benchmarks/dpsgd_step.py [--rounds 30] [--json FILE]
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from pegai.privacy import Plan, Privacy, Session, SubsampledGaussianEvent
from pegai.privacy.dpsgd import Batch, Clipping, PrivateGradient, network_of
from pegai.privacy.dpsgd_sum import sum_clipped

OPACUS = Path(__file__).resolve().parent.parent / ".bench" / "opacus"
INPUTS, HIDDEN = 100, 256
BATCHES = (500, 2000)
NORM = 0.5
NOISE_MULTIPLIER = 4.0
STEP = "step"
PLAIN, HOOKS, OURS = "no privacy", "Opacus, hooks", "pegai"
TARGETS = {PLAIN: ("at most", 2.0), HOOKS: ("at least", 25.0)}

Step = Callable[[], list[Tensor]]
"""A step; gives the summed gradients, one a parameter."""


def losses(outputs: Tensor, targets: Tensor) -> Tensor:
    """One a row."""
    return nn.functional.binary_cross_entropy_with_logits(
        outputs.squeeze(1), targets, reduction="none"
    )


def network() -> nn.Sequential:
    """The network, the same each time."""
    torch.manual_seed(0)
    hidden = [nn.Linear(INPUTS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(HIDDEN, 1))


def without_privacy(inputs: Tensor, targets: Tensor) -> Step:
    """Forward and backward, as any training does it."""
    model = network()

    def step() -> list[Tensor]:
        model.zero_grad()
        losses(model(inputs), targets).sum().backward()
        return _gradients(model)

    return step


def ours(inputs: Tensor, targets: Tensor, engine: PrivateGradient) -> Step:
    """What `PrivateGradient.step` does before the noise."""
    model, clipping = network(), Clipping(NORM)

    def step() -> list[Tensor]:
        parts = network_of(model, losses)
        norms = clipping.norms(parts.sizes)
        batch, layout = Batch(inputs, targets), engine._layout
        return sum_clipped(parts, batch, clipping=clipping, norms=norms, layout=layout).gradients

    return step


def engine_of(session: Session, divisor: float) -> PrivateGradient:
    """The engine, as methods use it."""
    return PrivateGradient(
        network(), losses, session=session, label=STEP, divisor=divisor, clipping=Clipping(NORM)
    )


def by_vmap(inputs: Tensor, targets: Tensor) -> Step:
    """Every gradient written out by `torch.func`, as its documentation has it."""
    model = network()
    weights = {name: w.detach() for name, w in model.named_parameters()}

    def loss(weights: dict[str, Tensor], row: Tensor, target: Tensor) -> Tensor:
        outputs = functional_call(model, weights, (row[None],))
        return losses(outputs, target[None]).sum()

    each = vmap(grad(loss), in_dims=(None, 0, 0))

    def step() -> list[Tensor]:
        found = list(each(weights, inputs, targets).values())
        squares = torch.stack([g.flatten(1).norm(dim=1) for g in found]).norm(dim=0)
        kept = (NORM / squares).clamp(max=1.0)
        return [torch.einsum("p,p...->...", kept, g) for g in found]

    return step


def by_hooks(inputs: Tensor, targets: Tensor, *, noise: bool) -> Step:
    """Opacus's `GradSampleModule` and `DPOptimizer`."""
    from opacus.grad_sample import GradSampleModule
    from opacus.optimizers import DPOptimizer

    model = GradSampleModule(network(), loss_reduction="sum")
    optimizer = _optimizer(DPOptimizer, model, noise=noise)

    def step() -> list[Tensor]:
        optimizer.zero_grad()
        losses(model(inputs), targets).sum().backward()
        optimizer.clip_and_accumulate()
        if not noise:
            return [p.summed_grad for p in model.parameters()]
        optimizer.add_noise()
        return _gradients(model)

    return step


def by_ghost_clipping(inputs: Tensor, targets: Tensor) -> Step:
    """Opacus's ghost clipping: norms in one backward pass, the sum in a second."""
    from opacus.grad_sample import GradSampleModuleFastGradientClipping
    from opacus.optimizers import DPOptimizerFastGradientClipping
    from opacus.utils.fast_gradient_clipping_utils import DPTensorFastGradientClipping

    model = GradSampleModuleFastGradientClipping(
        network(), loss_reduction="sum", max_grad_norm=NORM, use_ghost_clipping=True
    )
    optimizer = _optimizer(DPOptimizerFastGradientClipping, model, noise=False)

    def step() -> list[Tensor]:
        optimizer.zero_grad()
        found = losses(model(inputs), targets)
        DPTensorFastGradientClipping(model, optimizer, found, loss_reduction="sum").backward()
        return _gradients(model)

    return step


def _optimizer(kind: Any, model: nn.Module, *, noise: bool) -> Any:
    return kind(
        torch.optim.SGD(model.parameters(), lr=0.1),
        noise_multiplier=NOISE_MULTIPLIER if noise else 0.0,
        max_grad_norm=NORM,
        expected_batch_size=None,
        loss_reduction="sum",
    )


def _gradients(model: nn.Module) -> list[Tensor]:
    return [p.grad for p in model.parameters() if p.grad is not None]


def opacus() -> str | None:
    """Opacus's version, or None where it is not found."""
    sys.path.append(str(OPACUS))
    try:
        import opacus  # noqa: F401
    except ImportError:
        return None
    return metadata.version("opacus")


def session_of(steps: int, folder: str) -> Session:
    """Admits so many noisy steps."""
    event = SubsampledGaussianEvent(STEP, NOISE_MULTIPLIER, 0.5, steps)
    privacy = Privacy(20.0, 1e-3, ledger=Path(folder) / "ledger.jsonl")
    plan = Plan.make([event], delta=1e-3)
    return Session.open(plan, privacy, dataset="made up", fingerprint_chunks=[b""], label="steps")


def agree(steps: dict[str, Step]) -> None:
    """Refuse to time what gives another sum."""
    sums = {name: [g.clone() for g in step()] for name, step in steps.items()}
    for name, found in sums.items():
        for one, two in zip(found, sums[OURS], strict=True):
            torch.testing.assert_close(one.double(), two.double(), rtol=1e-3, atol=1e-4, msg=name)


def milliseconds(
    steps: dict[str, Step], rounds: int, before: dict[str, Callable[[], Any]]
) -> dict[str, list[float]]:
    """Of each contestant in each round; who begins changes from round to round."""
    names = list(steps)
    found: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for place in range(len(names)):
            name = names[(turn + place) % len(names)]
            before.get(name, lambda: None)()
            start = time.perf_counter()
            steps[name]()
            found[name].append((time.perf_counter() - start) * 1e3)
    return found


def race(batch: int, rounds: int, *, with_opacus: bool) -> dict[str, list[float]]:
    """All contestants on one batch."""
    rng = torch.Generator().manual_seed(batch)
    inputs = torch.randn(batch, INPUTS, generator=rng)
    targets = (torch.rand(batch, generator=rng) < 0.5).float()
    with tempfile.TemporaryDirectory() as folder:
        session = session_of(rounds + 1, folder)
        engine = engine_of(session, batch)
        clipped = {OURS: ours(inputs, targets, engine), "torch.func.vmap": by_vmap(inputs, targets)}
        noisy: dict[str, Step] = {"pegai + noise": lambda: engine.step(Batch(inputs, targets))}
        if with_opacus:
            clipped[HOOKS] = by_hooks(inputs, targets, noise=False)
            clipped["Opacus, ghost clipping"] = by_ghost_clipping(inputs, targets)
            noisy["Opacus, hooks + noise"] = by_hooks(inputs, targets, noise=True)
        agree(clipped)
        # Who is in the batch is drawn outside of the clock, as Opacus's loader draws it.
        before = {"pegai + noise": lambda: session.poisson_sample(STEP, 2 * batch)}
        steps = {PLAIN: without_privacy(inputs, targets), **clipped, **noisy}
        milliseconds(steps, 1, before)
        return milliseconds(steps, rounds, before)


def show(batch: int, found: dict[str, list[float]]) -> None:
    """The table, and the targets beside it."""
    medians = {name: statistics.median(times) for name, times in found.items()}
    print(f"\nbatch {batch:,}: ms a step in {len(found[PLAIN])} rounds, ratios of medians")
    print("| step | min | median | max | / no privacy | / hooks |\n|---|---|---|---|---|---|")
    for name, times in found.items():
        hooks = f"{medians[name] / medians[HOOKS]:.3f}" if HOOKS in medians else "-"
        print(
            f"| {name} | {min(times):.2f} | {medians[name]:.2f} | {max(times):.2f} "
            f"| {medians[name] / medians[PLAIN]:.2f} | {hooks} |"
        )
    ratio = medians[OURS] / medians[PLAIN]
    print(f"pegai / no privacy: {ratio:.2f} (target: {' '.join(map(str, TARGETS[PLAIN]))})")
    if HOOKS in medians:
        ratio = medians[HOOKS] / medians[OURS]
        print(f"hooks / pegai: {ratio:.1f} (target: {' '.join(map(str, TARGETS[HOOKS]))})")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="Full backward hook is firing")
    version = opacus()
    print(f"torch {torch.__version__}, Opacus {version or 'not found'}; {platform.machine()}")
    print(
        f"{INPUTS} inputs, 2 x {HIDDEN} hidden, 1 output; 1 thread; load {os.getloadavg()[0]:.1f}"
    )
    if version is None:
        print("Opacus's rows are left out: pip install it as this script's docstring says")
    results = {}
    for batch in BATCHES:
        results[batch] = race(batch, arguments.rounds, with_opacus=version is not None)
        show(batch, results[batch])
    if arguments.json is not None:
        content = {"opacus": version, "torch": torch.__version__, "milliseconds": results}
        arguments.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
