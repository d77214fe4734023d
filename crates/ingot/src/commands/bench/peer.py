"""Runs llama.cpp for `ingot bench --peer llama-cpp`.

Reads one JSON object a line from standard input and answers with one on standard
output. The first says what to open; then `begin` reads a context, `read` and `write`
say how many seconds that took after it. Tokens do not matter and come from a counter.
"""
import ctypes
import json
import sys
import time


def answer(**fields):
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def main():
    setup = json.loads(sys.stdin.readline())
    try:
        import llama_cpp as lib
    except ImportError as e:
        answer(error=str(e), missing=True)
        return
    quiet = lib.llama_log_callback(lambda level, text, data: None)
    lib.llama_log_set(quiet, None)
    lib.llama_backend_init()

    params = lib.llama_model_default_params()
    params.n_gpu_layers = setup["gpu_layers"]
    model = lib.llama_model_load_from_file(setup["model"].encode(), params)
    if not model:
        answer(error="llama.cpp cannot open " + setup["model"])
        return
    # What llama-bench has by itself, but for the context.
    params = lib.llama_context_default_params()
    params.n_ctx = setup["context"]
    params.n_batch, params.n_ubatch = 2048, 512
    params.n_threads = params.n_threads_batch = setup["threads"]
    params.type_k = params.type_v = setup["cache"]
    context = lib.llama_init_from_model(model, params)
    if not context:
        answer(error="llama.cpp has no room for a context of %d tokens" % setup["context"])
        return
    memory = lib.llama_get_memory(context)
    vocabulary = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
    state = None  # what there is after the context

    def run(count, batch):
        """Reads so many tokens, so many at a time."""
        at = 0
        while at < count:
            n = min(batch, count - at)
            tokens = (lib.llama_token * n)(*[(7919 * (at + i) + 17) % vocabulary for i in range(n)])
            status = lib.llama_decode(context, lib.llama_batch_get_one(tokens, n))
            if status != 0:
                raise RuntimeError("llama_decode says %d" % status)
            lib.llama_synchronize(context)
            at += n

    def back():
        """Puts the context back."""
        lib.llama_memory_clear(memory, True)
        if state is not None and lib.llama_state_seq_set_data(context, state, len(state), 0) == 0:
            raise RuntimeError("llama.cpp does not take back its state")

    answer(version=getattr(lib, "__version__", "unknown"))
    for line in sys.stdin:
        todo = json.loads(line)
        tokens = todo["tokens"]
        if todo["do"] == "begin":
            state = None
            back()
            run(tokens, params.n_batch)
            if tokens > 0:
                size = lib.llama_state_seq_get_size(context, 0)
                state = (ctypes.c_uint8 * size)()
                lib.llama_state_seq_get_data(context, state, size, 0)
            answer(seconds=0.0)
            continue
        back()
        start = time.perf_counter()
        run(tokens, params.n_batch if todo["do"] == "read" else 1)
        answer(seconds=time.perf_counter() - start)


try:
    main()
except Exception as e:  # whoever started this shows it
    answer(error="%s: %s" % (type(e).__name__, e))
