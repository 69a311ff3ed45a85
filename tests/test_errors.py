"""The error tree: exit codes, hints, and the way across process borders."""

import pickle

import pytest

from pegai import errors

TREE = [
    (errors.UsageError, 2),
    (errors.SchemaError, 2),
    (errors.DataError, 2),
    (errors.ModelError, 2),
    (errors.MissingExtraError, 2),
    (errors.GateFailedError, 1),
    (errors.PrivacyError, 3),
    (errors.BudgetExceededError, 3),
    (errors.PrivateDomainError, 3),
    (errors.SeedRefusedError, 3),
    (errors.IdentifierError, 3),
    (errors.PlanError, 3),
    (errors.FederationError, 3),
    (errors.LedgerError, 3),
]


@pytest.mark.parametrize(("kind", "code"), TREE)
def test_exit_code_and_base(kind, code):
    assert kind.exit_code == code
    assert issubclass(kind, errors.PegaiError)


def test_the_tree_is_complete():
    found = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.PegaiError)
    }
    assert found - {errors.PegaiError} == {kind for kind, _ in TREE}
    for kind in found:
        assert kind.__name__ in (errors.__doc__ or "")


def test_refusals_are_privacy_errors():
    refused = [kind for kind, code in TREE if code == 3]
    assert all(issubclass(kind, errors.PrivacyError) for kind in refused)


def test_text_holds_message_and_hint():
    error = errors.DataError("column 'age' has 3 texts", hint="correct them")
    assert str(error) == "column 'age' has 3 texts\n  correct them"
    assert str(errors.DataError("only this")) == "only this"


@pytest.mark.parametrize(("kind", "code"), TREE)
def test_survives_a_process_border(kind, code):
    # The test's own pickle of an exception, as joblib does it; pegai itself reads no pickle.
    again = pickle.loads(pickle.dumps(kind("what", hint="do")))  # noqa: S301
    assert (type(again), again.message, again.hint) == (kind, "what", "do")
