"""OpenAI's newer interface, /v1/responses, where the server has it."""
import json

import jsonschema
import pytest
from openai import BadRequestError, NotFoundError

from test_structured import SCHEMA

pytestmark = pytest.mark.needs("/v1/responses")


def respond(client, model, given="Tell me a story about a fox.", **parameters):
    return client.responses.create(model=model, input=given,
                                   **{"temperature": 0, "max_output_tokens": 40} | parameters)


def test_plain(client, model):
    answer = respond(client, model)
    assert answer.object == "response" and answer.id.startswith("resp_") and answer.model == model
    assert answer.output_text.strip()
    assert answer.status == "incomplete" and answer.incomplete_details.reason == "max_output_tokens"
    assert answer.usage.output_tokens == 40
    assert answer.usage.total_tokens == answer.usage.input_tokens + 40


def test_same_as_chat(client, model):
    chat = client.chat.completions.create(model=model, temperature=0, max_tokens=40, messages=[
        {"role": "system", "content": "Be kind."}, {"role": "user", "content": "Tell me a story about a fox."}])
    assert respond(client, model, instructions="Be kind.").output_text == chat.choices[0].message.content


def test_messages_and_parts(client, model):
    text = "Tell me a story about a fox."
    expected = respond(client, model).output_text
    assert respond(client, model, [{"role": "user", "content": text}]).output_text == expected
    parts = [{"type": "input_text", "text": text}]
    assert respond(client, model, [{"role": "user", "content": parts}]).output_text == expected


def test_stream(client, model):
    whole = respond(client, model)
    events = list(respond(client, model, stream=True))
    kinds = [event.type for event in events]
    assert kinds[0] == "response.created" and kinds[-1] == "response.incomplete"
    assert [event.sequence_number for event in events] == list(range(events[0].sequence_number,
                                                                     events[0].sequence_number + len(events)))
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == whole.output_text
    (done,) = [e for e in events if e.type == "response.output_text.done"]
    assert done.text == whole.output_text == events[-1].response.output_text
    for kind in ("response.output_item.added", "response.content_part.added", "response.output_item.done"):
        assert kind in kinds


def test_a_tool(client, model):
    parameters = {"type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"],
                  "additionalProperties": False}
    answer = respond(client, model, tool_choice="required", max_output_tokens=200, parallel_tool_calls=False, tools=[
        {"type": "function", "name": "switch_light", "parameters": parameters, "strict": True}])
    (call,) = [item for item in answer.output if item.type == "function_call"]
    assert call.name == "switch_light" and call.call_id
    jsonschema.validate(json.loads(call.arguments), parameters)


def test_schema(client, model):
    answer = respond(client, model, max_output_tokens=300, text={"format": {
        "type": "json_schema", "name": "answer", "schema": SCHEMA, "strict": True}})
    assert answer.status == "completed"
    jsonschema.validate(json.loads(answer.output_text), SCHEMA)


def test_mistakes(client, model):
    with pytest.raises(NotFoundError):
        respond(client, "gpt-9")
    with pytest.raises(BadRequestError) as refused:
        respond(client, model, temperature=-1)
    assert refused.value.param == "temperature"
    with pytest.raises((BadRequestError, NotFoundError)):
        respond(client, model, previous_response_id="resp_unheard_of")
