from __future__ import annotations

import io
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

from benchmarks import report
from benchmarks.load import ClosedLoad
from benchmarks.openloop import OpenLoad
from benchmarks.results import Results
from benchmarks.verdicts import Verdict, judge

RESULTS = Results(
    closed={
        "a": {64: [ClosedLoad(31_000 + extra, 1.0, 2.0, 2.8, 9.0, extra, 1) for extra in (0, 2)]}
    },
    fixed={"a": [OpenLoad(12_400.0, 12_400, 12_400, 0.15, 1.09, 4.0, 0.34, 0, 0)]},
)


def text(table: Table) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def cells(table: Table, start: str) -> list[str]:
    (line,) = [line for line in text(table).splitlines() if start in line]
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_rates_are_medians_and_errors_are_sums() -> None:
    found = cells(report.figures(RESULTS, (1, 16, 64)), "64 conn")
    assert found[0].startswith("(a) bare uvicorn")
    assert found[1:] == ["64 conn", "31,000", "2.00", "2.80", "2", "2"]


def test_fixed_rate_stands_below() -> None:
    found = cells(report.figures(RESULTS, (1, 16, 64)), "fixed rate")
    assert found[1:] == ["fixed rate", "12,400", "0.15", "1.09", "0", "0"]


def test_batches_are_counted_in_rows_with_the_limit_beside() -> None:
    def load(answers: int, refused: int = 0) -> list[ClosedLoad]:
        return [ClosedLoad(answers + refused, 1.0, 1.0, 2.0, 3.0, refused, 0)]

    kinds = {"digits json": {32: load(100)}, "digits npy": {32: load(150, refused=2)}}
    limits = {"digits json": {32: load(1000)}, "digits npy": {32: load(4000)}}
    table = report.batch_table(Results(batches={"a": limits, "d": kinds}))
    assert cells(table, "(d)")[2:] == ["32", "3,200", "4,800", "1.5", "2"]
    assert cells(table, "(a)")[1:] == [
        "(a), which only decodes", "32", "32,000", "128,000", "4", "0",
    ]  # fmt: skip
    assert "flights" not in text(table)


def test_verdicts_name_measured_and_asked() -> None:
    table = report.verdict_table(
        [
            Verdict("speed", 0.39, 0.4, at_least=True),
            Verdict("memory", 1990.4, 2500, at_least=False),
            Verdict("growth", None, 0.05, at_least=False),
            Verdict("batches", 1.67, 4, at_least=True, limit=3.8),
        ]
    )
    assert cells(table, "speed")[1:] == ["0.39", "≥ 0.4", "", "FAIL"]
    assert cells(table, "memory")[1:] == ["1,990", "≤ 2500", "", "pass"]
    assert cells(table, "growth")[1:] == ["-", "≤ 0.05", "", "not measured"]
    assert cells(table, "batches")[1:] == ["1.67", "≥ 4", "3.8", "FAIL"]


def test_a_busy_machine_is_pointed_out() -> None:
    assert report.busy({"load_average": (0.5, 0.1, 0.1), "cores": 2}) is None
    assert "1.6 on 2 cores" in (report.busy({"load_average": (1.6, 0.1, 0.1), "cores": 2}) or "")


def test_the_file_holds_every_round_and_every_verdict(tmp_path: Path) -> None:
    path = report.write(tmp_path / "new", report.machine(), RESULTS, judge(RESULTS))
    document = orjson.loads(path.read_bytes())
    assert document["machine"]["cores"] >= 1
    rounds = document["results"]["closed"]["a"]["64"]
    assert [one["answers"] for one in rounds] == [31_000, 31_002]
    assert len(document["verdicts"]) == len(judge(RESULTS))
    assert {one["passed"] for one in document["verdicts"]} == {None}
