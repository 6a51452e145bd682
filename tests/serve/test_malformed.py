"""Malformed requests for inference: they are refused, and nothing is left of them."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.serve.environments import environment
from tests.serve.fuzz import fuzz
from tests.serve.openapi import description

pytest.importorskip("grpc", reason="gRPC needs tinyseq[grpc]")


def test_what_is_made_from_good_requests_is_answered_or_refused(tmp_path, caplog):
    wrong = []
    statuses, codes = fuzz(200, 1, tmp_path, lambda what, sent: wrong.append((what, sent)))
    assert not wrong and not caplog.records
    assert {200, 400, 404, 415} <= statuses.keys() and {"OK", "INVALID_ARGUMENT"} <= codes.keys()


def test_what_schemathesis_makes_is_answered_as_described(server, tmp_path):
    python = environment("schemathesis==4.32.5")
    before = server.output()
    described = tmp_path / "openapi.json"
    described.write_text(json.dumps(description()))
    command = [python.with_name("st"), "run", described, "--url", server.url(""), "--seed", "1"]
    command += ["--phases", "coverage,fuzzing", "--max-examples", "10", "--continue-on-failure"]
    # Of tensors the description says too little for all that fits it to be taken.
    command += [
        "--exclude-checks",
        "positive_data_acceptance",
        "--exclude-path-regex",
        "versions",
        "--no-color",
    ]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout
    assert server.output() == before
