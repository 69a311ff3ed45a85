from __future__ import annotations

from pegai.audit.canaries import gradient_canary, one_run


def test_the_gradient_canary_keeps_and_nearly_reaches_the_claim() -> None:
    audit = gradient_canary(runs=4000)
    assert audit.findings == ()
    assert audit.mu_seen >= 0.75 * audit.mu  # its 95 % interval is +- 0.09 of 0.5


def test_one_training_with_many_canaries() -> None:
    found = one_run()
    assert found.findings == ()
    assert 0.5 < found.epsilon_low < found.epsilon
    assert found.correct > 0.8 * found.guesses
    assert found.to_dict()["canaries"] == found.canaries
