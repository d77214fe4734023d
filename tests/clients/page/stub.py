"""A server that serves the chat page as `ingot serve` does, and answers as the test that uses it says.

    with Stub() as stub:
        stub.script.append(Reply("Hello."))
        ... open stub.url, send a message ...

Replies are used up in order; when there are none left the last message comes back.
"""

import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PAGE = Path(__file__).parents[3] / "crates" / "ingot-server" / "page"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
CONTEXT = 4096


@dataclass
class Reply:
    """One answer of the server."""

    text: str = ""
    pieces: list[str] | None = None
    """The text as it is streamed; else in pieces of four characters."""
    finish: str = "stop"
    status: int = 200
    error: dict | None = None
    """With status 200: sent at the end of the stream, in place of a finish reason."""
    headers: dict = field(default_factory=dict)
    hold_after: int | None = None
    """So many pieces are sent, then nothing until `release` is set or the client goes away."""
    release: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)
    """Set when the client went away before the end."""
    breaks: bool = False
    """The connection is closed after the pieces, without an end."""


class Stub:
    """The server; `requests` are the completions it was asked for, oldest first."""

    def __init__(self):
        self.script: list[Reply] = []
        self.requests: list[dict] = []
        self.key: str | None = None
        self.models: list[str] | None = ["tale-llama"]
        self.pace = 0.0
        """Seconds between the pieces of an answer."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"stub": self}))
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/"

    def __enter__(self):
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Closes the port; more than once is harmless."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    stub: Stub

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path.partition("?")[0] == "/":
            return self._file("index.html")
        if self.path.startswith("/page/"):
            return self._file(self.path.removeprefix("/page/"))
        if self.path == "/v1/models" and self._allowed():
            if self.stub.models is None:
                return self._refuse(500, {"message": "not yet", "type": "server_error"})
            models = [
                {"id": name, "object": "model", "created": 1, "owned_by": "ingot", "context_length": CONTEXT}
                for name in self.stub.models
            ]
            return self._send(200, "application/json", json.dumps({"object": "list", "data": models}).encode())
        if self.path != "/v1/models":
            self._refuse(404, {"message": "there is no such page", "type": "invalid_request_error"})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._allowed():
            return
        self.stub.requests.append(body)
        reply = self.stub.script.pop(0) if self.stub.script else Reply(body["messages"][-1]["content"])
        if reply.status != 200:
            return self._refuse(reply.status, reply.error, reply.headers)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        try:
            self._stream(body, reply)
        except OSError:
            reply.left.set()

    def _stream(self, body, reply):
        pieces = reply.pieces
        if pieces is None:
            pieces = [reply.text[at : at + 4] for at in range(0, len(reply.text), 4)]
        self._event(body, {"role": "assistant", "content": ""})
        for number, piece in enumerate(pieces):
            self._hold(reply, number)
            time.sleep(self.stub.pace)
            self._event(body, {"content": piece})
        self._hold(reply, len(pieces))
        if reply.breaks:
            return
        if reply.error:
            return self._data({"error": reply.error})
        self._event(body, {}, reply.finish)
        usage = {"prompt_tokens": 17, "completion_tokens": len(pieces), "total_tokens": 17 + len(pieces)}
        usage["prompt_tokens_details"] = {"cached_tokens": 5}
        self._data(self._chunk(body) | {"choices": [], "usage": usage})
        self.wfile.write(b"data: [DONE]\n\n")

    def _hold(self, reply, number):
        if reply.hold_after != number:
            return
        while not reply.release.wait(0.02):
            self.wfile.write(b": keep-alive\n\n")

    def _chunk(self, body):
        return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}

    def _event(self, body, delta, finish=None):
        self._data(self._chunk(body) | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    def _data(self, value):
        self.wfile.write(f"data: {json.dumps(value)}\n\n".encode())

    def _allowed(self):
        if self.stub.key is None or self.headers["Authorization"] == f"Bearer {self.stub.key}":
            return True
        self._refuse(401, {"message": "wrong key", "type": "invalid_request_error", "code": "invalid_api_key"})
        return False

    def _refuse(self, status, error, headers=None):
        self._send(status, "application/json", json.dumps({"error": error}).encode(), headers)

    def _file(self, name):
        path = PAGE / name
        if path.parent != PAGE or not path.is_file():
            return self._refuse(404, {"message": "there is no such page", "type": "invalid_request_error"})
        self._send(200, TYPES[path.suffix], path.read_bytes(), {"Content-Security-Policy": POLICY})

    def _send(self, status, kind, body, headers=None):
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": len(body), **(headers or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)
