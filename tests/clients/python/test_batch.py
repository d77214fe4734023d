"""Many at once: what one gets does not depend on the others."""
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import story, text_of

ANIMALS = "fox", "owl", "bear", "cat", "hare", "crow", "mole", "duck"
PROMPTS = [f"Tell me a story about a {animal}." for animal in ANIMALS]


def test_sixteen_streams(client, model):
    """Half greedy, half drawn with a seed; lengths differ, so that the batch keeps changing."""
    def ask(number):
        stream = story(client, model, PROMPTS[number % len(PROMPTS)], stream=True, max_tokens=30 + 9 * number,
                       temperature=number % 2, seed=number)
        return text_of(stream)

    alone = [ask(number) for number in range(16)]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(ask, range(16)))
    assert together == alone
    assert len(set(alone)) == 16


@pytest.mark.needs("regex")
def test_grammars_among_plain_requests(client, model):
    def ask(number):
        form = {"extra_body": {"regex": f"[0-9]{{{number + 1}}}"}} if number % 2 else {}
        return story(client, model, PROMPTS[number], temperature=1, seed=number, **form).choices[0].message.content

    alone = [ask(number) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == alone


def test_several_choices_each(client, model):
    """Prompts that are read in the same step, and begin several texts each."""
    def ask(number):
        choices = story(client, model, PROMPTS[number % len(PROMPTS)], n=3, temperature=1, seed=number,
                        max_tokens=1 + number % 3).choices
        return [choice.message.content for choice in choices]

    alone = [ask(number) for number in range(32)]
    with ThreadPoolExecutor(32) as pool:
        for _ in range(4):
            assert list(pool.map(ask, range(32))) == alone


def test_more_than_fit_at_once(client, model):
    """A hundred requests wait for their turn, and all are answered."""
    def ask(number):
        return story(client, model, max_tokens=20, seed=number).usage.completion_tokens

    with ThreadPoolExecutor(100) as pool:
        assert list(pool.map(ask, range(100))) == [20] * 100
