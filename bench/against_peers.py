#!/usr/bin/env python3
"""ingot against llama.cpp and ik_llama.cpp on the same files and processor, in alternation.

  cargo build --release
  python bench/against_peers.py MODEL.gguf... --llama-cpp DIR --ik DIR --rounds 5 --json OUT.json

DIR is where the peer's llama-bench and llama-batched-bench are (targets of its cmake build, Release,
GGML_NATIVE=ON); either may be left out. Models to measure with, if there are none:

  cargo run --release --example synthetic -- llama-3.2-1b q4_k_m MODEL.gguf

Each round runs every program once for everything that is measured, one after the other, so that a
machine that drifts drifts for all. What each figure is:

  prefill  tokens a second of a prompt of 512; each program's own clock, after a run that does not count,
           without loading, tokenization and sampling
  decode   the same, 64 tokens one by one from an empty context
  batch    tokens a second of 8 sequences together, 32 tokens each after 16
  depth    the same as decode, 16 tokens after 4096
  start    milliseconds from starting the process to its end with one token read and one drawn from it
           (`ingot run -n 1`; for peers `llama-bench -p 1 -n 0 -r 1 --no-warmup`, which draws none),
           the file being in the system's cache
  memory   most megabytes resident (VmHWM) while the depth was measured: a context of 4096

Keys and values are f16, everything else is as each program chooses; `ik -rtr` repacks weights when it
loads. With every figure goes the share of the machine that other processes had meanwhile. Figures with
more than a tenth are left out where at least three others remain; medians that could not do without
them are marked with ~. Peers' threads spin while they wait for each other, so a busy machine hurts them
most: ratios with a mark flatter ingot. Before each run the harness waits for a quiet moment, up to
--patience seconds. On a machine that is never quiet, `nice -n -20` before the command (as root; on Linux
with autogroups also `echo -20 > /proc/self/autogroup`) keeps most of the others away.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
UNITS = {"prefill": "tok/s", "decode": "tok/s", "batch": "tok/s", "depth": "tok/s", "start": "ms", "memory": "MB"}
LESS_IS_BETTER = ("start", "memory")
PROMPT, TOKENS, DEPTH, DEPTH_TOKENS = 512, 64, 4096, 16
BATCH, BATCH_PROMPT, BATCH_TOKENS = 8, 16, 32
BUSY, ENOUGH = 0.1, 3  # the share of the machine that others may have, and how many figures are enough
LIMIT = 900  # seconds for a run


class Failed(Exception):
    """A program that did not do what it should, with its own words."""


class Run:
    """A finished process: its output and what it took."""

    def __init__(self, command):
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            busy, start = busy_seconds(), time.perf_counter()
            # Some leave logs where they are started.
            process = subprocess.Popen(["timeout", str(LIMIT), *command], stdout=out, stderr=err,
                                       cwd=tempfile.gettempdir())
            _, status, used = os.wait4(process.pid, 0)
            self.seconds = time.perf_counter() - start
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0), err.seek(0)
            self.text, self.log = out.read().decode(), err.read().decode(errors="replace")
        others = busy_seconds() - busy - used.ru_utime - used.ru_stime
        self.others = max(0.0, others / self.seconds / os.cpu_count())
        self.peak = used.ru_maxrss << 10
        if process.returncode != 0:
            lines = [line for line in (self.text + self.log).splitlines() if line.strip()] or ["no message"]
            said = next((line for line in lines if "error" in line.lower()), lines[-1])
            raise Failed(f"exit code {process.returncode}: {said[:200]}")

    def json(self):
        try:
            return json.loads(self.text)
        except ValueError:
            raise Failed(f"not JSON: {self.text[:200]!r}") from None


def busy_seconds():
    """What all processors have worked since the machine started."""
    with open("/proc/stat") as stat:
        user, nice, system, _idle, _wait, irq, softirq, steal = map(int, stat.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def wait_for_quiet(patience):
    """Returns when others leave the machine alone, or patience is at its end."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        busy, start = busy_seconds(), time.monotonic()
        time.sleep(0.3)
        if (busy_seconds() - busy) / (time.monotonic() - start) / os.cpu_count() < BUSY:
            return


def read_all(path):
    """So that the file is in the system's cache."""
    with open(path, "rb", buffering=0) as file:
        while file.read(1 << 24):
            pass


