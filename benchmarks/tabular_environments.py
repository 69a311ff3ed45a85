"""The environments of the peers: `python -m venv` and pip, once, into a folder.

pegai takes nothing from them but the rows they make. `ctgan` is under the Business Source License:
whoever runs the benchmark installs it here, for a comparison, and nothing of it is read or used.
On a machine without a GPU let pip find CPU builds of torch (PIP_EXTRA_INDEX_URL), else it takes
several GB of CUDA packages.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent / "tabular_peers"


@dataclass(frozen=True)
class Environment:
    """What a peer needs.

    Attributes:
        name: Its folder.
        packages: What pip is asked for.
        probe: Code that must run for the environment to be of use.
        removed: Packages taken out again after the installation.
    """

    name: str
    packages: tuple[str, ...]
    probe: str
    removed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Peer:
    """A method of another package.

    Attributes:
        title: For people.
        environment: Where it runs.
        script: What runs there.
        epochs: Its own default; None where the package decides.
    """

    title: str
    environment: Environment
    script: Path
    epochs: int | None


CTGAN = Environment("ctgan", ("torch>=2.6,<2.14", "ctgan==0.12.*"), "import ctgan")
ENGINE = Environment(
    "argn",
    ("torch>=2.13,<2.14", "mostlyai-engine==2.7.*"),
    "from mostlyai import engine",
    # transformers imports torchvision where there is one, and the one that pip finds fails to load
    # beside a CPU build of torch ("operator torchvision::nms does not exist"). Tables need neither.
    ("torchvision", "torchaudio"),
)
TREES = Environment("cart", ("scikit-learn>=1.5", "pandas>=2.2"), "import sklearn.tree, pandas")
PEERS: dict[str, Peer] = {
    "sdv-ctgan": Peer("CTGAN (sdv-dev 0.12)", CTGAN, SCRIPTS / "sdv_peer.py", 300),
    "sdv-tvae": Peer("TVAE (sdv-dev 0.12)", CTGAN, SCRIPTS / "sdv_peer.py", 300),
    "tabular-argn": Peer("TabularARGN (mostlyai-engine)", ENGINE, SCRIPTS / "argn_peer.py", None),
    "cart": Peer("sequential CART, leaf 15", TREES, SCRIPTS / "cart_peer.py", None),
    "cart-smooth": Peer("sequential CART, smoothed", TREES, SCRIPTS / "cart_peer.py", None),
}

VERSIONS = """
import importlib.metadata as m, json
print(json.dumps({d.name: d.version for d in m.distributions()}))
"""


class UnavailableError(Exception):
    """A peer can't be run here, and why."""


def prepared(environment: Environment, folder: Path) -> tuple[Path, dict[str, str]]:
    """The environment's Python and the versions of its packages, made the first time.

    Raises:
        UnavailableError: pip or the probe failed.
    """
    place = folder / environment.name
    python, stamp = place / "bin" / "python", place / "versions.json"
    if not stamp.exists():
        print(f"making {place} ({', '.join(environment.packages)})", flush=True)
        _run([sys.executable, "-m", "venv", str(place)])
        pip = [str(python), "-m", "pip", "-q", "--disable-pip-version-check"]
        _run([*pip, "install", *environment.packages])
        if environment.removed:
            _run([*pip, "uninstall", "-y", *environment.removed])
        _run([str(python), "-c", environment.probe])
        stamp.write_text(_run([str(python), "-c", VERSIONS]))
    return python, json.loads(stamp.read_text())


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = [x for x in done.stderr.splitlines() if x.strip()][-1:] or ["no message"]
        what = " ".join(command[1:4])
        raise UnavailableError(f"`{what} ...` ended with {done.returncode}: {last[0].strip()}")
    return done.stdout
