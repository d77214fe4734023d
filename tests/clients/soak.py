#!/usr/bin/env python3
"""Thousands of short requests of all kinds, good and bad, and what they leave behind in the server.

  python tests/clients/soak.py                    10,000 requests
  python tests/clients/soak.py --requests 2000    a short run
  python tests/clients/soak.py --minutes 60       as many as an hour has room for
  python tests/clients/soak.py --seed 7           other requests

Clients send chats, completions, embeddings and answers in a given form, whole and in streams; they cancel, go away
before the answer or within their own request, read or write slowly, send random bytes and random bodies made from
/openapi.json; others connect and say nothing. It fails if

  * the process ends, or a request finds no answer in time,
  * a good request is answered with anything but 200, or 429 or 503 with a Retry-After; a bad one with 500 or more,
  * a request is left running or waiting when nobody waits for it,
  * memory that is resident grows by more than --growth percent after the first 1,000 (or half of the requests),
  * it takes longer than --limit seconds (beside --minutes).

The same seed makes the same requests; when they meet is up to the machine.
"""
import argparse
import asyncio
import collections
import itertools
import json
import math
import random
import sys
import time

import metrics
import wire
from bodies import Bodies
from server import Failed, Server

CLIENTS, IDLE_CONNECTIONS = 16, 32
REQUEST_LIMIT, QUIET_LIMIT = 60, 30  # seconds
FIRST = 1000  # requests after which memory may not grow
BLOCKS = 9  # of requests after the first ones; memory is looked at after each
CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
SCHEMA = {"type": "object", "properties": {"animal": {"enum": ["fox", "owl"]}, "tame": {"type": "boolean"}},
          "required": ["animal", "tame"], "additionalProperties": False}
# So little memory for texts that remembered ones are forgotten, and running ones have to make room for each other.
SERVE = ["--memory", "24"]


class Wrong(Exception):
    """An answer that should have been another one."""


