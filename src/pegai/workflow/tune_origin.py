"""Where settings that a tuning wrote come from, as keys of their file: a private fit asks.

Settings are public by the guarantee of a private fit. Ones that were chosen on the private data
without a charge are a look at them, so such a file says so in a key, not only in a comment:

| `tuned_on` | written by `pegai tune` | a private fit | a fit without privacy |
|---|---|---|---|
| none | `simulate`, or not at all | takes them | takes them |
| `"charged"` | `charge`, with `tuned_charges` | takes them: paid for in the ledger | takes them |
| `"private data"`, or anything else | without a budget | refuses them | takes them |

Methods don't know the keys: whoever reads settings calls `settings_for`, and where that is
forgotten the method refuses the key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pegai.errors import PrivacyError

TUNED_ON, TUNED_CHARGES = "tuned_on", "tuned_charges"
PRIVATE_DATA, CHARGED = "private data", "charged"


def origin(mode: str, spent: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The keys that say what a tuning looked at.

    Args:
        mode: `none`, `simulate` or `charge`.
        spent: What was charged, as lines of the ledger.
    """
    if mode == "none":
        return {TUNED_ON: PRIVATE_DATA}
    if mode == "charge":
        lines = [
            f"{line['dataset']}, line {line['ledger_line']}, {line['ledger_hash']}"
            for line in spent
        ]
        return {TUNED_ON: CHARGED, TUNED_CHARGES: lines}
    return {}


def settings_for(settings: Mapping[str, Any], *, private: bool) -> dict[str, Any]:
    """Settings without the keys about where they come from.

    Args:
        settings: As a file has them.
        private: Whether a fit with a budget will use them.

    Raises:
        PrivacyError: They are for a private fit, and were tuned on private data without a charge.
    """
    found = settings.get(TUNED_ON)
    if private and found is not None and found != CHARGED:
        raise PrivacyError(
            f"these settings have tuned_on = {found!r}: they were chosen on data without a charge, "
            "so a private fit with them would look at patients beyond its budget",
            hint="tune with the budget of the fit: pegai tune --epsilon --delta --private-mode "
            "simulate (free) or charge (on the data)",
        )
    return {k: v for k, v in settings.items() if k not in (TUNED_ON, TUNED_CHARGES)}
