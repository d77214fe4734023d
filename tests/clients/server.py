"""Starts a server and looks at it from outside: its log, its metrics, its memory.

Only the standard library is used, so that the load generator runs without an environment of its own.
"""
import collections
import os
import re
import signal
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

import metrics

ROOT = Path(__file__).resolve().parents[2]
LISTENING = re.compile(r"listening on (http://\S+:\d+)")
START_LIMIT, STOP_LIMIT = 60, 20  # seconds


class Failed(Exception):
    """A server that did not start or stop, with the end of its log."""


def ingot():
    """The program under test: what the variable INGOT names, or else what cargo built last."""
    if named := os.environ.get("INGOT"):
        return Path(named).resolve()
    built = [path for profile in ("release", "debug") if (path := ROOT / "target" / profile / "ingot").exists()]
    if not built:
        raise Failed("no program: run `cargo build --release`, or set INGOT")
    return max(built, key=lambda path: path.stat().st_mtime)


def was_cast():
    """True if that program is one that `ingot cast` made: it has its model in it, and serves no other."""
    about = subprocess.run([ingot(), "about"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return about.returncode == 0


class Server:
    """A running server. Leaving its `with` block stops it.

    command  list of words
    url      where it will answer, for servers that do not print `listening on URL` to stderr
    """

    def __init__(self, command, url=None):
        self.log = collections.deque(maxlen=200)
        self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                        encoding="utf-8", errors="replace")
        self.url = url
        self._announced = threading.Event()
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        try:
            self._wait_until_ready()
        except BaseException:
            self.kill()
            raise

    @classmethod
    def ingot(cls, *arguments):
        """`ingot serve ARGUMENTS` on a free port."""
        return cls([ingot(), "serve", *arguments, "--port", "0"])

    def _read_log(self):
        for line in self.process.stderr:
            self.log.append(line.rstrip())
            if self.url is None and (found := LISTENING.search(line)):
                self.url = found[1]
                self._announced.set()

    def _wait_until_ready(self):
        """Until it has said where it answers, and says that it is well: it may answer before its model is there."""
        end = time.monotonic() + START_LIMIT
        while time.monotonic() < end and self.process.poll() is None:
            if self.url is None:
                self._announced.wait(0.1)
                continue
            try:
                with urllib.request.urlopen(self.url + "/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.05)
        self._reader.join(1)
        raise Failed(f"did not start (exit code {self.process.poll()}):\n{self.tail()}")

    def tail(self, lines=20):
        """The last lines of the log."""
        return "\n".join(list(self.log)[-lines:])

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait(self, seconds=STOP_LIMIT):
        """The exit code, once the process is at its end."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failed(f"did not stop in {seconds} s:\n{self.tail()}") from None
        self._reader.join(5)
        return code

    def stop(self):
        """Asks it to end, and returns its exit code."""
        if self.process.poll() is None:
            self.signal()
        return self.wait()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.stop()
        else:
            self.kill()

    def metrics(self):
        """GET /metrics: sample with its labels -> value, as in {'ingot_requests_total{status="200"}': 3.0}."""
        with urllib.request.urlopen(self.url + "/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for line in lines if line and not line.startswith("#")
                for name, value in [line.rsplit(" ", 1)]}

    def metric(self, name, label=""):
        """The sum of a metric over all its labels, or over those that contain `label`; 0 if there are none."""
        return sum(value for sample, value in self.metrics().items()
                   if sample.partition("{")[0] == name and label in sample)

    def idle(self):
        """Whether it answers nobody, but for who asks this, and computes nothing."""
        now = self.metrics()
        return now[metrics.ACTIVE] <= 1 and now[metrics.RUNNING] == now[metrics.WAITING] == 0

    def resident(self):
        """Bytes of memory that are resident."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmRSS:"))

    def cpu_seconds(self):
        """What its threads have used together."""
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
