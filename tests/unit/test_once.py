"""Calls and usage count once over all logs, in whatever order and however often they are told."""

from __future__ import annotations

import pickle

from hypothesis import given
from hypothesis import strategies as st

from oa_compile.extract.once import Once
from oa_compile.extract.session import Usage

IDS = st.sampled_from(["a", "b", "toolu_1", "toolu_2", "\ud800", "日本"])
USAGE = st.builds(Usage, *(st.integers(0, 1000) for _ in range(4)))
LOG = st.tuples(st.lists(IDS), st.dictionaries(IDS, USAGE))


@given(st.lists(LOG))
def test_each_id_counts_once_and_usage_as_it_was_told_last(
    logs: list[tuple[list[str], dict[str, Usage]]],
) -> None:
    total, calls, messages = Once(), set(), {}
    for called, used in logs:
        log = Once()
        log.note(called, used)
        total.add(pickle.loads(pickle.dumps(log)))
        calls.update(called)
        messages.update(used)
    assert total.calls() == len(calls)
    assert total.usage() == sum(messages.values(), Usage())
    assert total.calls() == len(calls)  # asking changes nothing


def test_a_number_nobody_means_spoils_no_sum() -> None:
    once = Once()
    once.note([], {"m": Usage(10**30, 1), "n": Usage(5, 1)})
    assert once.usage() == Usage(2**40 + 5, 2)
