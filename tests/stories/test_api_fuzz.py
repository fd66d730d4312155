"""The API against its own description: thousands of requests that nobody thought of, and no answer the document does not know."""
import os
import subprocess
import sys

import pytest
from house import pressure

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance"
# The test clock would move, the stream never ends, a logout would end the run.
LEFT_OUT = "/test/clock|stream|session$"


@pytest.mark.parametrize("seed", [7])
def test_nothing_answers_what_the_document_does_not_know(house, seed):
    _, meter = house.patient()
    meter.send(pressure(1, "2026-03-02T07:50:00+08:00", 186, 112), pressure(2, "2026-03-02T07:55:00+08:00", 184, 110))
    house.advance("PT0S")
    tool = os.path.join(os.path.dirname(sys.executable), "schemathesis")
    done = subprocess.run([tool, "run", f"http://{house.addresses['http']}/api/openapi.json", "--header", f"Authorization: Bearer {house.login()}",
                           "--checks", CHECKS, "--max-examples", "25", "--seed", str(seed), "--exclude-path-regex", LEFT_OUT,
                           "--phases", "examples,coverage,fuzzing", "--no-color"], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, f"seed {seed}: {done.stdout[-6000:]}"
    assert house.call("GET", "/readyz", who=False)[0] == 200
