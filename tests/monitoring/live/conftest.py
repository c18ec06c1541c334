from __future__ import annotations

import pytest
from counted import make_profile

from models.drift.profile import Profile


@pytest.fixture(scope="session")
def reference() -> Profile:
    """The profile of 3,000 made-up rows."""
    return make_profile()
