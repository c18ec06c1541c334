"""Stands in for curl, with the options that the pages use, on machines that have none."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import httpx


def body(text: str, *, binary: bool) -> bytes:
    content = Path(text[1:]).read_bytes() if text.startswith("@") else text.encode()
    return content if binary else content.replace(b"\r", b"").replace(b"\n", b"")


def main() -> int:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("url")
    parser.add_argument("-H", dest="headers", action="append", default=[])
    parser.add_argument("-d", dest="data")
    parser.add_argument("--data-binary", dest="binary")
    parser.add_argument("-o", dest="output", type=Path)
    given = parser.parse_args()
    headers = dict(header.split(": ", 1) for header in given.headers)
    content = None
    if given.binary or given.data:
        content = body(given.binary or given.data, binary=given.binary is not None)
    method = "GET" if content is None else "POST"
    url = given.url if "://" in given.url else f"http://{given.url}"
    response = httpx.request(method, url, content=content, headers=headers, timeout=30)
    if given.output is None:
        sys.stdout.buffer.write(response.content)
    else:
        given.output.write_bytes(response.content)
    settings = (Path(os.environ["CURL_HOME"]) / ".curlrc").read_text()
    return 22 if "fail-with-body" in settings and response.is_error else 0


if __name__ == "__main__":
    sys.exit(main())
