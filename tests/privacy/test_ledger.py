"""The ledger: nothing edited passes, nothing over budget is written, nothing is lost."""

import json
import multiprocessing
import os
import stat
import sys

import pytest

from pegai.errors import BudgetExceededError, LedgerError, PrivacyError
from pegai.privacy import ExponentialEvent, Ledger, Plan
from pegai.privacy.ledger_account import DEFAULT_DELTA, DEFAULT_EPSILON
from pegai.privacy.ledger_chain import canonical, line_hash

# Other tests of the run may have started threads; the children here use none of them.
FORK = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def plan(epsilon=1.0, delta=1e-4):
    return Plan((ExponentialEvent("choice", epsilon),), epsilon, delta, ("levels: dictionary",))


def charge(ledger, epsilon=1.0, *, dataset="ward", table=b"table", label="fit"):
    return ledger.charge(
        dataset=dataset,
        fingerprint=ledger.fingerprint([table]),
        unit="patient",
        plan=plan(epsilon),
        label=label,
    )


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "deep" / "ledger.jsonl")


@pytest.fixture
def filled(ledger):
    ledger.set_budget("ward", 5.0, 1e-2)
    charge(ledger, 1.0)
    charge(ledger, 0.5, label="second")
    return ledger


def test_an_absent_ledger_is_empty_and_stays_absent(ledger):
    assert ledger.entries() == []
    assert ledger.verify() == []
    assert ledger.spent("ward") == (0.0, 0.0)
    assert ledger.budget("ward") == (DEFAULT_EPSILON, DEFAULT_DELTA)
    assert not ledger.path.parent.exists()


def test_entries_say_what_was_spent(filled):
    start, budget, first, second = filled.entries()
    assert (start.kind, budget.kind, first.kind) == ("start", "budget", "charge")
    assert (budget.epsilon, budget.delta) == (5.0, 1e-2)
    assert (first.dataset, first.unit, first.label) == ("ward", "patient", "fit")
    assert first.events == plan().events
    assert second.index == 3
    assert filled.spent("ward") == (1.5, 2e-4)
    assert filled.verify() == []


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are POSIX")
def test_only_the_owner_reads_the_ledger(filled):
    assert stat.S_IMODE(filled.path.stat().st_mode) == 0o600


def test_every_flipped_byte_is_found(filled):
    for path in (filled.path, filled.head_path):
        whole = path.read_bytes()
        for place in range(len(whole)):
            mask = (0x01, 0x20, 0x80)[place % 3]
            path.write_bytes(whole[:place] + bytes([whole[place] ^ mask]) + whole[place + 1 :])
            assert filled.verify(), (path.name, place, mask)
        path.write_bytes(whole)
    assert filled.verify() == []


def test_a_damaged_ledger_answers_nothing_and_takes_nothing(filled):
    data = filled.path.read_bytes().replace(b'"epsilon":0.5', b'"epsilon":0.1')
    filled.path.write_bytes(data)
    problem = filled.verify()[0]
    assert problem.line == 4
    for use in (
        filled.entries,
        lambda: filled.spent("ward"),
        lambda: filled.fingerprint([b""]),
        lambda: filled.set_budget("ward", 9.0, 0.1),
        lambda: filled.check(dataset="ward", plan=plan()),
        lambda: filled.charge(
            dataset="ward", fingerprint="", unit="patient", plan=plan(), label="x"
        ),
    ):
        with pytest.raises(LedgerError, match="line 4"):
            use()
    assert filled.path.read_bytes() == data


@pytest.mark.parametrize(
    "edit",
    [
        lambda lines: lines[:-1],
        lambda lines: lines[:1],
        lambda lines: [],
        lambda lines: [*lines[:1], *lines[2:]],
        lambda lines: [lines[0], lines[2], lines[1], lines[3]],
        lambda lines: [*lines, lines[-1]],
        lambda lines: [*lines[:2], lines[1], *lines[2:]],
        lambda lines: [*lines, b""],
        lambda lines: [*lines, b"{}"],
        lambda lines: lines[1:],
    ],
)
def test_lines_removed_moved_or_inserted_are_found(filled, edit):
    lines = filled.path.read_bytes().split(b"\n")[:-1]
    filled.path.write_bytes(b"".join(line + b"\n" for line in edit(lines)))
    assert filled.verify()