class Ingot:
    """This program."""

    def __init__(self, a):
        self.name, self.program, self.threads = "ingot", a.ingot, str(a.threads)
        self.bandwidths = []

    def measure(self, kind, model):
        if kind == "start":
            run = Run([self.program, "run", "-m", model, "--device", "cpu", "-t", self.threads,
                       "--raw", "--temp", "0", "-n", "1", "a"])
            return {"start": 1e3 * run.seconds}, run
        prompt, tokens, rest = {
            "prefill": (PROMPT, 0, []),
            "decode": (0, TOKENS, []),
            "batch": (0, BATCH_TOKENS, ["--batch", str(BATCH), "--depth", str(BATCH_PROMPT)]),
            "depth": (0, DEPTH_TOKENS, ["--depth", str(DEPTH)]),
        }[kind]
        run = Run([self.program, "bench", model, "--device", "cpu", "-t", self.threads, "--json", "-r", "1",
                   "-p", str(prompt), "-n", str(tokens), *rest])
        found = run.json()
        if "bandwidth" in found and kind == "decode":
            self.bandwidths.append(found["bandwidth"])
        part = {"prefill": "prefill", "batch": "batch"}.get(kind, "decode")
        result = {kind: found[part]["tokens_per_s"]["median"]}
        if kind == "depth":
            # Before it measured the bandwidth, which takes memory of its own.
            result["memory"] = found.get("memory", {}).get("peak_bytes", run.peak) / 1e6
        return result, run


class Peer:
    """A program with llama.cpp's tools."""

    def __init__(self, name, folder, a, is_ik=False, extra=()):
        self.name, self.folder, self.is_ik, self.extra, self.threads = name, folder, is_ik, extra, str(a.threads)

    def bench(self, model, *args):
        return Run([os.path.join(self.folder, "llama-bench"), "-m", model, "-t", self.threads,
                    "-r", "1", "-o", "json", *self.extra, *args])

    def measure(self, kind, model):
        if kind == "start":
            warmup = ["-w", "0"] if self.is_ik else ["--no-warmup"]
            run = self.bench(model, "-p", "1", "-n", "0", *warmup)
            return {"start": 1e3 * run.seconds}, run
        if kind == "batch":
            extra = ["-rtr"] if "-rtr" in self.extra else []
            context = BATCH * (BATCH_PROMPT + BATCH_TOKENS)
            run = Run([os.path.join(self.folder, "llama-batched-bench"), "-m", model, "-t", self.threads,
                       "-c", str(context), "-npp", str(BATCH_PROMPT), "-ntg", str(BATCH_TOKENS),
                       "-npl", str(BATCH), "--output-format", "jsonl", *extra])
            if not self.is_ik:
                return {"batch": json.loads(run.text.strip().splitlines()[-1])["speed_tg"]}, run
            # A table among the messages: PP, TG, B, N_KV, seconds and speed of each part and of all.
            rows = [line.split("|")[1:-1] for line in run.log.splitlines() if line.startswith("|")]
            if not rows or len(rows[-1]) != 10:
                raise Failed("llama-batched-bench printed no figures")
            return {"batch": float(rows[-1][7])}, run
        if kind == "depth":
            deep = (["-p", "0", "-n", "0", "-gp", f"{DEPTH},{DEPTH_TOKENS}"] if self.is_ik
                    else ["-p", "0", "-n", str(DEPTH_TOKENS), "-d", str(DEPTH)])
            run = self.bench(model, *deep)
            return {"depth": run.json()[-1]["avg_ts"], "memory": run.peak / 1e6}, run
        size = ["-p", str(PROMPT), "-n", "0"] if kind == "prefill" else ["-p", "0", "-n", str(TOKENS)]
        run = self.bench(model, *size)
        return {kind: run.json()[-1]["avg_ts"]}, run


class Cell:
    """All figures of one program for one thing on one model."""

    def __init__(self, samples):
        quiet = [value for value, others in samples if others <= BUSY]
        self.disturbed = len(quiet) < min(ENOUGH, len(samples))
        values = [value for value, _ in samples] if self.disturbed else quiet
        self.median, self.least, self.most = statistics.median(values), min(values), max(values)

    def __str__(self):
        digits = 0 if self.median >= 100 else 1
        low, mid, high = (f"{v:.{digits}f}" for v in (self.least, self.median, self.most))
        return f"{'~' if self.disturbed else ''}{mid} ({low}-{high})"


