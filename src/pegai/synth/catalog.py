"""The methods there are: a name, its settings, its synthesizer, its fitted form.

A new method is one file and one line here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from pegai.errors import ModelError, UsageError
from pegai.synth.aim import AIM, AIMConfig, FittedAIM
from pegai.synth.arm import ARM, ARMConfig, FittedARM
from pegai.synth.auto import Auto, AutoConfig, FittedAuto
from pegai.synth.base import Fitted, Synthesizer
from pegai.synth.constraints.fitted import in_form
from pegai.synth.ctgan import CTGAN, CTGANConfig, FittedCTGAN
from pegai.synth.files import read_model
from pegai.synth.gan import GAN, FittedGAN, GANConfig
from pegai.synth.independent import FittedIndependent, Independent, IndependentConfig
from pegai.synth.mst import MST, FittedMST, MSTConfig
from pegai.synth.pategan import PATEGAN, FittedPATEGAN, PATEGANConfig
from pegai.synth.trees import FittedTrees, Trees, TreesConfig
from pegai.synth.tvae import TVAE, FittedTVAE, TVAEConfig
from pegai.synth.vaegan import VAEGAN, FittedVAEGAN, VAEGANConfig


class Method(NamedTuple):
    """One entry of the catalog."""

    config: type[Any]
    synthesizer: type[Any]
    fitted: type[Any]


CATALOG: dict[str, Method] = {
    "auto": Method(AutoConfig, Auto, FittedAuto),
    "independent": Method(IndependentConfig, Independent, FittedIndependent),
    "gan": Method(GANConfig, GAN, FittedGAN),
    "ctgan": Method(CTGANConfig, CTGAN, FittedCTGAN),
    "tvae": Method(TVAEConfig, TVAE, FittedTVAE),
    "vaegan": Method(VAEGANConfig, VAEGAN, FittedVAEGAN),
    "pategan": Method(PATEGANConfig, PATEGAN, FittedPATEGAN),
    "arm": Method(ARMConfig, ARM, FittedARM),
    "trees": Method(TreesConfig, Trees, FittedTrees),
    "mst": Method(MSTConfig, MST, FittedMST),
    "aim": Method(AIMConfig, AIM, FittedAIM),
}

PRIVATE: tuple[str, ...] = tuple(n for n, method in CATALOG.items() if method.synthesizer.private)
"""The methods that have a private form; the others refuse a budget."""


def make(name: str, settings: dict[str, Any] | None = None) -> Synthesizer:
    """A synthesizer by name.

    Args:
        name: A key of `CATALOG`.
        settings: Fields of the method's config; nested configs as nested dicts.

    Raises:
        UsageError: No such method or setting.
    """
    if name not in CATALOG:
        raise UsageError(f"no method {name!r}", hint=f"there are: {', '.join(CATALOG)}")
    method = CATALOG[name]
    return method.synthesizer(_configured(method.config(), settings or {}, name))


def _configured(config: Any, settings: dict[str, Any], place: str) -> Any:
    known = set(config.__dataclass_fields__)
    unknown = sorted(set(settings) - known)
    if unknown:
        raise UsageError(
            f"{place}: no setting {unknown[0]!r}", hint=f"there are: {', '.join(sorted(known))}"
        )
    changes = {
        key: _configured(getattr(config, key), value, f"{place}.{key}")
        if isinstance(value, dict)
        else value
        for key, value in settings.items()
    }
    whole = {key: getattr(config, key) for key in known} | changes
    try:
        return TypeAdapter(type(config)).validate_python(whole)
    except ValidationError as error:
        first = error.errors()[0]
        setting = ".".join([place, *(str(part) for part in first["loc"])])
        raise UsageError(
            f"{setting}: {first['msg']}", hint="the settings are listed in docs/reference/config"
        ) from None


def load(folder: str | Path) -> Fitted:
    """The fitted model in a folder; no code in the folder is run.

    Raises:
        ModelError: The folder is missing, damaged, or of a method this version does not have.
    """
    model = read_model(folder)
    if model.method not in CATALOG:
        raise ModelError(
            f"{folder} holds a model of the method {model.method!r}, which is not known here",
            hint="use the version of pegai that wrote it",
        )
    try:
        return in_form(model, CATALOG[model.method].fitted.from_file)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise ModelError(
            f"{folder} lacks a part of a {model.method} model ({type(error).__name__})",
            hint="fit the model again, or copy the folder anew",
        ) from None
