"""Pairing: a result is a call's only when no other call of that name waits."""

from __future__ import annotations

from oa_compile.extract.pairing import MAX_WAITING, Pairing


def test_of_several_none_is_believed_until_all_are_answered() -> None:
    pairing = Pairing()
    for call_id in ("1", "2", "3"):
        pairing.called("a", call_id)
    assert [pairing.returned("a") for _ in range(4)] == [None] * 4
    pairing.called("a", "4")
    assert pairing.returned("a") == "4"
    assert pairing.returned("a") is None


def test_calls_nobody_answers_do_not_pile_up() -> None:
    pairing = Pairing()
    for number in range(3 * MAX_WAITING):
        pairing.called(f"once {number}", str(number))
        pairing.called(f"twice {number}", "x")
        pairing.called(f"twice {number}", "y")
    last = 3 * MAX_WAITING - 1
    assert pairing.returned(f"once {last - MAX_WAITING}") is None, "forgotten"
    assert pairing.returned(f"once {last}") == str(last)
    assert pairing.returned(f"twice {last}") is None
