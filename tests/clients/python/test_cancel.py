"""Streams that nobody reads any more end, and leave nothing behind."""
import json
import socket
import urllib.parse

import metrics
from conftest import eventually, story

# An answer that goes on: what would end it is forbidden.
ENDLESS = {"max_tokens": 900, "temperature": 1, "seed": 1, "n": 4, "ignore_eos": True}
ALL_TOKENS = 4 * 900


def endless_stream(client, model):
    parameters = ENDLESS.copy()
    return story(client, model, stream=True, extra_body={"ignore_eos": parameters.pop("ignore_eos")}, **parameters)


def test_a_cancelled_stream(server, client, model):
    before = server.metric(metrics.GENERATED)
    stream = endless_stream(client, model)
    for _ in range(3):
        next(stream)
    stream.close()
    assert eventually(server.idle)
    assert server.metric(metrics.GENERATED) - before < ALL_TOKENS


def test_a_client_that_goes_away_before_the_answer(server, url, model):
    """No stream: the connection is closed while the answer is being made."""
    address = urllib.parse.urlsplit(url)
    before = server.metric(metrics.GENERATED)
    messages = [{"role": "user", "content": "Tell me a story."}]
    body = json.dumps({"model": model, "messages": messages} | ENDLESS).encode()
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
                           b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        assert eventually(lambda: server.metric(metrics.RUNNING) > 0)
    assert eventually(server.idle)
    assert server.metric(metrics.GENERATED) - before < ALL_TOKENS


def test_many_cancelled_at_once(server, client, model):
    streams = [endless_stream(client, model) for _ in range(12)]
    for number, stream in enumerate(streams):
        if number % 2:
            next(stream)
        stream.close()
    assert eventually(server.idle)
    assert story(client, model).choices[0].message.content, "the server goes on"
