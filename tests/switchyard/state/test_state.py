from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from switchyard.state import State, iso


def test_threads_may_share_a_state(state: State) -> None:
    def write(i: int) -> str | None:
        state.set_alias("m", f"alias-{i}", str(i), "thread", "race")
        return state.alias("m", f"alias-{i}")

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(write, range(32))) == [str(i) for i in range(32)]
    assert len(state.alias_history("m")) == 32


moments = st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1), timezones=st.timezones())


@given(moments, moments)
def test_times_sort_as_text_as_they_do_as_times(one: datetime, other: datetime) -> None:
    utc_one, utc_other = one.astimezone(UTC), other.astimezone(UTC)
    assert (iso(one) < iso(other)) == (utc_one < utc_other)
    assert datetime.fromisoformat(iso(one)) == utc_one