class Soak:
    def __init__(self, server, model, document, seed):
        self.server, self.url, self.model = server, server.url, model
        self.rng = random.Random(seed)
        self.bodies = Bodies(document, self.rng)
        if not self.bodies.schemas:
            raise Wrong("/openapi.json describes no requests")
        # What the server does not say it has is left out.
        missing = {kind for kind, name in (("embedding", EMBEDDINGS), ("formed", "regex"))
                   if f'"{name}"' not in json.dumps(document)}
        self.weights = {kind: weight for kind, weight in self.KINDS.items() if kind not in missing}
        self.kinds, self.statuses, self.wrong = collections.Counter(), collections.Counter(), []

    # ---- what a request can be ---------------------------------------------------

    KINDS = {"whole": 20, "stream": 20, "formed": 6, "embedding": 6, "tokenize": 4, "cancelled": 12, "abandoned": 8,
             "half": 4, "random_bytes": 4, "allowed": 6, "broken": 8, "slow_reader": 2, "slow_writer": 2, "idle": 2}

    def chat(self, **more):
        """A short chat; some share their beginning, so that kept prefixes are used, dropped and found again."""
        things = ["a fox", "an owl", "snow", "the moon", "a lantern"]
        words = " ".join(self.rng.choices(things, k=self.rng.randint(1, 40)))
        messages = [{"role": "user", "content": f"Tell me a story about {words}."}]
        if self.rng.random() < 0.5:
            messages.insert(0, {"role": "system", "content": "You tell stories to children. " * self.rng.randint(1, 5)})
        return {"model": self.model, "messages": messages, "max_tokens": self.rng.randint(1, 24),
                "temperature": self.rng.choice([0, 1]), "seed": self.rng.randrange(1000)} | more

    async def whole(self):
        body = self.chat(n=self.rng.choice([1, 1, 1, 3]), logprobs=self.rng.random() < 0.2)
        path = CHAT
        if self.rng.random() < 0.3:
            path, body = COMPLETIONS, {"model": self.model, "prompt": ["Once upon", "The owl"], "max_tokens": 8}
        answer = json.loads(await self.good(path, body))
        if not all(choice["finish_reason"] in ("stop", "length") for choice in answer.get("choices", ())):
            raise Wrong(f"finish_reason of {answer}")

    async def stream(self):
        async with self.sent(CHAT, self.chat(stream=True)) as connection:
            if await self.admitted(connection):
                events = [data async for data in connection.events()]
                if events[-1] != b"[DONE]" or b'"finish_reason":"' not in b"".join(events):
                    raise Wrong(f"a stream without its end: {events[-2:]}")

    async def formed(self):
        form = self.rng.choice([{"regex": "[a-z]{1,8}"}, {"grammar": 'start: "a" | "b"'}, {"response_format": {
            "type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}}])
        answer = json.loads(await self.good(CHAT, self.chat(**form) | {"max_tokens": 60}))
        choice = answer["choices"][0] if answer else {"finish_reason": "none"}
        if choice["finish_reason"] == "stop" and "response_format" in form:
            json.loads(choice["message"]["content"])

    async def embedding(self):
        texts = [f"fox {self.rng.randrange(100)}"] * self.rng.randint(1, 3)
        await self.good(EMBEDDINGS, {"model": self.model, "input": texts})

    async def tokenize(self):
        await self.good("/tokenize", {"content": "Once upon a time " * self.rng.randint(0, 50)})

    async def cancelled(self):
        """A stream that is closed somewhere in it."""
        events = self.rng.randint(0, 20)
        async with self.sent(CHAT, self.chat(stream=True, n=self.rng.choice([1, 2]), max_tokens=200)) as connection:
            if await self.admitted(connection):
                async for _ in connection.events():
                    if (events := events - 1) < 0:
                        break

    async def abandoned(self):
        """Nobody waits for the answer."""
        pause = self.rng.choice([0, 0.001, 0.02, 0.1])
        async with self.sent(CHAT, self.chat(stream=self.rng.random() < 0.5, max_tokens=200)):
            await asyncio.sleep(pause)

    async def half(self):
        """The connection ends within the request."""
        whole = b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" \
            b"Content-Length: 100\r\n\r\n" + b"{" * 60
        cut = self.rng.randrange(len(whole))
        async with self.opened() as connection:
            connection.writer.write(whole[:cut])
            await asyncio.sleep(self.rng.choice([0, 0.01]))

    async def random_bytes(self):
        body = self.rng.randbytes(self.rng.randint(0, 2000))
        if self.rng.random() < 0.5:
            text = json.dumps(self.chat()).encode()
            body = text[:self.rng.randrange(len(text))]
        async with self.sent(self.rng.choice(list(self.bodies.schemas)), body) as connection:
            await self.refused_or_done(connection, may_be_done=False)

    async def allowed(self):
        await self.random_body(self.bodies.allowed)

    async def broken(self):
        await self.random_body(self.bodies.broken)

    async def random_body(self, make):
        path = self.rng.choice(list(self.bodies.schemas))
        body = make(path)
        if isinstance(body, dict):
            # Short: what is drawn is the form, not how long the server is kept busy.
            body = {key: min(value, 16) if key.startswith("max_") and isinstance(value, int) else value
                    for key, value in body.items()}
            if self.rng.random() < 0.8:
                body["model"] = self.model
            if body.get("max_tokens", body.get("max_completion_tokens")) in (None, -1):
                body["max_tokens"] = body["max_completion_tokens"] = 8
        async with self.sent(path, body) as connection:
            await self.refused_or_done(connection, may_be_done=True)

    async def slow_reader(self):
        """A stream whose reader takes its time."""
        pause = self.rng.choice([0.01, 0.05])
        async with self.sent(CHAT, self.chat(stream=True)) as connection:
            if await self.admitted(connection):
                async for _ in connection.events():
                    await asyncio.sleep(pause)

    async def slow_writer(self):
        """The body comes in drops."""
        body = json.dumps(self.chat()).encode()
        async with self.opened() as connection:
            head = f"POST {CHAT} HTTP/1.1\r\nHost: {connection.host}\r\nContent-Type: application/json\r\n" \
                   f"Content-Length: {len(body)}\r\n\r\n"
            connection.writer.write(head.encode())
            for start in range(0, len(body), 40):
                connection.writer.write(body[start:start + 40])
                await connection.writer.drain()
                await asyncio.sleep(0.005)
            if await self.admitted(connection):
                await connection.body()

    async def idle(self):
        """Nothing is said."""
        async with self.opened():
            await asyncio.sleep(0.2)

    async def fill(self):
        """As much at once as the server ever gets here and more, so that what it keeps for later use is there."""
        body = self.chat(n=3, logprobs=True, top_logprobs=5, max_tokens=48, ignore_eos=True)
        bodies = []
        for number in range(4 * CLIENTS):
            messages = [{"role": "user", "content": f"{number} " + "Tell me a story about a fox. " * 40}]
            bodies.append(body | {"messages": messages})
        long = {"model": self.model, "input": ["Tell me a story about a fox. " * 100]}
        await asyncio.gather(*(self.good(CHAT, body) for body in bodies),
                             *(self.good(EMBEDDINGS, long) for _ in range(CLIENTS)))

    # ---- what is done with it ----------------------------------------------------

    def opened(self):
        return Opened(self.url)

    def sent(self, path, body):
        return Opened(self.url, path, body)

    async def admitted(self, connection):
        """Whether a good request was taken. That there is no room at the moment is an answer too."""
        status, headers = await connection.head()
        self.statuses[status] += 1
        if status in (429, 503) and "retry-after" in headers:
            await connection.body()
            await asyncio.sleep(0.05)
            return False
        if status != 200:
            raise Wrong(f"status {status}: {(await connection.body())[:300]}")
        return True

    async def good(self, path, body):
        """The answer to a good request; an empty object if there was no room."""
        async with self.sent(path, body) as connection:
            return await connection.body() if await self.admitted(connection) else b"{}"

    async def refused_or_done(self, connection, may_be_done):
        status, _ = await connection.head()
        self.statuses[status] += 1
        text = await connection.body()
        busy = status in (429, 503)
        if not (busy or 400 <= status < 500 or (may_be_done and status == 200)):
            raise Wrong(f"status {status}: {text[:300]}")
        if status != 200 and "error" not in json.loads(text):
            raise Wrong(f"no error object: {text[:300]}")

    async def one(self):
        kind = self.rng.choices(list(self.weights), list(self.weights.values()))[0]
        self.kinds[kind] += 1
        try:
            async with asyncio.timeout(REQUEST_LIMIT):
                await getattr(self, kind)()
        except (Wrong, wire.Broken, OSError, ValueError, LookupError, TimeoutError) as e:
            self.wrong.append(f"{kind}: {e!r}")

    async def block(self, count, end):
        """So many requests, a few at a time; then everything has to become quiet."""
        numbers = iter(range(count))

        async def client():
            for _ in numbers:
                if time.monotonic() > end or len(self.wrong) > 20 or self.server.process.poll() is not None:
                    return
                await self.one()

        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        if self.server.process.poll() is None:
            await self.quiet()

    async def quiet(self):
        """Nothing runs and nothing waits."""
        end = time.monotonic() + QUIET_LIMIT
        while not await asyncio.to_thread(self.server.idle):
            if time.monotonic() > end:
                self.wrong.append("requests left behind:\n" + "\n".join(
                    f"{name} {value:g}" for name, value in self.server.metrics().items() if "_bucket" not in name))
                return
            await asyncio.sleep(0.05)


class Opened:
    """A connection for a `with` block, with a request already sent if one is given. It is closed without a goodbye."""

    def __init__(self, url, path=None, body=None):
        self.url, self.path, self.body = url, path, body

    async def __aenter__(self):
        self.connection = await wire.Connection.open(self.url)
        if self.path:
            await self.connection.send("POST", self.path, self.body)
        return self.connection

    async def __aexit__(self, *_):
        self.connection.close()


async def fetch(url, path):
    async with Opened(url) as connection:
        await connection.send("GET", path)
        status, _ = await connection.head()
        if status != 200:
            raise Wrong(f"GET {path}: status {status}")
        return json.loads(await connection.body())


def blocks(a):
    """Numbers of requests between two looks at memory."""
    if a.minutes:
        yield from itertools.repeat(FIRST)
    first = min(FIRST, a.requests // 2)
    yield first
    rest = a.requests - first
    yield from (rest * (i + 1) // BLOCKS - rest * i // BLOCKS for i in range(BLOCKS))


async def run(a, server):
    """Prints a line for every block; returns how many requests there were and what was wrong."""
    start = time.monotonic()
    enough = start + 60 * a.minutes if a.minutes else math.inf
    end = (start if a.minutes is None else enough) + a.limit
    model = (await fetch(server.url, "/v1/models"))["data"][0]["id"]
    soak = Soak(server, model, await fetch(server.url, "/openapi.json"), a.seed)
    silent = [await wire.Connection.open(server.url) for _ in range(IDLE_CONNECTIONS)]
    done, resident = 0, []
    await soak.fill()
    print("requests    seconds   resident MB   of it sequences")
    for size in blocks(a):
        await soak.block(size, end)
        done += size
        if server.process.poll() is not None:
            soak.wrong.append(f"the server ended with {server.process.returncode}:\n{server.tail()}")
        if soak.wrong:
            break
        if time.monotonic() > end:
            soak.wrong.append(f"not done after {a.limit} s")
            break
        resident.append(server.resident())
        seconds, sequences = time.monotonic() - start, server.metric(metrics.SEQUENCES)
        print(f"{done:8} {seconds:10.1f} {resident[-1] / 1e6:13.1f} {sequences / 1e6:17.1f}", flush=True)
        if time.monotonic() > enough:
            break
    for connection in silent:
        connection.close()
    print("kinds:   ", dict(soak.kinds.most_common()))
    print("statuses:", dict(soak.statuses.most_common()))
    if not soak.wrong and (grown := 100 * (max(resident) / resident[0] - 1)) > a.growth:
        soak.wrong.append(f"memory grew by {grown:.1f} % after the first requests")
    return done, soak.wrong


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--requests", type=int, default=10_000)
    p.add_argument("--minutes", type=float, help="go on for so long, however many requests that are")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--growth", type=float, default=2, metavar="PERCENT", help="default: %(default)s")
    p.add_argument("--limit", type=float, default=1200, metavar="SECONDS", help="default: %(default)s")
    p.add_argument("arguments", nargs="*", default=SERVE, metavar="ARGUMENT",
                   help="for `ingot serve`, after --; default: " + " ".join(SERVE))
    a = p.parse_args()
    if not 20 <= a.requests <= 1_000_000:
        p.error("--requests: from 20 to 1,000,000")
    try:
        with Server.ingot(*a.arguments) as server:
            done, wrong = asyncio.run(run(a, server))
            if server.process.poll() is None and (code := server.stop()) != 0:
                wrong.append(f"exit code {code} at the end:\n{server.tail()}")
    except (Failed, Wrong, wire.Broken, OSError) as e:
        sys.exit(f"FAILED: {e}")
    if wrong:
        sys.exit("FAILED\n" + "\n".join(wrong[:20]))
    print(f"{done} requests: nothing wrong")


if __name__ == "__main__":
    main()
