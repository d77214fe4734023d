"""Streams: they say the same as whole answers, piece by piece, and nothing is cut within a letter."""
import json

import pytest

from conftest import story, text_of


def test_same_text_as_a_whole_answer(client, model):
    whole = story(client, model).choices[0].message.content
    chunks = list(story(client, model, stream=True))
    assert text_of(chunks) == whole
    first, last = chunks[0].choices[0], chunks[-1].choices[0]
    assert first.delta.role == "assistant" and last.finish_reason == "length"
    assert all(chunk.choices[0].finish_reason is None for chunk in chunks[:-1])
    assert {(chunk.id, chunk.object, chunk.model) for chunk in chunks} == {
        (chunks[0].id, "chat.completion.chunk", model)}
    assert len(chunks) > 10, "it came in few pieces"


def test_usage_only_where_asked_for(client, model):
    whole = story(client, model).usage
    *chunks, last = story(client, model, stream=True, stream_options={"include_usage": True})
    assert last.choices == [] and last.usage.completion_tokens == whole.completion_tokens == 40
    assert last.usage.prompt_tokens == whole.prompt_tokens
    assert all(chunk.usage is None for chunk in chunks)
    assert all(chunk.usage is None and chunk.choices for chunk in story(client, model, stream=True))


def test_on_the_wire(http, model):
    """Server-sent events: `data:` lines with one object each, an empty line after each, and an end."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5, "stream": True}
    answer = http.post("/v1/chat/completions", json=body)
    assert answer.headers["content-type"].split(";")[0] == "text/event-stream"
    assert "no-cache" in answer.headers.get("cache-control", "")
    events = [event for event in answer.text.split("\n\n") if event and not event.startswith(":")]
    assert all(event.startswith("data: ") and "\n" not in event for event in events)
    assert events[-1] == "data: [DONE]"
    for event in events[:-1]:
        assert json.loads(event.removeprefix("data: "))["object"] == "chat.completion.chunk"


def test_several_choices(client, model):
    parameters = {"n": 3, "temperature": 1, "seed": 21}
    whole = story(client, model, **parameters).choices
    chunks = list(story(client, model, stream=True, **parameters))
    for choice in whole:
        assert text_of(chunks, choice.index) == choice.message.content
        ends = [c.finish_reason for chunk in chunks for c in chunk.choices
                if c.index == choice.index and c.finish_reason]
        assert ends == [choice.finish_reason]


@pytest.mark.needs("regex")
def test_letters_of_several_tokens_come_whole(client, model, tokenize):
    text = "ü€🦊𝄞é"
    assert len(tokenize(text)) > len(text)
    chunks = list(story(client, model, stream=True, extra_body={"regex": text}))
    assert text_of(chunks) == text
    assert not any("\ufffd" in choice.delta.content for chunk in chunks for choice in chunk.choices
                   if choice.delta.content)


@pytest.mark.needs("regex")
def test_an_answer_cut_within_a_letter(client, model, tokenize):
    """The bytes that are there are no text; a stream and a whole answer agree on what to say instead."""
    text = "🦊🦊"
    cut = {"max_tokens": len(tokenize(text)) - 1, "extra_body": {"regex": text}}
    whole = story(client, model, **cut).choices[0].message.content
    assert text_of(story(client, model, stream=True, **cut)) == whole
    assert whole.startswith("🦊") and whole.rstrip("\ufffd") == "🦊"


def test_nothing_of_a_stop_string_leaks(client, model):
    whole = story(client, model).choices[0].message.content
    stop = whole[len(whole) // 2:][:12]
    chunks = list(story(client, model, stream=True, stop=[stop]))
    assert text_of(chunks) == whole[:whole.index(stop)]
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_what_only_began_like_a_stop_string_is_not_lost(client, model):
    whole = story(client, model).choices[0].message.content
    assert text_of(story(client, model, stream=True, stop=[whole[-8:] + "?"])) == whole
