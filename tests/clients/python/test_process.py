"""The process: how it starts, and how it ends."""
import signal
import subprocess
import time

import httpx
import pytest

from conftest import connect, eventually, story
from server import ROOT, Failed, Server, ingot, was_cast

ENDLESS = {"max_tokens": 900, "n": 4, "temperature": 1, "seed": 2, "stream": True, "extra_body": {"ignore_eos": True}}


@pytest.fixture
def own():
    """A server for one test, and a client for it."""
    with Server.ingot() as server:
        client = connect(server.url)
        yield server, client, client.models.list().data[0].id


def test_the_model_in_the_program(own):
    server, client, model = own
    assert ("tale" in model or was_cast()) and server.url.startswith("http://127.0.0.1:")
    assert story(client, model).choices[0].message.content.strip()


@pytest.mark.skipif(was_cast(), reason="a program that was cast serves its own model only")
def test_a_model_file():
    with Server.ingot(ROOT / "models/tale-rwkv7-q4_k_m.gguf") as server:
        client = connect(server.url)
        model = client.models.list().data[0].id
        assert "rwkv7" in model
        first, again = (story(client, model, temperature=1, seed=1).choices[0].message.content for _ in range(2))
        assert first == again and first.strip()


def test_a_request_under_way_is_finished(own):
    server, client, model = own
    stream = story(client, model, **ENDLESS)
    chunks = [next(stream)]
    server.signal(signal.SIGTERM)
    chunks += stream
    ends = {choice.index: choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason}
    assert ends == dict.fromkeys(range(4), "length")
    assert server.wait() == 0


def test_nothing_new_is_taken_while_it_ends(own):
    server, client, model = own
    stream = story(client, model, **ENDLESS)
    next(stream)
    server.signal(signal.SIGTERM)

    def refuses():
        try:
            return httpx.get(server.url + "/health", timeout=5).status_code == 503
        except httpx.TransportError:
            return True

    assert eventually(refuses)
    assert server.wait() == 0
    stream.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(own, number):
    """Long before the answers are complete."""
    server, client, model = own
    streams = [story(client, model, **ENDLESS) for _ in range(8)]
    next(streams[0])
    server.signal(number)
    time.sleep(0.1)  # two signals of a kind within an instant are one
    server.signal(number)
    server.wait(3)
    for stream in streams:
        stream.close()


def test_idle_connections_do_not_hold_it_up(own):
    server, _, _ = own
    with httpx.Client() as kept:
        assert kept.get(server.url + "/health").status_code == 200
        server.signal(signal.SIGTERM)
        assert server.wait() == 0


def test_a_port_in_use(own):
    server, _, _ = own
    port = server.url.rsplit(":", 1)[1]
    second = subprocess.run([ingot(), "serve", "--port", port], capture_output=True, text=True, timeout=60)
    assert second.returncode != 0 and port in second.stderr and "panic" not in second.stderr


@pytest.mark.parametrize("arguments", [["no-such-file.gguf"], ["--port", "99999"], ["--host", "not a host"]])
def test_mistakes_on_the_command_line(arguments):
    with pytest.raises(Failed) as failed:
        Server.ingot(*arguments)
    assert "panic" not in str(failed.value) and "error" in str(failed.value).lower()
