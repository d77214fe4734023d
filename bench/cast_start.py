#!/usr/bin/env python3
"""When the first token comes, and how fast the others: a program that was cast against `ingot run` on its model.

  cargo build --release
  python bench/cast_start.py MODEL.gguf... [--ingot target/release/ingot] [--pairs 30] [--tokens 200]

Both run in alternation, the order changing with every pair, with the file in the page cache. The first token is
timed from the start of the process to the first byte that it writes; speed is what the program itself says of so many
tokens. Medians, and quartiles of the differences.
"""
import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path


def first_byte(command):
    """Seconds until the process writes something."""
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0) as process:
        if not process.stdout.read(1):
            raise SystemExit(f"{command} wrote nothing")
        seconds = time.perf_counter() - start
        process.stdout.read()
    return seconds


def speed(command, tokens):
    """Tokens a second after the first one."""
    command = [*command, "--json", "--ignore-eos", "-n", str(tokens)]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return json.loads(run.stdout)["timings"]["decode_tokens_per_s"]


def alternately(pairs, measure, commands):
    """What is measured of each command."""
    measured = [[], []]
    for commands_first in range(pairs):
        for i in ([0, 1] if commands_first % 2 == 0 else [1, 0]):
            measured[i].append(measure(commands[i]))
    return measured


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--ingot", default="target/release/ingot")
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--tokens", type=int, default=200)
    args = parser.parse_args()
    print("| model | file, MB | program + model + | first token, ms: cast | run | difference (quartiles) | tok/s: cast | run |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for model in args.models:
        with tempfile.TemporaryDirectory() as folder:
            cast = str(Path(folder) / "cast")
            made = subprocess.run([args.ingot, "cast", model, "-o", cast, "--json"], stdout=subprocess.PIPE, check=True)
            sizes = json.loads(made.stdout)["bytes"]
            rest = sizes["file"] / (sizes["runtime"] + sizes["model"]) - 1
            # Both files as the system keeps what was written just now.
            copy = str(Path(folder) / "copy.gguf")
            subprocess.run([cast, "extract", "-o", copy], check=True, stderr=subprocess.DEVNULL)
            text = ["--raw", "--greedy", "--device", "cpu", "Once upon a time"]
            commands = [[cast, *text], [args.ingot, "run", "-m", copy, *text]]
            first = alternately(args.pairs, lambda c: 1e3 * first_byte([*c, "-n", "1"]), commands)
            apart = statistics.quantiles([a - b for a, b in zip(*first)], n=4)
            fast = alternately(5, lambda c: speed(c, args.tokens), commands)
            medians = [statistics.median(values) for values in (*first, *fast)]
            print(
                f"| {model.stem} | {sizes['file'] / 1e6:.1f} | {100 * rest:.3f} % | {medians[0]:.1f} | {medians[1]:.1f} "
                f"| {apart[1]:+.1f} ({apart[0]:+.1f} to {apart[2]:+.1f}) | {medians[2]:.0f} | {medians[3]:.0f} |", flush=True)


if __name__ == "__main__":
    main()
