"""Anthropic's interface, /v1/messages, with their client, where the server has it."""
import anthropic
import jsonschema
import pytest

from conftest import LIMIT

pytestmark = pytest.mark.needs("/v1/messages")

ASK = [{"role": "user", "content": "Tell me a story about a fox."}]


@pytest.fixture(scope="module")
def claude(url):
    return anthropic.Anthropic(base_url=url, api_key="none", max_retries=0, timeout=LIMIT)


def write(claude, model, **parameters):
    return claude.messages.create(model=model, **{"messages": ASK, "max_tokens": 40} | parameters,
                                  extra_body={"temperature": 0})


def test_plain(claude, client, model):
    answer = write(claude, model)
    (block,) = answer.content
    assert answer.type == "message" and answer.role == "assistant" and answer.model == model
    assert block.type == "text" and answer.stop_reason == "max_tokens" and answer.usage.output_tokens == 40
    chat = client.chat.completions.create(model=model, messages=ASK, temperature=0, max_tokens=40)
    assert block.text == chat.choices[0].message.content
    # What was known from before is counted apart.
    assert answer.usage.input_tokens + answer.usage.cache_read_input_tokens == chat.usage.prompt_tokens


def test_system_and_blocks(claude, model):
    expected = write(claude, model, system="Be kind.").content[0].text
    blocks = write(claude, model, system=[{"type": "text", "text": "Be kind."}],
                   messages=[{"role": "user", "content": [{"type": "text", "text": ASK[0]["content"]}]}])
    assert blocks.content[0].text == expected


def test_stop_sequence(claude, model):
    whole = write(claude, model).content[0].text
    stop = whole[len(whole) // 2:][:6]
    answer = write(claude, model, stop_sequences=[stop])
    assert answer.content[0].text == whole[:whole.index(stop)]
    assert answer.stop_reason == "stop_sequence" and answer.stop_sequence == stop


def test_stream(claude, model):
    whole = write(claude, model)
    with claude.messages.stream(model=model, messages=ASK, max_tokens=40, extra_body={"temperature": 0}) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_message()
    assert {"message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta",
            "message_stop"} <= kinds
    assert final.content[0].text == whole.content[0].text and final.stop_reason == "max_tokens"
    assert final.usage.output_tokens == 40


def test_a_tool(claude, model):
    schema = {"type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"],
              "additionalProperties": False}
    answer = write(claude, model, max_tokens=200, tools=[{"name": "switch_light", "input_schema": schema}],
                   tool_choice={"type": "tool", "name": "switch_light"})
    (call,) = [block for block in answer.content if block.type == "tool_use"]
    assert answer.stop_reason == "tool_use" and call.name == "switch_light" and call.id
    jsonschema.validate(call.input, schema)


def test_mistakes(claude, model):
    with pytest.raises(anthropic.NotFoundError) as refused:
        write(claude, "claude-0")
    assert refused.value.body["type"] == "error" and refused.value.body["error"]["type"] == "not_found_error"
    with pytest.raises(anthropic.BadRequestError) as refused:
        write(claude, model, max_tokens=-1)
    assert refused.value.body["error"]["type"] == "invalid_request_error"
