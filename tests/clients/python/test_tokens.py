"""/tokenize and /detokenize."""
import pytest


@pytest.mark.parametrize("text", ["", "Once upon a time", " two  spaces\n\tand more", "ü€🦊𝄞", "<|im_end|>", "\0"])
def test_there_and_back(http, tokenize, text):
    tokens = tokenize(text)
    assert all(isinstance(token, int) for token in tokens) and bool(tokens) == bool(text)
    back = http.post("/detokenize", json={"tokens": tokens})
    assert back.status_code == 200 and back.json()["content"] == text


def test_half_a_letter(http, tokenize):
    tokens = tokenize("🦊")
    assert len(tokens) > 1
    assert http.post("/detokenize", json={"tokens": tokens[:1]}).json()["content"] == "\ufffd"


@pytest.mark.parametrize("path, body", [
    ("/detokenize", {"tokens": [4096000]}), ("/detokenize", {"tokens": [-1]}), ("/detokenize", {"tokens": [1.5]}),
    ("/detokenize", {"tokens": "a"}), ("/detokenize", {}), ("/tokenize", {"content": 5}), ("/tokenize", {}),
])
def test_mistakes_are_refused(http, path, body):
    answer = http.post(path, json=body)
    assert answer.status_code == 400 and answer.json()["error"]["message"]


def test_a_long_text(http, tokenize):
    text = "Once upon a time there was a fox. " * 3000
    assert len(tokenize(text)) > 20_000
    tokens = tokenize("x" * 100_000)
    assert http.post("/detokenize", json={"tokens": tokens}).json()["content"] == "x" * 100_000
