"""What happened once, sent through a running server again, with what became of it.

| module      | what it does                                                             |
|-------------|--------------------------------------------------------------------------|
| `recording` | rows with their times and outcomes, from a file or from the project      |
| `client`    | requests over kept connections, tried again while the server is busy      |
| `run`       | the replay: pace, order in event time, feedback, and the summary         |
"""

from __future__ import annotations