def test_a_line_forged_with_a_right_hash_is_found_by_the_next_or_by_the_head(filled):
    lines = filled.path.read_bytes().split(b"\n")[:-1]
    for number in (2, 3):
        body = json.loads(lines[number])
        body["epsilon"] = 0.01
        del body["hash"]
        forged = canonical({**body, "hash": line_hash(body)})
        edited = [*lines[:number], forged, *lines[number + 1 :]]
        filled.path.write_bytes(b"".join(line + b"\n" for line in edited))
        assert filled.verify()


def test_missing_files_are_found(filled):
    head = filled.head_path.read_bytes()
    filled.head_path.unlink()
    assert "head" in filled.verify()[0].message
    filled.head_path.write_bytes(head)
    filled.path.unlink()
    assert "missing" in filled.verify()[0].message
    with pytest.raises(LedgerError):
        charge(filled)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[]", b"null", b'{"count":NaN}', b"[" * 5000])
def test_files_that_are_no_ledger_are_problems_not_tracebacks(filled, content):
    for path in (filled.path, filled.head_path):
        whole = path.read_bytes()
        path.write_bytes(content + b"\n")
        assert filled.verify()
        path.write_bytes(whole)


def test_over_budget_is_refused_and_nothing_is_written(filled):
    before = filled.path.read_bytes(), filled.head_path.read_bytes()
    with pytest.raises(BudgetExceededError, match=r"3\.5 left of 5"):
        charge(filled, 3.6)
    with pytest.raises(BudgetExceededError):
        filled.check(dataset="ward", plan=plan(3.6))
    filled.check(dataset="ward", plan=plan(3.5))
    assert (filled.path.read_bytes(), filled.head_path.read_bytes()) == before


def test_delta_has_a_budget_too(ledger):
    ledger.set_budget("ward", 10.0, 1e-4)
    charge(ledger, 0.1)
    with pytest.raises(BudgetExceededError, match="delta"):
        charge(ledger, 0.1)


def test_a_budget_can_be_spent_to_its_last_digit(ledger):
    ledger.set_budget("ward", 0.3, 1e-2)
    for _ in range(3):
        charge(ledger, 0.1)
    with pytest.raises(BudgetExceededError):
        charge(ledger, 1e-6)


def test_the_default_budget_holds_where_none_is_set(ledger):
    charge(ledger, 10.0)
    with pytest.raises(BudgetExceededError):
        charge(ledger, 0.01)
    ledger.set_budget("ward", 11.0, 1e-2)
    charge(ledger, 1.0)


@pytest.mark.parametrize(("epsilon", "delta"), [(0, 0.1), (float("inf"), 0.1), (1, 0), (1, 1)])
def test_budgets_out_of_range_are_refused(ledger, epsilon, delta):
    with pytest.raises(PrivacyError):
        ledger.set_budget("ward", epsilon, delta)
    with pytest.raises(PrivacyError):
        ledger.set_budget("", 1.0, 0.1)


def test_a_new_name_or_a_new_version_of_a_table_does_not_start_from_nothing(ledger):
    charge(ledger, 4.0, dataset="ward", table=b"2024")
    charge(ledger, 1.0, dataset="ward", table=b"2025")
    charge(ledger, 2.0, dataset="clinic", table=b"2025")
    charge(ledger, 3.0, dataset="elsewhere", table=b"other")
    assert ledger.spent("ward")[0] == 7.0
    assert ledger.spent("brand new", ledger.fingerprint([b"2024"]))[0] == 7.0
    assert ledger.spent("elsewhere")[0] == 3.0
    assert ledger.spent("unknown")[0] == 0.0
    with pytest.raises(BudgetExceededError):
        charge(ledger, 3.5, dataset="brand new", table=b"2024")


def test_the_strictest_budget_of_linked_names_counts(ledger):
    ledger.set_budget("ward", 2.0, 1e-2)
    charge(ledger, 1.0, dataset="ward")
    print_of_table = ledger.fingerprint([b"table"])
    assert ledger.budget("other name", print_of_table)[0] == 2.0
    with pytest.raises(BudgetExceededError):
        charge(ledger, 1.5, dataset="other name")


def test_fingerprints_are_keyed_and_blind_to_chunking(ledger, tmp_path):
    one = ledger.fingerprint([b"abc", b"def"])
    assert one == ledger.fingerprint([b"abcdef"]) == ledger.fingerprint(iter([b"a", b"bcdef"]))
    assert one != ledger.fingerprint([b"abcdeg"])
    assert one != Ledger(tmp_path / "other.jsonl").fingerprint([b"abcdef"])
    assert len(one) == 64


@pytest.mark.parametrize("written", [0, 1, 40, None])
def test_a_crash_while_charging_leaves_it_charged(filled, monkeypatch, written):
    """The power fails after the head named the line and some of the line was written."""

    def fail(self, line):
        with self.path.open("ab") as file:
            file.write((line.encode() + b"\n")[:written])
        raise KeyboardInterrupt

    monkeypatch.setattr(Ledger, "_write_line", fail)
    with pytest.raises(KeyboardInterrupt):
        charge(filled, 2.0)
    monkeypatch.undo()
    assert filled.verify() == []
    filled.fingerprint([b""])  # any writer finishes what was begun
    assert filled.spent("ward")[0] == 3.5
    assert filled.verify() == []
    charge(filled, 0.25)
    assert filled.spent("ward")[0] == 3.75


def test_what_was_under_way_is_among_the_entries_once_it_is_settled(filled, monkeypatch):
    before = len(filled.entries())

    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "_write_line", stopped)
        with pytest.raises(KeyboardInterrupt):
            filled.set_budget("ward", 1.0, 1e-5)
    filled.settle()
    assert len(filled.entries()) == before + 1
    filled.settle()
    assert len(filled.entries()) == before + 1


