"""What an audit found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One breach.

    Attributes:
        check: The check that found it, as in `record and replay`.
        where: Method and case, or mechanism.
        what: What was seen and what was expected.
    """

    check: str
    where: str
    what: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready content."""
        return asdict(self)
