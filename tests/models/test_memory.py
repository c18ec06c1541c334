"""A process takes no more memory than is free."""

import subprocess
import sys

import psutil

from models import memory

SCRIPT = """
import resource
from models import memory
memory.free = lambda: 2**30
memory.bound()
try:
    bytearray(2**31)
except MemoryError:
    print("refused")
resource.setrlimit(resource.RLIMIT_DATA, (2**29, -1))
memory.bound()
print(resource.getrlimit(resource.RLIMIT_DATA)[0] == 2**29)
"""


def test_what_is_free_is_less_than_there_is() -> None:
    assert 0 < memory.free() < psutil.virtual_memory().total


def test_a_larger_wish_is_refused_and_a_tighter_bound_stays() -> None:
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout.split() == ["refused", "True"]


def test_the_bound_is_what_is_free_and_the_kernel_ends_this_process_first() -> None:
    code = (
        "import resource, psutil; from models import memory;"
        "free = psutil.virtual_memory().available; memory.bound();"
        "print(resource.getrlimit(resource.RLIMIT_DATA)[0] / free);"
        "print(open('/proc/self/oom_score_adj').read())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    share, score = run.stdout.split()
    assert 0.8 < float(share) < 1.2
    assert score == "1000"
