"""Pages of metrics merged into one that Prometheus takes."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from conch.control.metrics import merged

TRITON = """# HELP nv_inference_count Number of inferences
# TYPE nv_inference_count counter
nv_inference_count{model="m",version="1"} 7
# TYPE nv_cpu gauge
nv_cpu 0.5 1700000000000
"""
ENVOY = """# TYPE rq_time histogram
rq_time_bucket{cluster="slot-a",le="1"} 3
rq_time_bucket{cluster="slot-a",le="+Inf"} 4
rq_time_sum{cluster="slot-a"} 5.5
rq_time_count{cluster="slot-a"} 4

# a remark
"""
PAGES = [
    (TRITON, {"slot": "a", "server": "triton-a-0"}),
    (TRITON, {"slot": "b", "server": "triton-b-0"}),
    (ENVOY, {}),
]


def test_series_are_told_apart_and_families_stand_together() -> None:
    """Each family is described once, and its series follow it, with the labels of their page."""
    lines = merged(PAGES).splitlines()
    assert lines[:4] == [
        "# HELP nv_inference_count Number of inferences",
        "# TYPE nv_inference_count counter",
        'nv_inference_count{slot="a",server="triton-a-0",model="m",version="1"} 7',
        'nv_inference_count{slot="b",server="triton-b-0",model="m",version="1"} 7',
    ]
    assert 'nv_cpu{slot="a",server="triton-a-0"} 0.5 1700000000000' in lines
    assert "# a remark" not in lines
    assert lines[-5] == "# TYPE rq_time histogram"


def test_what_is_merged_reads_as_the_parts_did() -> None:
    """By Prometheus's own Python parser: every sample is there, with its value."""

    def samples(text: str) -> list[float]:
        families = text_string_to_metric_families(text)
        return sorted(sample.value for family in families for sample in family.samples)

    parts = sorted(value for text, _ in PAGES for value in samples(text))
    assert samples(merged(PAGES)) == parts


@pytest.mark.real
def test_promtool_takes_it() -> None:
    """Prometheus's own checker reads the page; what it dislikes are the servers' names."""
    program = shutil.which("promtool")
    assert program is not None, "the Debian package `prometheus` is missing"
    done = subprocess.run(
        [program, "check", "metrics"],
        input=merged(PAGES),
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in (done.stdout + done.stderr).splitlines() if line]
    disliked = ("should have", "should not have", "no help text")
    assert all(any(words in line for words in disliked) for line in said), said
    broken = subprocess.run(
        [program, "check", "metrics"], input="up{ 1", capture_output=True, text=True, check=False
    )
    assert "parsing error" in broken.stderr
