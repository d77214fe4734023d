"""Plain completions: prompts in all their forms, echo, logprobs."""
import pytest
from openai import BadRequestError

PROMPT = "Once upon a time there was a"


def complete(client, model, prompt=PROMPT, **parameters):
    return client.completions.create(model=model, prompt=prompt, **{"temperature": 0, "max_tokens": 20} | parameters)


def test_plain(client, model):
    answer = complete(client, model)
    choice = answer.choices[0]
    assert answer.object == "text_completion" and answer.model == model
    assert choice.text and choice.finish_reason == "length" and choice.logprobs is None
    assert answer.usage.completion_tokens == 20
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 20


def test_tokens_are_16_by_default(client, model):
    answer = client.completions.create(model=model, prompt=PROMPT, temperature=0)
    assert answer.usage.completion_tokens == 16


def test_stream(client, model):
    *chunks, last = complete(client, model, stream=True, stream_options={"include_usage": True})
    assert "".join(chunk.choices[0].text for chunk in chunks) == complete(client, model).choices[0].text
    assert chunks[-1].choices[0].finish_reason == "length"
    assert last.choices == [] and last.usage.completion_tokens == 20


def test_several_prompts(client, model):
    prompts = [PROMPT, "The owl said:", "Mia found a"]
    together = complete(client, model, prompts)
    assert [choice.index for choice in together.choices] == [0, 1, 2]
    for prompt, choice in zip(prompts, together.choices):
        assert choice.text == complete(client, model, prompt).choices[0].text
    assert together.usage.completion_tokens == 60


def test_several_prompts_and_choices(client, model):
    answer = complete(client, model, [PROMPT, "The owl"], n=2, temperature=1, seed=4, echo=True)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert [choice.text.startswith(PROMPT) for choice in answer.choices] == [True, True, False, False]


def test_token_ids(client, model, tokenize):
    text = complete(client, model).choices[0].text
    ids = tokenize(PROMPT)
    assert complete(client, model, ids).choices[0].text == text
    assert [choice.text for choice in complete(client, model, [ids, ids]).choices] == [text, text]


def test_echo(client, model):
    text = complete(client, model).choices[0].text
    assert complete(client, model, echo=True).choices[0].text == PROMPT + text


def test_logprobs(client, model):
    choice = complete(client, model, logprobs=2).choices[0]
    found = choice.logprobs
    assert "".join(found.tokens) == choice.text
    assert len(found.tokens) == len(found.token_logprobs) == len(found.top_logprobs) == len(found.text_offset) == 20
    ends = [offset + len(token) for offset, token in zip(found.text_offset, found.tokens)]
    assert found.text_offset[1:] == ends[:-1]
    for token, logprob, top in zip(found.tokens, found.token_logprobs, found.top_logprobs):
        assert len(top) == 2 and max(top.values()) == top[token] == logprob <= 0


def test_stop(client, model):
    text = complete(client, model).choices[0].text
    stop = text[len(text) // 2:][:5]
    choice = complete(client, model, stop=stop).choices[0]
    assert choice.text == text[:text.index(stop)] and choice.finish_reason == "stop"


def test_seed_repeats(client, model):
    first, again, other = (complete(client, model, temperature=1, seed=seed).choices[0].text for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("prompt", [[4096000], [-1], ["a", 5], [["a"]], {"a": 1}, []])
def test_bad_prompts_are_refused(client, model, prompt):
    with pytest.raises(BadRequestError) as refused:
        complete(client, model, prompt)
    assert refused.value.param == "prompt"


def test_a_suffix_is_refused(client, model):
    with pytest.raises(BadRequestError) as refused:
        complete(client, model, suffix="The end.")
    assert refused.value.param == "suffix"
