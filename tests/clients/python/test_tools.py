"""Tool calls. Arguments have few possible values, so that a model that knows nothing writes them to their end."""
import json

import jsonschema
import pytest
from openai import BadRequestError

from conftest import story, text_of

pytestmark = pytest.mark.needs("tools", "tool_choice")


def tool(name, **properties):
    """A function whose properties are all required."""
    return {"type": "function", "function": {"name": name, "description": f"Does {name}.", "parameters": {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}}}


WEATHER = tool("get_weather", city={"enum": ["Paris", "Zürich", "São Paulo"]}, days={"type": "integer", "enum": [1, 3]})
LIGHT = tool("switch_light", on={"type": "boolean"})
TOOLS = {entry["function"]["name"]: entry for entry in (WEATHER, LIGHT)}


def ask(client, model, prompt="What is the weather in Paris?", **parameters):
    parameters = {"tools": list(TOOLS.values()), "max_tokens": 200} | parameters
    return story(client, model, prompt, **parameters)


def check_call(call):
    """A call of one of our tools with arguments that its schema allows; returns its name."""
    assert call.type == "function" and call.id
    schema = TOOLS[call.function.name]["function"]["parameters"]
    jsonschema.validate(json.loads(call.function.arguments), schema)
    return call.function.name


@pytest.mark.parametrize("seed", range(4))
def test_required(client, model, seed):
    choice = ask(client, model, tool_choice="required", temperature=1, seed=seed,
                 parallel_tool_calls=False).choices[0]
    assert choice.finish_reason == "tool_calls" and not choice.message.content
    (call,) = choice.message.tool_calls
    check_call(call)


@pytest.mark.parametrize("name", TOOLS)
def test_named(client, model, name):
    choice = ask(client, model, tool_choice={"type": "function", "function": {"name": name}}).choices[0]
    assert {check_call(call) for call in choice.message.tool_calls} == {name}
    # OpenAI says "stop" where the choice of the tool was not the model's.
    assert choice.finish_reason in ("stop", "tool_calls")


@pytest.mark.parametrize("seed", range(4))
def test_auto(client, model, seed):
    """Text or calls, whichever the model likes, but never a call as text."""
    choice = ask(client, model, temperature=1, seed=seed).choices[0]
    if choice.message.tool_calls:
        assert choice.finish_reason == "tool_calls"
        for call in choice.message.tool_calls:
            check_call(call)
    else:
        assert choice.finish_reason in ("stop", "length") and choice.message.content
        assert "get_weather" not in choice.message.content or "{" not in choice.message.content


def test_none(client, model):
    choice = ask(client, model, tool_choice="none").choices[0]
    assert choice.message.content and not choice.message.tool_calls
    assert choice.finish_reason in ("stop", "length")


def test_tools_are_in_the_prompt(client, model):
    assert ask(client, model, max_tokens=1).usage.prompt_tokens > story(client, model, max_tokens=1).usage.prompt_tokens


@pytest.mark.parametrize("seed", range(4))
def test_parallel_calls_have_ids_of_their_own(client, model, seed):
    choice = ask(client, model, tool_choice="required", temperature=1, seed=seed,
                 parallel_tool_calls=True, max_tokens=400).choices[0]
    calls = choice.message.tool_calls
    if choice.finish_reason == "length":  # it went on calling; the last call may be cut
        calls = calls[:-1]
    for call in calls:
        check_call(call)
    assert len({call.id for call in calls}) == len(calls)


@pytest.mark.parametrize("tool_choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_stream(client, model, tool_choice):
    parameters = {"tool_choice": tool_choice, "parallel_tool_calls": False}
    (whole,) = ask(client, model, **parameters).choices[0].message.tool_calls
    chunks = list(ask(client, model, stream=True, **parameters))
    deltas = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or ()]
    assert {delta.index for delta in deltas} == {0}
    assert deltas[0].id and deltas[0].type == "function" and deltas[0].function.name == whole.function.name
    assert not any(delta.id or delta.function.name for delta in deltas[1:])
    assert "".join(delta.function.arguments or "" for delta in deltas) == whole.function.arguments
    assert len(deltas) > 2, "the arguments came in one piece"
    assert not text_of(chunks)
    assert chunks[-1].choices[0].finish_reason == ask(client, model, **parameters).choices[0].finish_reason


def test_no_arguments(client, model):
    (call,) = ask(client, model, tools=[{"type": "function", "function": {"name": "ring"}}],
                  tool_choice={"type": "function", "function": {"name": "ring"}},
                  max_tokens=100, parallel_tool_calls=False).choices[0].message.tool_calls
    assert call.function.name == "ring" and isinstance(json.loads(call.function.arguments), dict)


def test_a_result_is_read(client, model):
    """The turn after a call: the call and what it gave are part of the prompt."""
    user = {"role": "user", "content": "What is the weather in Paris?"}
    call = {"id": "call_1", "type": "function", "function": {
        "name": "get_weather", "arguments": '{"city": "Paris", "days": 1}'}}
    asked = client.chat.completions.create(model=model, messages=[user], max_tokens=10, tools=[WEATHER])
    answer = client.chat.completions.create(model=model, max_tokens=10, tools=[WEATHER], messages=[
        user,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "It will rain."},
    ])
    assert answer.usage.prompt_tokens > asked.usage.prompt_tokens + 10


@pytest.mark.parametrize("parameters, param", [
    ({"tool_choice": {"type": "function", "function": {"name": "unheard_of"}}}, "tool_choice"),
    ({"tool_choice": "sometimes"}, "tool_choice"),
    ({"tools": None, "tool_choice": "required"}, "tool_choice"),
    ({"tools": [tool("two words")]}, "tools"),
    ({"tools": [WEATHER, WEATHER]}, "tools"),
    ({"tools": [tool("broken", x={"type": "strnig"})], "tool_choice": "required"}, "tools"),
])
def test_mistakes_are_refused(client, model, parameters, param):
    with pytest.raises(BadRequestError) as refused:
        ask(client, model, **parameters)
    assert refused.value.param.split("[")[0].split(".")[0] == param
