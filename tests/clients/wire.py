"""HTTP over one connection, with server-sent events: what load and soak need, and no more.

Only the standard library. A connection shows everything (when the first byte came, what was cut) and can be treated
badly: closed in the middle, read slowly, given what is no request.
"""
import asyncio
import json
import urllib.parse


class Broken(Exception):
    """The other side closed the connection, or sent what is no HTTP."""


class Connection:
    """A connection to `url`; `await Connection.open(url)` makes one."""

    def __init__(self, host, reader, writer):
        self.host, self.reader, self.writer = host, reader, writer

    @classmethod
    async def open(cls, url):
        address = urllib.parse.urlsplit(url)
        return cls(address.netloc, *await asyncio.open_connection(address.hostname, address.port))

    def close(self):
        """Without a goodbye."""
        self.writer.transport.abort()

    async def send(self, method, path, body=None, headers=()):
        """Sends a request. The body is bytes, or something that becomes JSON."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}", *headers]
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + (body or b""))
        await self.writer.drain()

    async def head(self):
        """Status and headers (names in lower case) of the answer."""
        try:
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            self.status = int(lines[0].split(" ")[1])
        except (EOFError, asyncio.LimitOverrunError, ConnectionError, ValueError, IndexError) as e:
            raise Broken(f"no answer: {e!r}") from None
        self.headers = {name.lower(): value.strip() for line in lines[1:] if line
                        for name, _, value in [line.partition(":")]}
        return self.status, self.headers

    async def pieces(self):
        """The body as it comes."""
        try:
            if "chunked" in self.headers.get("transfer-encoding", ""):
                while size := int(await self.reader.readuntil(b"\r\n"), 16):
                    yield (await self.reader.readexactly(size + 2))[:-2]
                await self.reader.readuntil(b"\r\n")
            elif "content-length" in self.headers:
                yield await self.reader.readexactly(int(self.headers["content-length"]))
            else:
                while piece := await self.reader.read(1 << 16):
                    yield piece
        except (EOFError, ConnectionError, ValueError) as e:
            raise Broken(f"cut in the middle: {e!r}") from None

    async def body(self):
        """The whole body."""
        return b"".join([piece async for piece in self.pieces()])

    async def events(self):
        """The data of server-sent events, one by one, as bytes."""
        rest = b""
        async for piece in self.pieces():
            *events, rest = (rest + piece).split(b"\n\n")
            for event in events:
                for line in event.split(b"\n"):
                    if line.startswith(b"data:"):
                        yield line[5:].strip()
