"""Answers whose form is given: JSON, a schema, a grammar, a regular expression."""
import json
import re

import jsonschema
import pydantic
import pytest
from openai import BadRequestError

from conftest import story, text_of

pytestmark = pytest.mark.needs("response_format", "regex", "grammar")

# Every value is bounded, so that each answer comes to its end however little the model knows.
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "animal": {"enum": ["fox", "öwl", "bear"]},
        "legs": {"type": "integer", "minimum": 0, "maximum": 8},
        "tame": {"type": "boolean"},
        "friends": {"type": "array", "items": {"type": "string", "maxLength": 5}, "minItems": 1, "maxItems": 3},
        "home": {"anyOf": [{"type": "null"}, {"const": "den"}]},
    },
    "required": ["name", "animal", "legs", "tame", "friends", "home"],
    "additionalProperties": False,
}


def by_schema(schema, **more):
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True} | more}


@pytest.mark.parametrize("seed", range(8))
def test_schema(client, model, seed):
    choice = story(client, model, temperature=1, seed=seed, max_tokens=300,
                   response_format=by_schema(SCHEMA)).choices[0]
    assert choice.finish_reason == "stop"
    jsonschema.validate(json.loads(choice.message.content), SCHEMA)


def test_schema_in_a_stream(client, model):
    parameters = {"max_tokens": 300, "response_format": by_schema(SCHEMA)}
    whole = story(client, model, **parameters).choices[0].message.content
    assert text_of(story(client, model, stream=True, **parameters)) == whole


def test_several_choices_by_schema(client, model):
    choices = story(client, model, n=3, temperature=1.5, seed=8, max_tokens=300,
                    response_format=by_schema(SCHEMA)).choices
    for choice in choices:
        jsonschema.validate(json.loads(choice.message.content), SCHEMA)
    assert len({choice.message.content for choice in choices}) > 1


def test_parsed_by_the_client(client, model):
    """The client's own way: a class becomes the schema, and the answer one of its objects."""
    class Light(pydantic.BaseModel):
        on: bool
        percent: int = pydantic.Field(ge=0, le=100)

    answer = client.chat.completions.parse(model=model, messages=[{"role": "user", "content": "Light!"}],
                                           temperature=0, max_tokens=100, response_format=Light)
    light = answer.choices[0].message.parsed
    assert isinstance(light, Light) and 0 <= light.percent <= 100


@pytest.mark.parametrize("seed", range(4))
def test_json_object(client, model, seed):
    """An object, or as much of one as there was room for."""
    choice = story(client, model, "Answer in JSON.", temperature=0.5, seed=seed, max_tokens=200,
                   response_format={"type": "json_object"}).choices[0]
    text = choice.message.content
    assert text.lstrip().startswith("{")
    if choice.finish_reason == "stop":
        assert isinstance(json.loads(text), dict)
    else:
        # Cut off: what is there must be the beginning of an object, so the mistake is at its end.
        with pytest.raises(json.JSONDecodeError) as cut:
            json.loads(text)
        opened = "Unterminated string" in cut.value.msg or "Invalid" in cut.value.msg
        assert opened or cut.value.pos >= len(text.rstrip()) - 1


def test_text_is_the_default(client, model):
    assert story(client, model, response_format={"type": "text"}).choices[0].message.content \
        == story(client, model).choices[0].message.content


@pytest.mark.parametrize("pattern", ["[0-9]{3}-[0-9]{4}", "(fox|bear|öwl){2}", "[^a-z]{5}"])
@pytest.mark.parametrize("seed", range(2))
def test_regex(client, model, pattern, seed):
    choice = story(client, model, temperature=1, seed=seed, extra_body={"regex": pattern}).choices[0]
    assert re.fullmatch(pattern, choice.message.content) and choice.finish_reason == "stop"


@pytest.mark.parametrize("grammar", [
    'root ::= "yes" | "no" more\nmore ::= "!" | "!" more2\nmore2 ::= "?"',
    'start: "yes" | "no" more\nmore: "!" | "!" "?"',
], ids=["gbnf", "lark"])
def test_grammar(client, model, grammar):
    answers = {story(client, model, temperature=2, seed=seed, extra_body={"grammar": grammar})
               .choices[0].message.content for seed in range(8)}
    assert answers <= {"yes", "no!", "no!?"} and len(answers) > 1


def test_a_completion_by_regex(client, model):
    answer = client.completions.create(model=model, prompt="The year was", extra_body={"regex": " 1[0-9]{3}"})
    assert re.fullmatch(" 1[0-9]{3}", answer.choices[0].text)


def test_logprobs_within_a_grammar(client, model):
    choice = story(client, model, logprobs=True, top_logprobs=2, extra_body={"regex": "fox|bear"}).choices[0]
    assert "".join(entry.token for entry in choice.logprobs.content) == choice.message.content


@pytest.mark.parametrize("parameters, param", [
    ({"response_format": by_schema({"type": "strnig"})}, "response_format"),
    ({"response_format": by_schema({"$ref": "#/definitions/none"})}, "response_format"),
    ({"response_format": {"type": "yaml"}}, "response_format"),
    ({"extra_body": {"regex": "(open"}}, "regex"),
    ({"extra_body": {"regex": 5}}, "regex"),
    ({"extra_body": {"grammar": "start: unheard"}}, "grammar"),
    ({"extra_body": {"grammar": "root ::= root"}}, "grammar"),
    ({"extra_body": {"grammar": "start: " + "(" * 100_000}}, "grammar"),
    ({"response_format": by_schema({"type": "array", "items": [{}] * 3, "minItems": 10**9})}, "response_format"),
])
def test_mistakes_are_refused(client, model, parameters, param):
    with pytest.raises(BadRequestError) as refused:
        story(client, model, **parameters)
    assert refused.value.param.split(".")[0] == param
    assert story(client, model, max_tokens=1).choices, "the server goes on"


def test_two_forms_at_once_are_refused(client, model):
    with pytest.raises(BadRequestError):
        story(client, model, response_format=by_schema(SCHEMA), extra_body={"regex": "a"})
