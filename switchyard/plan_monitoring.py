"""Sections of the plan about watching: drift of an endpoint, what the log keeps, what is logged."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field as Setting
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from switchyard.formats import Duration
from switchyard.section import Section

__all__ = ["METHODS", "Drift", "DriftField", "LogSettings", "Logging", "Method"]

Method = Literal["ks", "psi", "wasserstein", "js", "chi2"]
"""Kolmogorov-Smirnov, population stability index, Wasserstein, Jensen-Shannon, chi-square."""

METHODS: tuple[Method, ...] = get_args(Method)

Share = Annotated[float, Setting(gt=0, lt=1)]


class DriftField(Section):
    """How one field is judged.

    Attributes:
        method: The score; left out, Kolmogorov-Smirnov for numbers, PSI for categories.
        threshold: Score from which on it has drifted; left out, the null quantile of its manifest.
    """

    method: Method | None = None
    threshold: PositiveFloat | None = None


class Drift(Section):
    """How the traffic of an endpoint is compared with the reference of its models.

    Attributes:
        window: Seconds of traffic that are judged.
        every: Seconds between two scheduled reports.
        live_window: Seconds that the live scores look back.
        level: Stated rate of false alarms of a whole report.
        control: How that rate is kept over many fields: `bh` (Benjamini-Hochberg), or `share`:
            alarm when at least that share of the fields has drifted.
        share: That share.
        minimum: Rows below which a window is not judged.
        fields: How single fields are judged, by name.
        ignore: Fields that are not judged.
    """

    window: Duration = 86_400.0
    every: Duration = 3_600.0
    live_window: Duration = 3_600.0
    level: Share = 0.05
    control: Literal["bh", "share"] = "bh"
    share: Share = 0.3
    minimum: PositiveInt = 200
    fields: dict[str, DriftField] = Setting(default_factory=dict)
    ignore: list[str] = Setting(default_factory=list)


class LogSettings(Section):
    """When a segment becomes a Parquet file, and what becomes of Parquet files.

    Attributes:
        roll_seconds: Age at which a segment becomes a Parquet file.
        roll_mb: Size at which it does, in units of 1,048,576 bytes.
        keep_days: Age at which days of the log are deleted; left out, never.
        keep_gb: Size from which on the oldest files are deleted, in units of 1,073,741,824 bytes;
            left out, none.
        store: URL of a folder (`s3://bucket/folder`, or of another fsspec store) that Parquet files
            are moved to; left out, they stay on the local disk.
    """

    roll_seconds: PositiveFloat = 120
    roll_mb: PositiveFloat = 64
    keep_days: PositiveFloat | None = None
    keep_gb: PositiveFloat | None = None
    store: str | None = None


class Logging(Section):
    """What the processes log about themselves and about requests.

    Attributes:
        level: Lowest level that is logged.
        access: Share of the successful requests that get a line; failed ones always do, unless this
            is null: then no request does.
        fields: Whether lines hold the values of fields; never unless this is true.
    """

    level: Literal["debug", "info", "warning", "error"] = "info"
    access: Annotated[NonNegativeFloat, Setting(le=1)] | None = None
    fields: bool = False
