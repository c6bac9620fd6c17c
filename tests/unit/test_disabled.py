"""With telemetry off for good, everything is a cheap no-op that changes nothing for the program."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys
{block}
import otelml

@otelml.stage("decorated")
def decorated(x):
    return x

with otelml.stage("work", items=3, any="thing") as stage:
    stage.items = 4
assert stage.duration_s is None
assert decorated(5) == 5
uses = {{otelml.counter: "add", otelml.up_down_counter: "add", otelml.histogram: "record", otelml.gauge: "set"}}
for make, use in uses.items():
    instrument = make(f"my.{{make.__name__}}")
    getattr(instrument, use)(1, {{"a": "b"}})
    getattr(instrument.bind(a="b"), use)(1)
otelml.histogram("my.histogram").bind().record_many([1, 2])
otelml.gauge("my.gauge").bind().unset()
assert otelml.summary() == {{}}, otelml.summary()
try:
    with otelml.stage("failing"):
        raise KeyError("as it is")
except KeyError as error:
    assert error.args == ("as it is",)
import logging
with otelml.stage("said", log=logging.getLogger("said")) as said:
    pass
assert said.duration_s > 0
assert not [t for t in __import__("threading").enumerate() if "otelml" in t.name]
print("fine", "opentelemetry.sdk" in sys.modules)
"""
HIDE = """
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.startswith('opentelemetry.sdk'):
            raise ImportError(name)
sys.meta_path.insert(0, Hide())
"""
BLOCKS = {
    "disabled by OTEL_SDK_DISABLED": ("", {"OTEL_SDK_DISABLED": "true"}),
    "the SDK cannot be imported": ("sys.modules['opentelemetry.sdk'] = None", {}),
    "the SDK is hidden by a finder": (
        HIDE,
        {},
    ),
}


@pytest.mark.parametrize("how", BLOCKS)
def test_everything_is_a_no_op(how: str) -> None:
    """Stages, instruments and `summary()` work and do nothing, no thread is started, the SDK stays out."""
    block, environ = BLOCKS[how]
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(block=block)],
        env={**os.environ, **environ}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (result.returncode, result.stdout.split()[0]) == (0, "fine"), result.stderr
    assert how == "the SDK cannot be imported" or result.stdout.split()[1] == "False"
