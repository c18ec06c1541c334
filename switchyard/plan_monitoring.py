"""Sections of the plan about watching: drift of an endpoint, what the log keeps, what is logged."""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

from pydantic import Field as Setting
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, field_validator

from switchyard.formats import Duration
from switchyard.plan_problems import wrong
from switchyard.section import Section

__all__ = ["METHODS", "Drift", "DriftField", "Level", "LogSettings", "Logging", "Method"]

Method = Literal["ks", "psi", "wasserstein", "js", "chi2"]
"""Kolmogorov-Smirnov, population stability index, Wasserstein, Jensen-Shannon, chi-square."""

Level = Literal["debug", "info", "warning", "error"]
"""Levels of the log."""

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
        level: Stated rate of false alarms of a whole report: data, predictions and performance.
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
        keep_days: How long a day of the log is kept after its end; left out, for ever.
        keep_gb: Size from which on the oldest files are deleted, in units of 1,073,741,824 bytes;
            left out, none.
        store: URL of a folder (`s3://bucket/folder`, `file:///folder`, or of another fsspec store)
            that Parquet files are moved to; left out, they stay on the local disk.
    """

    roll_seconds: PositiveFloat = 120
    roll_mb: PositiveFloat = 64
    keep_days: PositiveFloat | None = None
    keep_gb: PositiveFloat | None = None
    store: str | None = None

    @field_validator("store")
    @classmethod
    def _is_folder(cls, store: str | None) -> str | None:
        if store is None:
            return None
        # Whoever writes a password here must not find it in a log.
        shown = re.sub("//[^/]*@", "//***@", store.partition("?")[0])
        try:
            parts = urlsplit(store)
        except ValueError:  # a bracket that is never closed
            parts = urlsplit("")
        if not parts.scheme or not (parts.netloc or parts.path.strip("/")):
            raise wrong(f"is {shown!r}, but must be a URL like 's3://bucket/folder'")
        if parts.scheme == "s3" and not parts.netloc:
            raise wrong(f"is {shown!r}, which names no bucket; write 's3://bucket/folder'")
        if parts.scheme == "file" and parts.netloc:
            raise wrong(f"is {shown!r}, but a local folder is written 'file:///folder'")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise wrong(
                f"is {shown!r} with more than a bucket and a folder; credentials and the server's "
                "address come from the environment, for S3 from the variables of AWS"
            )
        return store.rstrip("/")


class Logging(Section):
    """What the processes log about themselves and about requests.

    Attributes:
        level: Lowest level that is logged.
        access: Share of the successful requests that get a line; failed ones always do, unless this
            is null: then no request does.
        fields: Whether lines hold the values of fields; never unless this is true.
    """

    level: Level = "info"
    access: Annotated[NonNegativeFloat, Setting(le=1)] | None = None
    fields: bool = False
