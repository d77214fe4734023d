"""Embeddings in both encodings, one or several."""
import base64
import math
import struct

import pytest
from openai import BadRequestError

pytestmark = pytest.mark.needs("/v1/embeddings")

TEXTS = ["A fox lost a lantern.", "An owl found the moon.", "Hello!"]


def embed(client, model, given, **parameters):
    return client.embeddings.create(model=model, input=given, **{"encoding_format": "float"} | parameters)


def test_one(client, model, tokenize):
    answer = embed(client, model, TEXTS[0])
    (entry,) = answer.data
    assert answer.object == "list" and entry.object == "embedding" and entry.index == 0
    assert answer.usage.prompt_tokens == answer.usage.total_tokens >= len(tokenize(TEXTS[0]))
    assert len(entry.embedding) > 1 and math.isclose(math.hypot(*entry.embedding), 1, rel_tol=1e-4)


def test_several_are_like_each_alone(client, model):
    together = embed(client, model, TEXTS).data
    assert [entry.index for entry in together] == [0, 1, 2]
    assert [entry.embedding for entry in together] == [embed(client, model, text).data[0].embedding for text in TEXTS]
    assert len({tuple(entry.embedding) for entry in together}) == 3


def test_base64_has_the_same_numbers(client, model):
    (entry,) = embed(client, model, TEXTS[0], encoding_format="base64").data
    data = base64.b64decode(entry.embedding, validate=True)
    numbers = embed(client, model, TEXTS[0]).data[0].embedding
    assert data == struct.pack(f"<{len(numbers)}f", *numbers)


def test_the_clients_default(client, model):
    """Which asks for base64 and decodes it."""
    (entry,) = client.embeddings.create(model=model, input=TEXTS[0]).data
    assert entry.embedding == pytest.approx(embed(client, model, TEXTS[0]).data[0].embedding, abs=1e-6)


def test_token_ids(client, model, tokenize):
    ids = [tokenize(text) for text in TEXTS]
    expected = [entry.embedding for entry in embed(client, model, TEXTS).data]
    assert embed(client, model, ids[0]).data[0].embedding == expected[0]
    assert [entry.embedding for entry in embed(client, model, ids).data] == expected


@pytest.mark.parametrize("given", ["", [], [""], ["fox", ""], [4096000], {"text": "fox"}, None])
def test_bad_input_is_refused(client, model, given):
    with pytest.raises(BadRequestError) as refused:
        embed(client, model, given)
    assert refused.value.param == "input"


@pytest.mark.parametrize("name, value", [("encoding_format", "hex"), ("dimensions", 0)])
def test_bad_parameters_are_refused(client, model, name, value):
    with pytest.raises(BadRequestError) as refused:
        embed(client, model, TEXTS[0], **{name: value})
    assert refused.value.param == name


def test_too_long_an_input_is_refused(client, model):
    with pytest.raises(BadRequestError) as refused:
        embed(client, model, "fox " * 50_000)
    assert refused.value.code == "context_length_exceeded"
