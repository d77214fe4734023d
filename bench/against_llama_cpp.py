#!/usr/bin/env python3
"""Decode and prefill speed of ingot and llama.cpp on the same file, in alternation.

  pip install llama-cpp-python
  cargo build --release --example speed
  python bench/against_llama_cpp.py MODEL.gguf [--rounds 5] [--threads 2] [--tokens 64] [--prompt 512]

A model to measure with, if there is none:
  cargo run --release --example synthetic -- qwen2.5-0.5b q4_k_m MODEL.gguf

Prints a line per round and the medians with their ratio. Shared machines drift from minute to
minute: only figures of one run may be compared.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def llama_cpp(a):
    """Runs in a process of its own: prompt tokens a second, decoded tokens a second."""
    import llama_cpp as l

    quiet = l.llama_log_callback(lambda *_: None)  # must outlive the calls
    l.llama_log_set(quiet, None)
    l.llama_backend_init()
    model = l.llama_model_load_from_file(a.model.encode(), l.llama_model_default_params())
    p = l.llama_context_default_params()
    p.n_ctx, p.n_batch, p.n_ubatch = a.prompt + a.tokens + 8, 512, 512
    p.n_threads = p.n_threads_batch = a.threads
    ctx = l.llama_init_from_model(model, p)

    def run(ids):
        array = (l.llama_token * len(ids))(*ids)
        assert l.llama_decode(ctx, l.llama_batch_get_one(array, len(ids))) == 0
        l.llama_synchronize(ctx)

    run([5])  # pages the weights in
    l.llama_memory_clear(l.llama_get_memory(ctx), True)
    start = time.perf_counter()
    run([i % 200 for i in range(a.prompt)])
    middle = time.perf_counter()
    for i in range(a.tokens):
        run([i % 200])
    end = time.perf_counter()
    print(json.dumps([a.prompt / (middle - start), a.tokens / (end - middle)]))


def ingot(a):
    speed = os.path.join(ROOT, "target/release/examples/speed")
    command = [speed, a.model, str(a.threads), str(a.prompt), str(a.tokens)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--tokens", type=int, default=64)
    p.add_argument("--prompt", type=int, default=512)
    p.add_argument("--llama-cpp", action="store_true", help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.llama_cpp:
        return llama_cpp(a)
    ours, theirs = [], []
    for i in range(a.rounds):
        ours.append(ingot(a))
        peer = [sys.executable, __file__, *sys.argv[1:], "--llama-cpp"]
        theirs.append(json.loads(subprocess.run(peer, check=True, capture_output=True, text=True).stdout))
        print(f"round {i + 1}: prefill / decode tok/s: ingot {ours[-1][0]:.1f} / {ours[-1][1]:.2f}, "
              f"llama.cpp {theirs[-1][0]:.1f} / {theirs[-1][1]:.2f}", flush=True)
    for what, j in (("prefill", 0), ("decode", 1)):
        x, y = (statistics.median(r[j] for r in side) for side in (ours, theirs))
        ratio = statistics.median(r[j] / s[j] for r, s in zip(ours, theirs))
        print(f"{what}: ingot {x:.1f}, llama.cpp {y:.1f} tok/s, median ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
