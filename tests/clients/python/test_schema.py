"""What the server says of itself in /openapi.json, tried out: requests made from the document, the right and the
wrong ones, must be answered as it says, and never with an error of the server's own.
"""
import os

import hypothesis
import pytest
import schemathesis

EXAMPLES = int(os.environ.get("INGOT_EXAMPLES", "20"))  # of each operation


@pytest.fixture(scope="session")
def interface(http, url):
    return schemathesis.openapi.from_dict(http.get("/openapi.json").json())


described = schemathesis.pytest.from_fixture("interface")


@described.parametrize()
@hypothesis.settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
                     suppress_health_check=list(hypothesis.HealthCheck))
def test_every_operation(case, url):
    case.call_and_validate(base_url=url, timeout=60)
