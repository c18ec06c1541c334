from __future__ import annotations

import pytest
import sqlalchemy as sa

from switchyard import database
from switchyard.errors import NotReady
from switchyard.state import State
from switchyard.state.part import Part, transaction


def test_a_reader_sees_one_moment(url: str) -> None:
    engine = database.connect(url)
    state = State(engine)
    state.set_alias("m", "production", "1", "ada", "")
    query = sa.select(database.aliases.c.version)
    with transaction(Part(engine)._reader) as db:
        assert db.execute(query).scalars().all() == ["1"]
        state.set_alias("m", "production", "2", "ada", "")
        state.set_alias("m", "staging", "3", "ada", "")
        assert db.execute(query).scalars().all() == ["1"]
    assert state.alias("m", "production") == "2"
    engine.dispose()


@pytest.mark.parametrize(
    "error",
    [sa.exc.OperationalError, sa.exc.InternalError, sa.exc.DatabaseError, sa.exc.InterfaceError],
)
def test_what_the_database_cannot_do_now_is_not_ready(
    url: str, error: type[sa.exc.DBAPIError]
) -> None:
    engine = database.connect(url)
    cause = Exception("it is read-only now")
    with pytest.raises(NotReady, match="it is read-only now"), transaction(engine):
        raise error("SELECT", {}, cause)
    engine.dispose()


def test_what_a_statement_does_wrong_is_not_hidden(url: str) -> None:
    engine = database.connect(url)
    with pytest.raises(sa.exc.IntegrityError), transaction(engine):
        raise sa.exc.IntegrityError("INSERT", {}, Exception("taken"))
    engine.dispose()
