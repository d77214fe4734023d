"""One server for most tests, and the clients that talk to it.

  pip install -r requirements.txt && pytest            against `ingot serve` with the model in the program
  INGOT=path/to/ingot pytest                           another program
  INGOT_URL=http://127.0.0.1:8080 pytest               a server that is already running

The model writes children's stories, so tests look at the form of answers, at what limits and repetition
must do to them, and at what constraints force; never at whether they are right.
"""
import os
import time

import httpx
import pytest
from openai import OpenAI

from server import Server

LIMIT = 60  # seconds for a request


@pytest.fixture(scope="session")
def server():
    """A server of our own; tests that look at its metrics or its process need one."""
    if os.environ.get("INGOT_URL"):
        pytest.skip("needs a server of its own")
    with Server.ingot() as server:
        yield server


@pytest.fixture(scope="session")
def url(request):
    """Where the shared server answers: scheme, host and port."""
    return os.environ.get("INGOT_URL") or request.getfixturevalue("server").url


@pytest.fixture(scope="session")
def client(url):
    """The official client. It does not try again: a test would not see what failed."""
    return connect(url)


@pytest.fixture(scope="session")
def http(url):
    """Plain HTTP, for what the official client would not send."""
    with httpx.Client(base_url=url, timeout=LIMIT, trust_env=False) as http:
        yield http


@pytest.fixture(scope="session")
def model(client):
    """The name of the model that is served."""
    return client.models.list().data[0].id


@pytest.fixture(scope="session")
def documented(http):
    """The paths, and the names of all fields, in the server's own description of itself."""
    document = http.get("/openapi.json").raise_for_status().json()
    names, todo = set(document["paths"]), [document]
    while todo:
        part = todo.pop()
        if isinstance(part, dict):
            names |= set(part.get("properties", ()))
            todo += part.values()
        elif isinstance(part, list):
            todo += part
    return names


@pytest.fixture(autouse=True)
def skip_what_is_not_there(request):
    """The mark `needs`."""
    if mark := request.node.get_closest_marker("needs"):
        if missing := set(mark.args) - request.getfixturevalue("documented"):
            pytest.skip(f"the server has no {', '.join(missing)}")


@pytest.fixture(scope="session")
def tokenize(http):
    """text -> token ids."""
    return lambda text: http.post("/tokenize", json={"content": text}).raise_for_status().json()["tokens"]


def connect(url, key="none"):
    """The official client for a server at `url`."""
    return OpenAI(base_url=url + "/v1", api_key=key, max_retries=0, timeout=LIMIT)


def story(client, model, prompt="Tell me a story about a fox.", **parameters):
    """A chat completion of one message: greedy and 40 tokens unless told otherwise."""
    parameters = {"temperature": 0, "max_tokens": 40} | parameters
    return client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": prompt}], **parameters)


def text_of(stream, index=0):
    """The whole text of one choice of a stream of chat completion chunks."""
    return "".join(choice.delta.content or "" for chunk in stream for choice in chunk.choices
                   if choice.index == index)


def eventually(condition, seconds=10):
    """Whether the condition becomes true in time."""
    end = time.monotonic() + seconds
    while not (holds := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return holds
