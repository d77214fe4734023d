"""Who may talk to the server: keys, hosts, origins."""
import httpx
import openai
import pytest

from conftest import LIMIT, connect, story
from server import Server

KEY = "open-sesame-1234"


@pytest.fixture(scope="module")
def guarded():
    """A server that wants a key."""
    with Server.ingot("--api-key", KEY) as server:
        yield server.url


def test_right_key(guarded):
    client = connect(guarded, KEY)
    model = client.models.list().data[0].id
    assert story(client, model, max_tokens=1).choices


@pytest.mark.parametrize("key", ["wrong", KEY + "1", KEY[:-1], KEY.upper()])
def test_wrong_key(guarded, key):
    client = connect(guarded, key)
    for ask in (client.models.list, lambda: story(client, "any"),
                lambda: client.completions.create(model="any", prompt="a")):
        with pytest.raises(openai.AuthenticationError) as refused:
            ask()
        assert refused.value.code == "invalid_api_key" and KEY not in str(refused.value.body)


@pytest.mark.parametrize("headers", [{}, {"authorization": KEY}, {"authorization": f"Basic {KEY}"},
                                     {"authorization": "Bearer"}])
def test_no_key(guarded, headers):
    for method, path in [("GET", "/v1/models"), ("POST", "/v1/chat/completions"), ("POST", "/tokenize")]:
        answer = httpx.request(method, guarded + path, headers=headers, timeout=LIMIT)
        assert answer.status_code == 401 and answer.json()["error"]["message"], path
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_health_needs_no_key(guarded):
    assert httpx.get(guarded + "/health").status_code == 200


def test_key_from_the_environment(monkeypatch):
    """Where other users of the machine do not see it."""
    monkeypatch.setenv("INGOT_API_KEY", KEY)
    with Server.ingot() as server:
        assert httpx.get(server.url + "/v1/models").status_code == 401
        assert connect(server.url, KEY).models.list().data


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil", ""])
def test_strange_host(http, host):
    """A name that was made to point here (DNS rebinding) opens nothing."""
    for path in "/v1/models", "/", "/health", "/metrics":
        answer = http.get(path, headers={"host": host})
        assert answer.status_code in ((403,) if host else (400, 403)), path


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_own_host(http, url, host):
    port = url.rsplit(":", 1)[1]
    assert http.get("/v1/models", headers={"host": f"{host}:{port}"}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "https://127.0.0.1.evil.example", "null",
                                    "http://127.0.0.1:1", "file://"])
def test_strange_origin(http, model, origin):
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    answer = http.post("/v1/chat/completions", json=body, headers={"origin": origin})
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


def test_own_origin(http, url):
    assert http.get("/v1/models", headers={"origin": url}).status_code == 200


def test_no_cors(http):
    """A page elsewhere may not even ask."""
    answer = http.options("/v1/chat/completions", headers={
        "origin": "http://evil.example", "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type"})
    assert not answer.is_success
    assert not any(name.startswith("access-control-") for name in answer.headers)


def test_headers_of_the_page(http):
    answer = http.get("/")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
