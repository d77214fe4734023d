#!/usr/bin/env python3
"""How long the second turn of a long conversation takes to begin, against the first.

  cargo build --release
  python bench/serve_turns.py MODEL.gguf... [--words 1500] [--rounds 5]

Starts `ingot serve MODEL.gguf` and holds conversations with it that differ from their first word on: a long message,
an answer, a short message, an answer. The times to the first token and the numbers of tokens that had to be read are
those of the server's own /metrics, medians over the conversations.
"""
import argparse
import json
import random
import statistics
import sys
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/clients"))
from server import Server  # noqa: E402

WORDS = "river lantern garden winter morning letter window silver kitchen mountain paper teacher market summer".split()
ANSWER = 48  # tokens
COUNTED = {"seconds": "time_to_first_token_seconds_sum", "prompt": "prompt_tokens_total", "cached": "cached_tokens_total"}


def fetch(url, body=None):
    data = json.dumps(body).encode() if body else None
    with urllib.request.urlopen(urllib.request.Request(url, data), timeout=600) as answer:
        return answer.read()


def metrics(url):
    lines = fetch(url + "/metrics").decode().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(values["ingot_" + metric]) for name, metric in COUNTED.items()}


def say(url, messages):
    """Adds an answer to the messages; what the metrics grew by."""
    before = metrics(url)
    body = {"messages": messages, "max_tokens": ANSWER, "temperature": 0, "ignore_eos": True}
    answer = json.loads(fetch(url + "/v1/chat/completions", body))
    messages.append({"role": "assistant", "content": answer["choices"][0]["message"]["content"]})
    after = metrics(url)
    return {name: after[name] - before[name] for name in COUNTED}


def conversation(url, words, rng):
    text = " ".join(rng.choice(WORDS) for _ in range(words))
    messages = [{"role": "user", "content": text}]
    first = say(url, messages)
    messages.append({"role": "user", "content": "And what did the fox say?"})
    return first, say(url, messages)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("models", nargs="+", metavar="MODEL.gguf")
    p.add_argument("--words", type=int, default=1500, help="of the first message; default: %(default)s")
    p.add_argument("--rounds", type=int, default=5)
    a = p.parse_args()
    print("| model | first turn: tokens, ms | second turn: tokens read, ms | share |\n|---|---:|---:|---:|", flush=True)
    for model in a.models:
        rng = random.Random(1)
        with Server.ingot(model, "--log-format", "quiet") as server:
            conversation(server.url, a.words, rng)  # while weights may still be packed
            turns = [conversation(server.url, a.words, rng) for _ in range(a.rounds)]
        ms = [1000 * statistics.median(turn[i]["seconds"] for turn in turns) for i in (0, 1)]
        read = [statistics.median(turn[i]["prompt"] - turn[i]["cached"] for turn in turns) for i in (0, 1)]
        print(f"| {Path(model).stem} | {read[0]:.0f}, {ms[0]:.0f} | {read[1]:.0f}, {ms[1]:.0f} "
              f"| {100 * ms[1] / ms[0]:.1f} % |", flush=True)


if __name__ == "__main__":
    main()
