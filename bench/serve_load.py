#!/usr/bin/env python3
"""How a server holds up under many streams at once: speed, and how long each of them waits.

  cargo build --release
  python bench/serve_load.py --url http://127.0.0.1:8080                a server that is already running
  python bench/serve_load.py MODEL.gguf                                  `ingot serve MODEL.gguf`, started here
  python bench/serve_load.py MODEL.gguf --peer LLAMA-SERVER --rounds 5   in alternation with llama.cpp's server

N clients at a time (--streams, one level after the other) send the requests of the level, --requests of them, as chat
completions in a stream; each client sends its next one when the last is answered. Lengths of prompts (words) and of
answers (tokens) are drawn from log-normal distributions, and prompts from a list of words, all from --seed: every
server gets the same requests in the same order. Every level of every round has prompts of its own, so that none
was read before. Answers are greedy and as long as they may be, whatever the model would like (ignore_eos). A request
to each server before its first level is not measured.

  out     tokens a second of all answers together, from the first request's start to the last one's end
  in      tokens a second of all prompts together, over the same time
  first   milliseconds from sending a request to the first piece of its answer
  next    milliseconds between two pieces of an answer that follow each other; servers send a piece for a token
          wherever tokens are whole letters
  client  what this program used of one core, which the server would have had otherwise; with it, what the server
          used of one core
  others  the share of the machine that neither of them used and that was not idle

A peer gets as many slots as there are streams at the highest level (-np), and a context for all of them. In a round
every server is started once and goes through all levels; rounds begin with another server each time. The table has
medians over rounds.
"""
import argparse
import asyncio
import json
import math
import os
import random
import resource
import socket
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/clients"))
import server as servers  # noqa: E402
import wire  # noqa: E402

LIMIT = 120  # seconds for a request
WORDS = """river lantern garden winter morning letter window silver kitchen mountain paper teacher market summer engine
 bridge number travel music color island forest village machine doctor station weather harbor butter feather carpet
 pocket ribbon shadow whistle basket candle corner dragon farmer hammer jacket ladder meadow needle orange pepper
 rabbit saddle tunnel valley walnut yellow anchor barrel circle desert eleven finger guitar honey""".split()


class Failed(Exception):
    """A request that was not answered as it should be."""


class Length:
    """A log-normal distribution between limits, as in `96:16-400`: the median, the least and the most."""

    SPREAD = 0.7  # standard deviation of the logarithm

    def __init__(self, text):
        median, _, limits = text.partition(":")
        self.median = int(median)
        self.least, self.most = map(int, limits.split("-")) if limits else (self.median, self.median)
        if not 0 < self.least <= self.median <= self.most:
            raise ValueError(text)

    def draw(self, rng):
        return min(self.most, max(self.least, round(rng.lognormvariate(math.log(self.median), self.SPREAD))))


def requests(a, model, level, number):
    """The bodies of one level of one round."""
    rng = random.Random(f"{a.seed} {level} {number}")
    for _ in range(a.requests):
        prompt = " ".join(rng.choices(WORDS, k=a.prompt.draw(rng)))
        yield json.dumps({
            "model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": a.answer.draw(rng),
            "temperature": 0, "ignore_eos": True, "stream": True, "stream_options": {"include_usage": True},
        }).encode()


class Tally:
    """What the requests of a level met."""

    def __init__(self):
        self.first, self.next = [], []  # seconds
        self.prompted = self.generated = 0
        self.errors = []

    async def ask(self, connection, body, headers):
        """Sends one request and reads its answer to the end."""
        last = time.perf_counter()
        await connection.send("POST", "/v1/chat/completions", body, headers)
        status, _ = await connection.head()
        if status != 200:
            raise Failed(f"status {status}: {(await connection.body())[:200]}")
        usage = None
        pieces = 0
        async for data in connection.events():
            # Most events are a piece of text and nothing else: they are not parsed.
            if b'"content":"' in data and b'"content":""' not in data:
                now = time.perf_counter()
                (self.next if pieces else self.first).append(now - last)
                last, pieces = now, pieces + 1
            elif data != b"[DONE]":
                event = json.loads(data)
                if "error" in event:
                    raise Failed(event["error"])
                usage = event.get("usage") or usage
        if usage is None:
            raise Failed("no usage at the end of the stream")
        self.prompted += usage["prompt_tokens"]
        self.generated += usage["completion_tokens"]


