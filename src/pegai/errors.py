"""Errors that say the rule, the value that broke it, and the way out.

```
PegaiError                     exit code 2
├── UsageError                 2   an argument or a configuration file is wrong
├── SchemaError                2   a schema file breaks a rule of the format
├── DataError                  2   a table can't be read, or does not fit its schema
├── ModelError                 2   a model folder is corrupted, truncated or of another version
├── MissingExtraError          2   an optional package is not installed
├── GateFailedError            1   a check that was asked for did not hold
└── PrivacyError               3   refused: it would break the guarantee
    ├── BudgetExceededError    3   the data set's budget does not cover the request
    ├── PrivateDomainError     3   bounds or categories were read from the private data
    ├── SeedRefusedError       3   a private fit was given a seed
    ├── IdentifierError        3   a direct identifier or free text would reach the model
    ├── PlanError              3   a mechanism was asked to run outside its plan
    ├── FederationError        3   a site or the coordinator did what the plan does not allow
    └── LedgerError            3   the ledger is damaged or was edited
```

Messages never hold a value of the private table: they name the column and the count.
"""

from __future__ import annotations


class PegaiError(Exception):
    """Base of every error a user can cause.

    Args:
        message: The rule and the value that broke it, in one sentence.
        hint: What to do about it.

    Attributes:
        exit_code: What the command line returns for it.
    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders (parallel fits); the hint is keyword-only.
        return (_rebuild, (type(self), self.message, self.hint))


def _rebuild(kind: type[PegaiError], message: str, hint: str) -> PegaiError:
    return kind(message, hint=hint)


class UsageError(PegaiError):
    """An argument or a configuration file is wrong."""


class SchemaError(PegaiError):
    """A schema breaks a rule of the format."""


class DataError(PegaiError):
    """A table can't be read, or does not fit its schema."""


class ModelError(PegaiError):
    """A model folder is corrupted, truncated or of another version."""


class MissingExtraError(PegaiError):
    """An optional package is not installed."""


class GateFailedError(PegaiError):
    """A check that was asked for did not hold."""

    exit_code = 1


class PrivacyError(PegaiError):
    """Refused because it would break the privacy guarantee."""

    exit_code = 3


class BudgetExceededError(PrivacyError):
    """The budget of the data set does not cover the request."""


class PrivateDomainError(PrivacyError):
    """Bounds or categories were read from the private data."""


class SeedRefusedError(PrivacyError):
    """A private fit was given a seed."""


class IdentifierError(PrivacyError):
    """A direct identifier or free text would reach the model."""


class PlanError(PrivacyError):
    """A mechanism was asked to run outside the plan that was charged."""


class FederationError(PrivacyError):
    """A site or the coordinator of a federated run did what its plan does not allow."""


class LedgerError(PrivacyError):
    """The ledger is damaged or was edited."""
