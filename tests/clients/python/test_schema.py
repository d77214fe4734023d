"""What the server says of itself in /openapi.json, tried out: requests made from the document, such as it allows and
such as it forbids, must be answered as it says, and never with an error of the server's own.
"""
import os

import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from conftest import LIMIT

EXAMPLES = int(os.environ.get("INGOT_EXAMPLES", "20"))  # of each operation and mode
SETTINGS = hypothesis.settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
                               suppress_health_check=list(hypothesis.HealthCheck))
# How each operation calls the length of an answer.
LENGTHS = {"/v1/chat/completions": "max_tokens", "/v1/completions": "max_tokens", "/v1/messages": "max_tokens",
           "/v1/responses": "max_output_tokens"}


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
def test_every_operation(http, url, model, mode):
    interface = schemathesis.openapi.from_dict(http.get("/openapi.json").json())
    wrong, tried = [], 0
    for operation in (found.ok() for found in interface.get_all_operations()):
        @SETTINGS
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def answers_as_described(case):
            if mode is GenerationMode.POSITIVE and isinstance(case.body, dict):
                # For the model that is there, and short.
                if "model" in case.body:
                    case.body["model"] = model
                if case.path in LENGTHS:
                    case.body.pop("max_completion_tokens", None)
                    case.body[LENGTHS[case.path]] = 4
            # What a document allows may still be refused: not every string is a regular expression.
            case.call_and_validate(base_url=url, timeout=LIMIT, excluded_checks=[positive_data_acceptance])

        try:
            answers_as_described()
            tried += 1
        except hypothesis.errors.Unsatisfiable:
            pass  # nothing can be wrong with a request that has no parts
        except (Exception, BaseExceptionGroup) as failed:
            wrong.append(f"{operation.label}: {failed}")
    assert not wrong, "\n\n".join(wrong)
    assert tried
