from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from services.dataplane import hop
from services.dataplane.hop import Address, HopClient, HopClosed

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def read_request(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in head[1:] if line)
    return head[0], headers, await reader.readexactly(int(headers["content-length"]))


def answer(body: bytes, more: str = "") -> bytes:
    return f"HTTP/1.1 200 OK\r\n{more}content-length: {len(body)}\r\n\r\n".encode() + body


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        try:
            _, _, body = await read_request(reader)
        except asyncio.IncompleteReadError:
            writer.close()
            return
        writer.write(answer(body))


@asynccontextmanager
async def serving(folder: Path, serve: Serve) -> AsyncIterator[HopClient]:
    socket = folder / "host.sock"
    server = await asyncio.start_unix_server(serve, str(socket))
    client = HopClient(Address.parse(f"file://{socket}", token="unused"))
    try:
        yield client
    finally:
        client.close()
        server.close()


def test_answers_come_back_whole_and_the_connection_is_kept(tmp_path: Path) -> None:
    opened = 0

    async def counting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        await echo(reader, writer)

    async def scenario() -> None:
        async with serving(tmp_path, counting) as client:
            for size in (0, 1, 3_000_000):
                reply = await client.request("POST", "/x", b"a" * size)
                assert (reply.status, len(reply.body)) == (200, size)

    uvloop.run(scenario())
    assert opened == 1


def test_calls_at_the_same_time_get_their_own_answers(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, echo) as client:
            bodies = [str(n).encode() for n in range(50)]
            replies = await asyncio.gather(*(client.request("POST", "/", b) for b in bodies))
            assert [reply.body for reply in replies] == bodies

    uvloop.run(scenario())


def test_an_answer_in_pieces_and_in_chunks_is_put_together(tmp_path: Path) -> None:
    async def in_pieces(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        pieces = (
            b"HTTP/1.1 200 OK\r\ntransfer-",
            b"encoding: chunked\r\n\r\n3\r\nab",
            b"c\r\n",
            b"1\r\nd\r\n0\r\n\r\n",
        )
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)

    async def scenario() -> None:
        async with serving(tmp_path, in_pieces) as client:
            assert (await client.request("POST", "/")).body == b"abcd"

    uvloop.run(scenario())


def test_a_host_that_closes_before_the_answer_is_a_closed_hop(tmp_path: Path) -> None:
    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
        writer.close()

    async def scenario() -> None:
        async with serving(tmp_path, rude) as client:
            with pytest.raises(HopClosed):
                await client.request("POST", "/")

    uvloop.run(scenario())


def test_what_is_not_http_is_a_closed_hop(tmp_path: Path) -> None:
    async def noise(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"SSH-2.0-OpenSSH\r\n")

    async def scenario() -> None:
        async with serving(tmp_path, noise) as client:
            with pytest.raises(HopClosed):
                await client.request("POST", "/")

    uvloop.run(scenario())


def test_a_late_answer_is_never_taken_for_the_next_ones(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, _, body = await read_request(reader)
        if body == b"late":
            await release.wait()
        writer.write(answer(body))

    async def scenario() -> None:
        async with serving(tmp_path, slow) as client:
            with pytest.raises(TimeoutError):
                await client.request("POST", "/", b"late", timeout=0.05)
            release.set()
            assert (await client.request("POST", "/", b"next")).body == b"next"

    uvloop.run(scenario())


def test_close_ends_calls_in_flight(tmp_path: Path) -> None:
    arrived = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        arrived.set()

    async def scenario() -> None:
        async with serving(tmp_path, silent) as client:
            call = asyncio.create_task(client.request("POST", "/", timeout=30))
            await arrived.wait()
            client.close()
            with pytest.raises(HopClosed):
                await call

    uvloop.run(scenario())


def test_the_socket_is_reached_after_its_folder_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "uds"
    folder.mkdir()

    async def scenario() -> None:
        async with serving(folder, echo) as client:
            shutil.rmtree(folder)
            assert (await client.request("POST", "/", b"still")).body == b"still"

    uvloop.run(scenario())


def test_nobody_listening_is_a_closed_hop() -> None:
    client = HopClient(Address.parse("http://127.0.0.1:9", token="t"))
    with pytest.raises(HopClosed):
        uvloop.run(client.request("GET", "/"))


def test_over_tcp_the_token_goes_along() -> None:
    async def scenario() -> None:
        seen: list[dict[str, str]] = []

        async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append((await read_request(reader))[1])
            writer.write(answer(b"", "connection: close\r\n"))
            writer.close()

        server = await asyncio.start_server(note, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        client = HopClient(Address.parse(f"http://127.0.0.1:{port}", token="secret"))
        await client.request("GET", "/")
        await client.request("GET", "/")
        server.close()
        assert [headers["authorization"] for headers in seen] == ["Bearer secret"] * 2

    uvloop.run(scenario())


@pytest.mark.parametrize(("seconds", "connections"), [((60.0, 60.0), 1), ((0.0, 0.0), 3)])
def test_over_tcp_a_connection_is_not_used_for_ever(
    monkeypatch: pytest.MonkeyPatch, seconds: tuple[float, float], connections: int
) -> None:
    """One address may stand for several hosts; new ones get their share by new connections."""
    monkeypatch.setattr(hop, "TCP_SECONDS", seconds)

    async def scenario() -> None:
        opened = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal opened
            opened += 1
            try:
                while True:
                    await read_request(reader)
                    writer.write(answer(b"yes"))
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        client = HopClient(Address.parse(f"http://127.0.0.1:{port}", token="t"))
        for _ in range(3):
            assert (await client.request("GET", "/")).body == b"yes"
        client.close()
        server.close()
        assert opened == connections

    uvloop.run(scenario())
