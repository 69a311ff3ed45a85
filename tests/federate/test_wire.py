"""Messages: they come back as they were, and nothing else is read."""

from __future__ import annotations

import io
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pegai.errors import FederationError
from pegai.federate.wire import Message, digest

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.text(max_size=4), plain, max_size=4),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5),
)
def test_a_message_comes_back(body: dict[str, object], numbers: list[int]) -> None:
    message = Message(body, {"values": np.array(numbers, np.int64)})
    back = Message.from_bytes(message.to_bytes())
    assert back.body == body
    assert back.arrays["values"].tolist() == numbers
    assert digest(back.body) == digest(body)


def archive(compression: int = zipfile.ZIP_STORED, **members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def npy(array: np.ndarray, *, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def body(text: bytes) -> bytes:
    return npy(np.frombuffer(text, np.uint8))


class Bomb:
    """Whoever unpickles it is told so."""

    def __reduce__(self) -> tuple[object, ...]:
        return (exec, ("raise SystemExit('a pickle was read')",))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"nonsense",
        pickle.dumps(Bomb()),
        archive(values=npy(np.zeros(3))),
        archive(body=body(b"[1]")),
        archive(body=body(b"{]")),
        archive(body=body(b"\xff\xfe")),
        archive(body=npy(np.array([Bomb()], object), allow_pickle=True)),
        archive(body=body(b"{}"), x=npy(np.array([Bomb()], object), allow_pickle=True)),
        archive(body=body(b"{}"), x=npy(np.array(["text"]))),
        archive(body=body(b"{}"), x=npy(np.zeros(3, np.complex128))),
        archive(zipfile.ZIP_DEFLATED, body=body(b"{}"), x=npy(np.zeros(10**6))),
        archive(body=body(b"{}"))[:-30],
        archive(body=body(b"[" * 20_000)),
    ],
)
def test_what_is_no_message_is_refused(raw: bytes) -> None:
    """Neither a pickle nor a file that grows when it is read."""
    with pytest.raises(FederationError):
        Message.from_bytes(raw)


def test_only_plain_numbers_are_sent() -> None:
    with pytest.raises(TypeError):
        Message({}, {"x": np.array(["a"])}).to_bytes()
    with pytest.raises(ValueError, match="JSON"):
        Message({"x": float("nan")}).to_bytes()
