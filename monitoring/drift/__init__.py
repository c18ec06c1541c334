"""The drift job: whether the traffic of an endpoint still looks like what its models were made for.

`run` judges one window of the log. `window` reads it with DuckDB, `references` finds what it is
compared with, `judge` and `parts` compare, `control` decides, `verdict` is the fixed form of what
comes out, `presets` adds Evidently's report, `page` writes ours on top of it, and `archive` keeps
both.
"""

from monitoring.drift.job import Request, run
from monitoring.drift.verdict import Verdict

__all__ = ["Request", "Verdict", "run"]
