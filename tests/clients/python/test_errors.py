"""Mistakes of clients: each has its status, its type and its code, and says which parameter it is about."""
import http.client
import socket
import urllib.parse

import openai
import pytest

from conftest import story

CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "Hi"}]


def error(answer):
    """The error object of an answer, which has all its fields."""
    assert answer.headers["content-type"].split(";")[0] == "application/json"
    found = answer.json()["error"]
    assert set(found) >= {"message", "type", "param", "code"} and found["message"]
    return found


def test_unknown_model(client):
    with pytest.raises(openai.NotFoundError) as refused:
        story(client, "gpt-9")
    assert refused.value.code == "model_not_found"
    assert "gpt-9" in refused.value.message
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")


@pytest.mark.parametrize("change, param", [
    ({"temperature": "hot"}, "temperature"), ({"messages": "Hi"}, "messages"), ({"messages": []}, "messages"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages"),
    ({"messages": [{"role": 5, "content": "Hi"}]}, "messages"),
    ({"messages": [{"content": "Hi"}]}, "messages"), ({"messages": [5]}, "messages"), ({"stream": "yes"}, "stream"),
    ({"stop": 5}, "stop"), ({"stop": ["a"] * 1000}, "stop"), ({"stop": [""]}, "stop"), ({"n": 1.5}, "n"),
    ({"seed": "x"}, "seed"), ({"max_tokens": 1e30}, "max_tokens"), ({"stream_options": 5}, "stream_options"),
    ({"logit_bias": [1]}, "logit_bias"), ({"audio": {}}, "audio"), ({"functions": [{}]}, "functions"),
])
def test_bad_parameters(http, model, change, param):
    answer = http.post(CHAT, json={"model": model, "messages": MESSAGES, "max_tokens": 1} | change)
    found = error(answer)
    assert answer.status_code == 400 and found["type"] == "invalid_request_error"
    assert found["param"].split("[")[0].split(".")[0] == param, found


def test_no_messages(http, model):
    answer = http.post(CHAT, json={"model": model})
    assert answer.status_code == 400 and error(answer)["param"] == "messages"


def test_null_is_as_if_left_out(http, model):
    names = ["temperature", "top_p", "n", "stop", "seed", "max_tokens", "tools", "response_format", "logit_bias",
             "stream", "stream_options", "presence_penalty", "frequency_penalty", "logprobs", "user"]
    body = {"model": model, "messages": MESSAGES} | dict.fromkeys(names) | {"max_completion_tokens": 1}
    assert http.post(CHAT, json=body).status_code == 200


def test_prompt_too_long(client, model):
    for ask in (lambda text: story(client, model, text),
                lambda text: client.completions.create(model=model, prompt=text)):
        with pytest.raises(openai.BadRequestError) as refused:
            ask("Once upon a time. " * 5000)
        assert refused.value.code == "context_length_exceeded"


@pytest.mark.parametrize("body", [
    b"", b"{", b"nothing", b"[]", b"5", b'{"model": "x", "model": }', b"\xff\xfe", b'{"a": "\xff"}', b"null",
    b'{"messages": "\\ud800"}', b"[" * 100_000, b'{"a":' * 100_000,
], ids=lambda body: repr(body[:12]))
def test_broken_json(http, body):
    answer = http.post(CHAT, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400 and error(answer)["type"] == "invalid_request_error"


def test_wrong_path(http):
    for method, path in [("GET", "/v1/nothing"), ("POST", "/v2/chat/completions"), ("GET", "/page/../../etc/passwd"),
                         ("GET", "/%2e%2e/%2e%2e/etc/passwd"), ("POST", "/nothing")]:
        answer = http.request(method, path)
        assert answer.status_code == 404, path
        error(answer)


@pytest.mark.parametrize("method, path", [
    ("GET", CHAT), ("DELETE", CHAT), ("GET", "/v1/completions"), ("POST", "/v1/models"), ("PUT", "/health"),
    ("GET", "/tokenize"),
])
def test_wrong_method(http, method, path):
    answer = http.request(method, path)
    assert answer.status_code == 405 and answer.headers["allow"]
    error(answer)


@pytest.mark.parametrize("chunked", [False, True])
def test_body_too_large(url, chunked):
    """Refused without being read to its end: by its stated length, or while it comes."""
    address = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
    piece, limit = b" " * (1 << 20), 256
    connection.putrequest("POST", CHAT)
    connection.putheader("content-type", "application/json")
    if chunked:
        connection.putheader("transfer-encoding", "chunked")
    else:
        connection.putheader("content-length", str(1 << 40))
    connection.endheaders()
    sent = 0
    try:
        while chunked and sent < limit:
            connection.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            sent += 1
    except OSError:
        pass  # it does not listen any more; what it said may still be there
    assert sent < limit, f"{sent} MiB were taken"
    try:
        assert connection.getresponse().status == 413
    except ConnectionError:
        # The answer is lost if what was sent after it is still unread. Only possible where we kept sending.
        assert chunked
    connection.close()


def test_huge_headers(url):
    """Are refused, or the connection is closed, at a bounded size."""
    address = urllib.parse.urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
        answer = b""
        try:
            for number in range(10_000):
                connection.sendall(b"X-%d: %s\r\n" % (number, b"a" * 1000))
            answer = connection.recv(100)
        except ConnectionError:
            return
        assert not answer or answer.startswith(b"HTTP/1.1 431"), answer


@pytest.mark.parametrize("request_bytes", [
    b"nonsense\r\n\r\n", b"GET /health HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20,
    b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
    b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
], ids=lambda sent: repr(sent[:20]))
def test_what_is_no_http(url, request_bytes):
    address = urllib.parse.urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(request_bytes)
        try:
            answer = connection.recv(1000)
        except ConnectionError:
            answer = b""
    assert not answer or answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400", b"HTTP/1.1 4")), answer
    with socket.create_connection((address.hostname, address.port), timeout=30):
        pass
