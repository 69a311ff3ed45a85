from __future__ import annotations

import json

import pytest

from pegai.audit.suite import CHECKS, AuditRequest, run_audit
from pegai.errors import PrivacyError, UsageError
from pegai.schema import schema_from_dict


def test_the_whole_audit_finds_nothing_and_says_what_it_did() -> None:
    told: list[tuple[str, float]] = []
    report = run_audit(
        AuditRequest(("independent",), runs=1000),
        told=lambda what, share: told.append((what, share)),
    )
    assert report.findings == ()
    assert {r.method for r in report.replayed} == {"independent"}
    assert "independent" in {a.where for a in report.audited}
    assert report.canaries is not None
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert 0 <= shares[0] < shares[-1] < 1
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["findings"] == []


def test_a_schema_of_ones_own_is_audited() -> None:
    field = {"name": "x", "type": "integer", "constraints": {"minimum": 0, "maximum": 9}}
    schema = schema_from_dict({"fields": [{**field, "pegai": {"source": "expert"}}]})
    report = run_audit(AuditRequest(("mst", "aim"), (schema,), ("replay", "gdp"), runs=1000))
    assert report.findings == ()
    assert {r.method for r in report.replayed} == {"mst", "aim"}


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"checks": ("nope",)}, UsageError, "no check 'nope'"),
        ({"checks": ()}, UsageError, "no check was named"),
        ({"methods": ("nope",)}, UsageError, "no method 'nope'"),
        ({"runs": 1}, UsageError, "runs must lie"),
        ({"epsilon": 0.0}, PrivacyError, "epsilon"),
        ({"epsilon": float("nan")}, PrivacyError, "epsilon"),
        ({"delta": 1.0}, PrivacyError, "delta"),
    ],
)
def test_wrong_requests_are_refused(
    wrong: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        AuditRequest(**wrong)  # type: ignore[arg-type]
    assert set(AuditRequest().checks) == set(CHECKS)
