"""What a client can do to the probabilities: bias, penalties; and what it is told about them."""
import math

import pytest
from openai import BadRequestError

from conftest import story


def content(client, model, **parameters):
    return story(client, model, **parameters).choices[0].message.content


def test_a_bias_bans_a_token(client, model, tokenize):
    plain = story(client, model, logprobs=True).choices[0].logprobs.content
    banned = plain[5].token
    (token,) = tokenize(banned)
    answer = story(client, model, logprobs=True, logit_bias={str(token): -100}).choices[0].logprobs.content
    assert banned not in [entry.token for entry in answer]
    assert [entry.token for entry in answer[:5]] == [entry.token for entry in plain[:5]]


def test_a_bias_forces_a_token(client, model, tokenize):
    (token,) = tokenize(" fox")
    assert content(client, model, max_tokens=4, logit_bias={str(token): 100}) == " fox fox fox fox"


@pytest.mark.parametrize("bias", [{"4096000": 1}, {"x": 1}, {"5": 1e39}, {"-1": 1}])
def test_a_bad_bias_is_refused(client, model, bias):
    with pytest.raises(BadRequestError) as refused:
        content(client, model, logit_bias=bias)
    assert refused.value.param == "logit_bias"


@pytest.mark.parametrize("name", ["frequency_penalty", "presence_penalty"])
def test_penalties_make_repetition_rarer(client, model, name):
    """Over several stories: a single one may go another way at its first words."""
    def distinct(**parameters):
        stories = [story(client, model, f"Tell me a story about {hero}.", max_tokens=120, logprobs=True, **parameters)
                   for hero in ("a fox", "an owl", "a bear", "a mole")]
        return sum(len({entry.token for entry in answer.choices[0].logprobs.content}) for answer in stories)

    assert distinct(**{name: 2}) > distinct()


@pytest.mark.parametrize("name, value", [
    ("temperature", -1), ("top_p", 1.5), ("top_p", -0.1), ("n", 0), ("n", -1), ("n", 100_000), ("max_tokens", -2),
    ("top_logprobs", 100), ("frequency_penalty", 1e39), ("presence_penalty", -1e39),
])
def test_values_out_of_range_are_refused(client, model, name, value):
    with pytest.raises(BadRequestError) as refused:
        content(client, model, **{"logprobs": True, name: value})
    assert refused.value.param == name and refused.value.type == "invalid_request_error"


def test_logprobs(client, model):
    answer = story(client, model, logprobs=True, top_logprobs=3).choices[0]
    entries = answer.logprobs.content
    assert len(entries) == 40
    assert b"".join(bytes(entry.bytes) for entry in entries).decode() == answer.message.content
    for entry in entries:
        top = entry.top_logprobs
        assert len(top) == 3 and [t.logprob for t in top] == sorted((t.logprob for t in top), reverse=True)
        # Greedy: what was chosen is what is likeliest.
        assert top[0].token == entry.token and top[0].logprob == entry.logprob
        assert sum(math.exp(t.logprob) for t in top) <= 1 + 1e-5


def test_no_logprobs_unless_asked(client, model):
    assert story(client, model).choices[0].logprobs is None


def test_logprobs_without_alternatives(client, model):
    entries = story(client, model, logprobs=True).choices[0].logprobs.content
    assert len(entries) == 40 and all(entry.top_logprobs == [] for entry in entries)


def test_logprobs_are_the_same_in_a_stream(client, model):
    whole = story(client, model, logprobs=True, top_logprobs=2).choices[0].logprobs.content
    chunks = story(client, model, logprobs=True, top_logprobs=2, stream=True)
    streamed = [entry for chunk in chunks if (lp := chunk.choices[0].logprobs) for entry in lp.content]
    assert streamed == whole


def test_alternatives_need_logprobs(client, model):
    with pytest.raises(BadRequestError) as refused:
        content(client, model, top_logprobs=2)
    assert refused.value.param == "top_logprobs"