def test_a_torn_line_that_no_head_announced_is_damage(filled):
    with filled.path.open("ab") as file:
        file.write(b'{"dataset":')
    assert "not complete" in filled.verify()[0].message


def test_a_full_disk_refuses_the_run(filled, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LedgerError, match="nothing was run"):
        charge(filled)


def _charge_often(path, times):
    ledger = Ledger(path)
    for _ in range(times):
        charge(ledger, 0.125)


@FORK
def test_processes_that_charge_at_once_are_all_counted(ledger):
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    workers = [context.Process(target=_charge_often, args=(ledger.path, 5)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert ledger.verify() == []
    assert ledger.spent("ward")[0] == 20 * 0.125


def _charge_until_refused(path, queue):
    ledger = Ledger(path)
    taken = 0
    try:
        while True:
            charge(ledger, 0.5)
            taken += 1
    except BudgetExceededError:
        queue.put(taken)


@FORK
def test_processes_that_charge_at_once_never_overspend(ledger):
    ledger.set_budget("ward", 4.0, 1e-2)
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    queue = context.Queue()
    workers = [
        context.Process(target=_charge_until_refused, args=(ledger.path, queue)) for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    taken = sum(queue.get(timeout=60) for _ in workers)
    for worker in workers:
        worker.join(60)
    assert taken == 8
    assert ledger.spent("ward")[0] == 4.0


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_that_can_not_be_written_is_named(tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    with pytest.raises(LedgerError, match="can't be written"):
        Ledger(folder / "ledger.jsonl").set_budget("ward", 1.0, 1e-3)


def test_names_in_any_script_are_kept(ledger):
    ledger.set_budget("Kardiologie Süd 心臓", 1.0, 1e-3)
    assert ledger.entries()[-1].dataset == "Kardiologie Süd 心臓"
    assert ledger.verify() == []
