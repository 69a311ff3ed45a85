"""Model folders: `model.json` and `weights.safetensors`, checked byte by byte on the way in.

Nothing is pickled, and loading runs no code from the folder: JSON is data, safetensors is data,
and the method's name is looked up in the catalog.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from pegai.data.atomic import atomic_folder
from pegai.errors import ModelError, PegaiError
from pegai.privacy.guarantee import Guarantee
from pegai.schema import Schema, schema_from_dict

FORMAT = "pegai-model/1"
FORMAT_IN_FORM = "pegai-model/2"
"""With columns that were learned in another form, which a reader of the first would give back."""

WEIGHTS = "weights.safetensors"
DESCRIPTION = "model.json"


@dataclass(frozen=True)
class ModelFile:
    """What a model folder holds.

    Attributes:
        method: The name in the catalog.
        schema: The schema of sampled tables.
        settings: The method's settings, JSON types.
        state: Everything else the method needs, JSON types.
        weights: Arrays by name.
        guarantee: What is promised, or None.
        heuristic: Noise by a chosen scale, in words that say it is no guarantee; empty without.
        learned_as: The columns that were learned in another form, by a rule of the schema, JSON
            types (`constraints.forms`); state and weights are about these.
    """

    method: str
    schema: Schema
    settings: dict[str, Any]
    state: dict[str, Any]
    weights: dict[str, np.ndarray]
    guarantee: Guarantee | None
    heuristic: str = ""
    learned_as: tuple[dict[str, Any], ...] = ()


def write_model(model: ModelFile, folder: str | Path, *, overwrite: bool = False) -> None:
    """Write a model folder; it is complete or absent."""
    weights = save_tensors({k: np.ascontiguousarray(v) for k, v in sorted(model.weights.items())})
    content: dict[str, Any] = {
        "format": FORMAT_IN_FORM if model.learned_as else FORMAT,
        "method": model.method,
        "settings": model.settings,
        "schema": model.schema.to_dict(),
        **({"learned_as": list(model.learned_as)} if model.learned_as else {}),
        "guarantee": None if model.guarantee is None else model.guarantee.to_dict(),
        **({"heuristic": model.heuristic} if model.heuristic else {}),
        "state": model.state,
        "sha256": {WEIGHTS: hashlib.sha256(weights).hexdigest()},
    }
    content["digest"] = _digest(content)
    with atomic_folder(Path(folder), overwrite=overwrite) as building:
        (building / WEIGHTS).write_bytes(weights)
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        (building / DESCRIPTION).write_text(text + "\n", encoding="utf-8")


def read_model(folder: str | Path) -> ModelFile:
    """Read and check a model folder.

    Raises:
        ModelError: The folder is missing, truncated, edited or of another format.
    """
    folder = Path(folder)
    content = _read_description(folder)
    weights = _read_weights(folder, content)
    try:
        guarantee = content["guarantee"]
        return ModelFile(
            method=content["method"],
            schema=schema_from_dict(content["schema"], name=str(folder / DESCRIPTION)),
            settings=content["settings"],
            state=content["state"],
            weights=weights,
            guarantee=None if guarantee is None else Guarantee.from_dict(guarantee),
            heuristic=str(content.get("heuristic", "")),
            learned_as=_learned_as(content),
        )
    except (KeyError, TypeError, ValueError, PegaiError) as error:
        raise ModelError(
            f"{folder / DESCRIPTION} lacks a part or holds one of the wrong type "
            f"({type(error).__name__})",
            hint="fit the model again, or copy the folder anew",
        ) from None


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ModelError(
            f"{folder} is no model folder: it has no {DESCRIPTION}",
            hint="pegai fit ... --out FOLDER writes one",
        ) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(
            f"{path} is damaged or cut off ({type(error).__name__})",
            hint="copy the folder anew, or fit the model again",
        ) from None
    formats = (FORMAT, FORMAT_IN_FORM)
    if not isinstance(content, dict) or content.get("format") not in formats:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise ModelError(
            f"{path} has the format {found!r}; this version reads "
            f"{FORMAT!r} and {FORMAT_IN_FORM!r}",
            hint="use the version of pegai that wrote it",
        )
    digest = content.pop("digest", None)
    if digest != _digest(content):
        raise ModelError(
            f"{path} was changed after it was written (its digest does not match)",
            hint="copy the folder anew, or fit the model again",
        )
    return content


def _learned_as(content: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """The forms of the columns; refused where the format has none, or needs some."""
    found = content.get("learned_as", [])
    if bool(found) != (content["format"] == FORMAT_IN_FORM):
        raise ValueError("the forms of the columns do not go with the format")
    return tuple(dict(part) for part in found)


def _read_weights(folder: Path, content: dict[str, Any]) -> dict[str, np.ndarray]:
    path = folder / WEIGHTS
    try:
        raw = path.read_bytes()
        matches = hashlib.sha256(raw).hexdigest() == content["sha256"][WEIGHTS]
        if matches:
            return load_tensors(raw)
    except (OSError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(
            f"{path} can't be read ({type(error).__name__})",
            hint="copy the folder anew, or fit the model again",
        ) from None
    raise ModelError(
        f"{path} is damaged or cut off (its SHA-256 does not match {DESCRIPTION})",
        hint="copy the folder anew, or fit the model again",
    )


def _digest(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
