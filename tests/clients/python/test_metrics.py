"""/health and /metrics."""
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

import metrics
from conftest import eventually, story


def test_health(http):
    answer = http.get("/health")
    assert answer.status_code == 200 and answer.json()["status"] == "ok"


def test_they_are_what_prometheus_reads(http, client, model):
    story(client, model, max_tokens=2)
    answer = http.get("/metrics")
    kind = answer.headers["content-type"].split(";")[0]
    parse = {"text/plain": parse_text, "application/openmetrics-text": parse_openmetrics}[kind]
    families = {family.name: family for family in parse(answer.text)}
    assert families and all(family.documentation and family.type != "unknown" for family in families.values())
    for family in families.values():
        for sample in family.samples:
            assert sample.name.startswith("ingot_") and sample.value >= 0, sample
    # Buckets of histograms count upwards, and the last one counts all.
    for family in families.values():
        if family.type == "histogram":
            buckets = [s for s in family.samples if s.name.endswith("_bucket")]
            series = {}
            for sample in buckets:
                labels = tuple(sorted((k, v) for k, v in sample.labels.items() if k != "le"))
                series.setdefault(labels, []).append((float(sample.labels["le"]), sample.value))
            for found in series.values():
                found.sort()
                assert [v for _, v in found] == sorted(v for _, v in found) and found[-1][0] == float("inf")


def test_counters_grow_by_what_was_done(server, client, model):
    def counted():
        chats = server.metric(metrics.REQUESTS, 'endpoint="/v1/chat/completions",status="200"')
        return server.metric(metrics.PROMPTED), server.metric(metrics.GENERATED), chats

    before = counted()
    answers = [story(client, model, f"Tell me a story, number {number}.", max_tokens=7) for number in range(3)]
    prompted = sum(answer.usage.prompt_tokens for answer in answers)
    expected = before[0] + prompted, before[1] + 21, before[2] + 3
    assert eventually(lambda: counted() == expected), (before, counted(), expected)


def test_running_while_it_runs(server, client, model):
    assert eventually(server.idle)
    stream = story(client, model, stream=True, max_tokens=900, n=4, extra_body={"ignore_eos": True})
    next(stream)
    assert server.metric(metrics.RUNNING) > 0
    stream.close()
    assert eventually(server.idle)


def test_a_refused_request_is_counted_but_makes_no_tokens(server, http):
    before = server.metric(metrics.GENERATED)
    assert http.post("/v1/chat/completions", json={"model": 5}).status_code in (400, 404)
    assert server.metric(metrics.GENERATED) == before


def test_a_prompt_that_was_there_before_is_not_read_again(client, model):
    prompt = "Tell me a story about a fox, an owl, a bear and a lantern in the snow. " * 10
    first, second = (story(client, model, prompt, max_tokens=2) for _ in range(2))
    assert second.usage.prompt_tokens_details.cached_tokens > 64
    assert first.choices[0].message.content == second.choices[0].message.content
