"""The model servers behind the proxies: nginx where speed is asked, small Python ones where behaviour is."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Final

import uvloop

from bench.router.machine import Cores, free_port, process

_NGINX: Final = """
daemon off; worker_processes 1; pid {run}/nginx.pid; error_log {run}/nginx.error; user root;
worker_rlimit_nofile 20000;
events {{ worker_connections 10000; }}
http {{
    access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; default_type application/json;
    client_max_body_size 8m; client_body_buffer_size 2m; client_body_temp_path {run}/body; sendfile on;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ return 200 '{{"model_name":"m","outputs":[{{"name":"y","datatype":"FP64","shape":[1],"data":[0.73125]}}],"parameters":{{"pad":"{pad}"}}}}'; }}
        location /bodies/ {{ root {run}; error_page 405 =200 $uri; }}
    }}
}}
"""
BODIES: Final = (300_000, 1_000_000)


@contextmanager
def fast(cores: Cores, folder: Path) -> Iterator[tuple[int, int]]:
    """A model server of 200 bytes an answer; its port and pid. `/bodies/N` is a body of N bytes."""
    port = free_port()
    (folder / "bodies").mkdir(parents=True)
    for size in BODIES:
        (folder / "bodies" / str(size)).write_bytes(b"a" * size)
    file = folder / "nginx.conf"
    file.write_text(_NGINX.format(run=folder, port=port, pad="a" * 80))
    argv = ["nginx", "-p", str(folder), "-e", str(folder / "nginx.error"), "-c", str(file)]
    with (folder / "log").open("ab") as log, process(argv, cores.others, log, port) as pid:
        yield port, pid


@contextmanager
def odd(kind: str, cores: Cores, folder: Path) -> Iterator[int]:
    """A server of one of `KINDS`; its port."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-m", "bench.router.servers", kind, str(port)]
    with (folder / f"{kind}.log").open("ab") as log, process(argv, cores.others, log, port):
        yield port


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def _stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Events with the instant of their sending, each ten milliseconds."""
    head = await reader.readuntil(b"\r\n\r\n")
    chunks = int(head.partition(b"chunks=")[2].split(b" ")[0])
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(chunks):
        await asyncio.sleep(0.01)
        event = b"data: %.9f\n\n" % monotonic()
        writer.write(b"%x\r\n%b\r\n" % (len(event), event))
    writer.write(b"0\r\n\r\n")
    await writer.drain()


async def _hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes all and says nothing."""
    while await reader.read(65_536):
        continue


async def _huge(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An answer without end."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b"a" * 65_536 + b"\r\n")
        await writer.drain()


async def _nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """No HTTP."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"\0\1\2 what? \r\n\r\n" * 10)
    await writer.drain()


KINDS: Final[dict[str, Serve]] = {"stream": _stream, "hang": _hang, "huge": _huge, "nonsense": _nonsense}


async def _serve(kind: str, port: int) -> None:
    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await KINDS[kind](reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(one, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("port", type=int)
    given = parser.parse_args()
    uvloop.run(_serve(given.kind, given.port))