async def client(url, bodies, tally, headers):
    """One client: takes a body after the other until there are none, each on a connection of its own."""
    for body in bodies:
        try:
            async with asyncio.timeout(LIMIT):
                connection = await wire.Connection.open(url)
                try:
                    await tally.ask(connection, body, headers)
                finally:
                    connection.close()
        except (Failed, wire.Broken, OSError, TimeoutError, ValueError) as e:
            tally.errors.append(repr(e))


def own_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def busy_seconds():
    """What all processors have worked since the machine started."""
    with open("/proc/stat") as stat:
        user, nice, system, _idle, _wait, irq, softirq, steal = map(int, stat.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def run_level(a, target, url, model, level, number):
    """Runs one level against one server: a dict of figures."""
    tally, headers = Tally(), [f"Authorization: Bearer {a.api_key}"] if a.api_key else []
    bodies = iter(list(requests(a, model, level, number)))

    async def all_clients():
        await asyncio.gather(*(client(url, bodies, tally, headers) for _ in range(level)))

    server_before = target.cpu_seconds() if target else 0.0
    own, busy, start = own_seconds(), busy_seconds(), time.perf_counter()
    asyncio.run(all_clients())
    seconds = time.perf_counter() - start
    own, busy = own_seconds() - own, busy_seconds() - busy
    served = target.cpu_seconds() - server_before if target else None
    for message in sorted(set(tally.errors))[:3]:
        print(f"  error: {message}", file=sys.stderr)
    return {
        "streams": level, "requests": a.requests, "errors": len(tally.errors), "seconds": seconds,
        "out": tally.generated / seconds, "in": tally.prompted / seconds,
        "prompt_tokens": tally.prompted, "answer_tokens": tally.generated,
        "first_p50": percentile(tally.first, 50), "first_p99": percentile(tally.first, 99),
        "next_p50": percentile(tally.next, 50), "next_p99": percentile(tally.next, 99),
        "client_cpu": own / seconds, "server_cpu": served and served / seconds,
        "others_cpu": served and max(0.0, busy - own - served) / seconds / os.cpu_count(),
    }


def percentile(values, percent):
    """In milliseconds; None if there are no values."""
    if not values:
        return None
    return 1e3 * sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def ask_for(url, path, a, body=None):
    """One request outside of the measurement: the JSON of its answer."""
    async def ask():
        async with asyncio.timeout(LIMIT):
            connection = await wire.Connection.open(url)
            headers = [f"Authorization: Bearer {a.api_key}"] if a.api_key else []
            await connection.send("POST" if body else "GET", path, body, headers)
            status, _ = await connection.head()
            text = await connection.body()
            connection.close()
            if status != 200:
                raise Failed(f"{path}: status {status}: {text[:200]}")
            return json.loads(text)
    return asyncio.run(ask())


def start_ingot(a):
    return servers.Server([a.ingot, "serve", a.model, "--port", "0", *a.ingot_args.split()])


def start_peer(a):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    slots = max(a.streams)
    # A token may take two words of a prompt or more: vocabularies differ.
    context = slots * (4 * a.prompt.most + a.answer.most + 64)
    return servers.Server([a.peer, "-m", a.model, "--host", "127.0.0.1", "--port", port, "-np", slots, "-c", context,
                           "-t", os.cpu_count(), *a.peer_args.split()], f"http://127.0.0.1:{port}")


def measure(a, name, target, url, number, rows):
    model = ask_for(url, "/v1/models", a)["data"][0]["id"]
    ask_for(url, "/v1/chat/completions", a, {
        "model": model, "messages": [{"role": "user", "content": "one two three"}], "max_tokens": 4})
    for level in a.streams:
        found = run_level(a, target, url, model, level, number)
        rows.append({"server": name, "round": number} | found)
        print(f"round {number + 1}, {name}, {level} streams: {found['out']:.1f} tok/s out, "
              f"{found['errors']} errors, {found['seconds']:.1f} s", file=sys.stderr, flush=True)


def table(rows):
    """Medians over rounds, as Markdown."""
    def cell(found, key, digits=1, scale=1.0):
        values = [row[key] for row in found if row[key] is not None]
        return f"{scale * statistics.median(values):.{digits}f}" if values else "-"

    lines = ["| server | streams | out tok/s | in tok/s | first p50 / p99 ms | next p50 / p99 ms | errors "
             "| client / server / others |", "|---|---:|---:|---:|---:|---:|---:|---:|"]
    for name, level in sorted({(row["server"], row["streams"]) for row in rows}, key=lambda key: (key[1], key[0])):
        found = [row for row in rows if (row["server"], row["streams"]) == (name, level)]
        shares = " / ".join(cell(found, key, 0, 100.0) + " %" for key in ("client_cpu", "server_cpu", "others_cpu"))
        lines.append(f"| {name} | {level} | {cell(found, 'out')} | {cell(found, 'in')} "
                     f"| {cell(found, 'first_p50')} / {cell(found, 'first_p99')} "
                     f"| {cell(found, 'next_p50')} / {cell(found, 'next_p99')} "
                     f"| {sum(row['errors'] for row in found)} | {shares} |")
    return "\n".join(lines)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model", nargs="?", metavar="MODEL.gguf")
    p.add_argument("--url", help="a server that is already running, instead of starting any")
    p.add_argument("--api", choices=["openai"], default="openai", help="what the server speaks")
    p.add_argument("--api-key", metavar="KEY")
    p.add_argument("--ingot", metavar="PROGRAM", help="default: what cargo built last")
    p.add_argument("--ingot-args", default="", metavar="WORDS", help="more for `ingot serve`")
    p.add_argument("--peer", metavar="PROGRAM", help="llama.cpp's llama-server, on the same file")
    p.add_argument("--peer-args", default="", metavar="WORDS", help="more for the peer")
    p.add_argument("--streams", default="1,4,16,64", metavar="LIST", help="levels; default: %(default)s")
    p.add_argument("--requests", type=int, default=64, metavar="M", help="of each level; default: %(default)s")
    p.add_argument("--prompt", type=Length, default="64:8-256", metavar="MEDIAN:LEAST-MOST",
                   help="words of a prompt; default: %(default)s")
    p.add_argument("--answer", type=Length, default="48:8-192", metavar="MEDIAN:LEAST-MOST",
                   help="tokens of an answer; default: %(default)s")
    p.add_argument("--rounds", type=int, default=1)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--json", metavar="FILE", help="where all figures are kept, written after every round")
    a = p.parse_args()
    try:
        a.streams = [int(level) for level in a.streams.split(",")]
    except ValueError:
        p.error("--streams: numbers with commas between them")
    if not (all(0 < level <= 1024 for level in a.streams) and 0 < a.requests <= 100_000 and 0 < a.rounds <= 100):
        p.error("--streams, --requests and --rounds have to be positive and reasonable")
    if bool(a.url) == bool(a.model):
        p.error("either MODEL.gguf or --url")

    if a.url:
        starts = {"server": None}
    else:
        a.model = os.path.abspath(a.model)
        a.ingot = a.ingot or servers.ingot()
        starts = {"ingot": start_ingot} | ({"llama.cpp": start_peer} if a.peer else {})
    rows = []
    try:
        for number in range(a.rounds):
            names = list(starts)
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                if starts[name] is None:
                    measure(a, name, None, a.url.rstrip("/"), number, rows)
                else:
                    with starts[name](a) as target:
                        measure(a, name, target, target.url, number, rows)
            if a.json:
                kept = {key: str(value) if isinstance(value, Path) else value for key, value in vars(a).items()
                        if key != "api_key"}
                kept |= {key: vars(kept[key]) for key in ("prompt", "answer")}
                Path(a.json).write_text(json.dumps({"arguments": kept, "figures": rows}, indent=1))
    except (Failed, servers.Failed, wire.Broken, OSError, TimeoutError) as e:
        sys.exit(f"error: {e}")
    print(table(rows))
    if errors := sum(row["errors"] for row in rows):
        sys.exit(f"{errors} requests failed")


if __name__ == "__main__":
    main()