def table(samples, models, programs, kind):
    """Markdown: a row for each model, a column for each program and the ratio to the best peer."""
    peers = [p.name for p in programs if p.name != "ingot"]
    lines = [f"{kind}, {UNITS[kind]}: median (least-most)", "",
             "| model | ingot | " + " | ".join(peers) + " | ratio to the best |",
             "|---|" + "--:|" * (len(peers) + 2)]
    for model in models:
        cells = {p.name: Cell(samples[model, p.name, kind])
                 for p in programs if samples.get((model, p.name, kind))}
        if not cells:
            continue
        others = [cells[name].median for name in peers if name in cells]
        ratio = "-"
        if "ingot" in cells and others:
            own = cells["ingot"].median
            best = min(others) / own if kind in LESS_IS_BETTER else own / max(others)
            mark = "~" if any(cell.disturbed for cell in cells.values()) else ""
            ratio = f"{mark}**{best:.2f}**"
        row = [str(cells.get(name, "-")) for name in ["ingot", *peers]]
        lines.append(f"| {name_of(model)} | " + " | ".join(row) + f" | {ratio} |")
    return "\n".join(lines)


def name_of(model):
    return os.path.splitext(os.path.basename(model))[0]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("models", nargs="+", metavar="MODEL")
    p.add_argument("--ingot", default=os.path.join(ROOT, "target/release/ingot"), metavar="PROGRAM")
    p.add_argument("--llama-cpp", metavar="DIR")
    p.add_argument("--ik", metavar="DIR")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--what", default="prefill,decode", metavar="LIST",
                   help="of prefill, decode, batch, depth (with memory) and start; default: %(default)s")
    p.add_argument("--patience", type=float, default=20, metavar="SECONDS",
                   help="longest wait for a quiet moment before a run; default: %(default)s")
    p.add_argument("--json", metavar="FILE", help="where all figures are kept, written after every round")
    a = p.parse_args()
    a.models, a.ingot = [os.path.abspath(model) for model in a.models], os.path.abspath(a.ingot)
    a.llama_cpp, a.ik = (folder and os.path.abspath(folder) for folder in (a.llama_cpp, a.ik))
    kinds = a.what.split(",")
    if unknown := set(kinds) - (set(UNITS) - {"memory"}):
        p.error(f"--what: {', '.join(sorted(unknown))}")

    ingot = Ingot(a)
    programs = [ingot]
    if a.llama_cpp:
        programs.append(Peer("llama.cpp", a.llama_cpp, a))
    if a.ik:
        programs.append(Peer("ik", a.ik, a, is_ik=True))
        programs.append(Peer("ik -rtr", a.ik, a, is_ik=True, extra=("-rtr", "1")))

    samples, failed = {}, set()
    for number in range(a.rounds):
        for model in a.models:
            for kind in kinds:
                # Another one begins every time: nobody always follows the same program.
                turn = number % len(programs)
                for program in programs[turn:] + programs[:turn]:
                    if (model, program.name, kind) in failed:
                        continue
                    read_all(model)
                    wait_for_quiet(a.patience)
                    try:
                        found, run = program.measure(kind, model)
                    except (Failed, LookupError, ValueError) as e:
                        failed.add((model, program.name, kind))
                        print(f"{name_of(model)}, {program.name}, {kind}: left out: {e}", file=sys.stderr)
                        continue
                    for what, value in found.items():
                        samples.setdefault((model, program.name, what), []).append((value, run.others))
                        print(f"round {number + 1}: {name_of(model)}, {program.name}: {what} {value:.1f} "
                              f"{UNITS[what]}, others had {100 * run.others:.0f} %", file=sys.stderr, flush=True)
        if a.json:
            rows = [{"model": name_of(m), "program": name, "what": kind, "unit": UNITS[kind],
                     "samples": [{"value": v, "others": o} for v, o in s]}
                    for (m, name, kind), s in samples.items()]
            with open(a.json, "w") as file:
                json.dump({"threads": a.threads, "rounds": number + 1, "bandwidth": ingot.bandwidths,
                           "figures": rows}, file, indent=1)
    for kind in UNITS:
        if any(key[2] == kind for key in samples):
            print(table(samples, a.models, programs, kind), end="\n\n")
    if ingot.bandwidths:
        for pages in ("huge_pages", "small_pages"):
            values = [b[pages] / 1e9 for b in ingot.bandwidths if b.get(pages)]
            if values:
                print(f"read bandwidth, {pages.replace('_', ' ')}: {statistics.median(values):.1f} GB/s "
                      f"({min(values):.1f}-{max(values):.1f})")


if __name__ == "__main__":
    main()
