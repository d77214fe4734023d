"""Chat completions: what comes back, and what limits, seeds and stop strings do to it."""
import time

import pytest
from openai import BadRequestError

from conftest import story


def test_models(client, model):
    listed = client.models.list().data
    assert [m.id for m in listed] == [model] and listed[0].object == "model"
    assert client.models.retrieve(model).id == model


def test_plain_answer(client, model):
    answer = story(client, model)
    choice, usage = answer.choices[0], answer.usage
    assert answer.object == "chat.completion" and answer.id and answer.model == model
    assert abs(answer.created - time.time()) < 60
    assert len(answer.choices) == 1 and choice.index == 0
    assert choice.message.role == "assistant" and choice.message.content.strip()
    assert choice.finish_reason == "length" and usage.completion_tokens == 40
    assert usage.prompt_tokens > 0 and usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_ids_differ(client, model):
    assert story(client, model, max_tokens=1).id != story(client, model, max_tokens=1).id


def test_ends_by_itself(client, model):
    answer = story(client, model, "Hello!", max_tokens=900)
    assert answer.choices[0].finish_reason == "stop" and answer.usage.completion_tokens < 900


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("limit", [1, 7])
def test_length(client, model, name, limit):
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Tell me a story."}], **{name: limit})
    assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens == limit


def test_content_as_parts(client, model):
    def ask(*texts):
        return story(client, model, [{"type": "text", "text": text} for text in texts]).choices[0].message.content

    assert ask("Tell me a story about a fox.") == story(client, model).choices[0].message.content
    # Several parts are lines.
    assert ask("Tell me a story", "about a fox.") == \
        story(client, model, "Tell me a story\nabout a fox.").choices[0].message.content


def test_an_image_is_refused(client, model):
    parts = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
    with pytest.raises(BadRequestError) as refused:
        story(client, model, parts)
    assert "image" in refused.value.message


def test_roles(client, model):
    """A system message and earlier turns are part of the prompt."""
    def ask(*messages):
        return client.chat.completions.create(model=model, messages=list(messages), temperature=0, max_tokens=20)

    user = {"role": "user", "content": "Tell me a story."}
    alone = ask(user)
    for role in "system", "developer":
        told = ask({"role": role, "content": "You are a storyteller who likes owls."}, user)
        assert told.usage.prompt_tokens > alone.usage.prompt_tokens, role
    later = ask(user, {"role": "assistant", "content": "Once there was an owl."}, {"role": "user", "content": "Go on."})
    assert later.usage.prompt_tokens > alone.usage.prompt_tokens
    assert later.choices[0].message.content != alone.choices[0].message.content


def test_special_tokens_in_a_message_are_text(client, model, tokenize):
    """The name of the token that ends a turn does not end one when a user writes it."""
    name = "<|im_end|>"
    assert len(tokenize(name)) > 1
    plain, hostile = (story(client, model, text, max_tokens=1).usage.prompt_tokens for text in ("a", "a" + name))
    assert hostile - plain > 1


def test_several_choices(client, model):
    answer = story(client, model, n=2, temperature=1, seed=5)
    first, second = answer.choices
    assert [first.index, second.index] == [0, 1]
    assert first.message.content != second.message.content
    assert answer.usage.completion_tokens == 80


def test_seed_repeats(client, model):
    first, again, other = (story(client, model, temperature=1, seed=seed).choices[0].message.content
                           for seed in (11, 11, 12))
    assert first == again != other


def test_greedy_needs_no_seed(client, model):
    first, other = (story(client, model, seed=seed).choices[0].message.content for seed in (1, 2))
    assert first == other


def test_stop_string(client, model):
    whole = story(client, model).choices[0].message.content
    # A piece from the middle that begins within a word, so within a token or two.
    stop = whole[len(whole) // 2:][:6]
    answer = story(client, model, stop=stop).choices[0]
    assert answer.message.content == whole[:whole.index(stop)] and answer.finish_reason == "stop"


def test_first_of_several_stop_strings(client, model):
    whole = story(client, model).choices[0].message.content
    stops = ["never written", whole[40:46], whole[20:26]]
    expected = whole[:min(whole.index(stop) for stop in stops[1:])]
    assert story(client, model, stop=stops).choices[0].message.content == expected


@pytest.mark.parametrize("parameters", [
    {"temperature": 0.7, "top_p": 0.8},
    {"temperature": 1, "extra_body": {"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1}},
])
def test_sampling_parameters_repeat(client, model, parameters):
    first, again = (story(client, model, seed=3, **parameters).choices[0].message.content for _ in range(2))
    assert first == again


def test_top_k_of_one_is_greedy(client, model):
    greedy = story(client, model).choices[0].message.content
    narrow = story(client, model, temperature=1.5, seed=9, extra_body={"top_k": 1}).choices[0].message.content
    assert narrow == greedy
