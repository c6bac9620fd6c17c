"""Recordings: replayed again they give the same answers; identities are masked; no other file is harmed."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from otelml.gpu.library import NvmlError
from otelml.gpu.record import CALLS, FIELDS, METRICS, find_state, record
from otelml.gpu.recordings import read_recording
from otelml.gpu.recordings.files import RecordError, merge, save, write_json
from otelml.gpu.replay import ReplayLibrary, load

MASKED = "GPU-00000000-0000-0000-0000-000000000001"


def answer_of(ask: Any) -> Any:
    """What a call gives: its answer, or the code of its error."""
    try:
        return ask()
    except NvmlError as error:
        return error


def answers_of(library: ReplayLibrary) -> dict[str, Any]:
    """Everything that a library says in one walk of its GPU and of that's MIG devices, errors as their names."""
    library.begin_walk()
    gpu = library.call("nvmlDeviceGetHandleByIndex", 0)
    found: dict[str, Any] = {}
    parts = [gpu]
    while not isinstance(
        part := answer_of(lambda: library.call("nvmlDeviceGetMigDeviceHandleByIndex", gpu, len(parts) - 1)),
        NvmlError,
    ):
        parts.append(part)
    for number, handle in enumerate(parts):
        instance = library.call("nvmlDeviceGetGpuInstanceId", handle) if number else None
        for name, arguments in (*CALLS, ("nvmlDeviceGetFanSpeed_v2", (0,))):
            found[f"{number} {name}{arguments}"] = answer_of(
                lambda name=name, handle=handle, arguments=arguments: library.call(name, handle, *arguments)
            )
        found[f"{number} fields"] = library.field_values(handle, tuple(FIELDS.values()))
        samples = [answer_of(lambda instance=instance: library.take_sample(gpu, instance)) for _ in range(2)]
        found[f"{number} activity"] = (
            samples[0]
            if isinstance(samples[0], NvmlError)
            else library.compute_metrics(*samples, tuple(METRICS.values()))
        )
    return json.loads(json.dumps(found, default=lambda error: f"NvmlError {error.name}"))


def make_rich(recording: dict[str, Any]) -> dict[str, Any]:
    """A recording with a fan, errors of all kinds, and two MIG devices, one without activity."""
    for state in ("idle", "load"):
        calls = recording[state]
        calls["nvmlDeviceGetNumFans()"] = {"us": 1, "value": 1}
        calls["nvmlDeviceGetFanSpeed_v2(0)"] = {"us": 1, "value": 30}
        calls["nvmlDeviceGetMaxMigDeviceCount()"] = {"us": 1, "value": 7}
        calls["nvmlDeviceGetEccMode()"] = {"us": 1, "error": "Not Supported", "code": 3}
        calls["fields"]["NVML_FI_DEV_MEMORY_TEMP"] = {"id": 82, "error": 999}
        recording[f"{state}_gpm"]["metrics"]["NVML_GPM_METRIC_FP64_UTIL"] = {"id": 11, "ret": 3}
    recording["mig_devices"] = [make_mig(number) for number in (1, 2)]
    del recording["mig_devices"][1]["load_gpm"]
    return recording


def make_mig(number: int) -> dict[str, Any]:
    """A MIG device."""
    calls = {
        "nvmlDeviceGetName()": {"us": 1, "value": "NVIDIA H200 MIG 1g.18gb"},
        "nvmlDeviceGetUUID()": {"us": 1, "value": f"MIG-secret-{number}"},
        "nvmlDeviceGetGpuInstanceId()": {"us": 1, "value": 6 + number},
        "nvmlDeviceGetMemoryInfo()": {"us": 1, "value": {"total": 10, "free": 4, "used": 6}},
    }
    gpm = {"metrics": {"NVML_GPM_METRIC_SM_UTIL": {"id": 2, "ret": 0, "value": 10.0 * number}}}
    return {"idle": calls, "load": calls, "idle_gpm": gpm, "load_gpm": gpm}


def record_replay(recording: dict[str, Any], shown: str = "load", **options: Any) -> dict[str, Any]:
    """Record what a recording replays, without waiting."""
    return record(ReplayLibrary([recording], shown), gpm_window_s=0, **options)


@pytest.mark.parametrize("state", ["idle", "load"])
def test_a_recording_of_a_replay_replays_the_same(recording: dict[str, Any], state: str) -> None:
    """Every answer and every error, through a file as well."""
    rich = make_rich(recording)
    again = json.loads(write_json(record_replay(rich, state, state=state, masked=False)))
    expected = answers_of(ReplayLibrary([rich], state))
    assert answers_of(ReplayLibrary([again])) == expected
    assert [expected[key] for key in ("0 nvmlDeviceGetFanSpeed_v2(0,)", "0 nvmlDeviceGetEccMode()")] == [
        30,
        "NvmlError not_supported",
    ]
    assert expected["2 activity"] == (
        "NvmlError not_supported" if state == "load" else {**expected["1 activity"], "2": 20.0}
    )


def test_it_has_the_form_of_the_built_in_one(recording: dict[str, Any]) -> None:
    """The same keys and values, with times of its own."""
    new = record_replay(recording)
    assert list(new) == ["pynvml", "system", "load", "load_gpm", "note"]
    assert new["pynvml"] is None
    assert {name: what["value"] for name, what in new["system"].items()} == {
        name: what["value"] for name, what in recording["system"].items()
    }
    answered = {
        name: what["value"] for name, what in new["load"].items() if name != "fields" and "value" in what
    }
    assert answered == {name: what["value"] for name, what in recording["load"].items() if name != "fields"}
    assert (
        new["load"]["nvmlDeviceGetMemoryInfo_v2()"].items()
        >= {
            "error": "function_not_found",
            "code": 13,
        }.items()
    )
    assert new["load_gpm"]["metrics"] == recording["load_gpm"]["metrics"]
    assert {name: (what["id"], what["value"]) for name, what in new["load"]["fields"].items()} == {
        name: (what["id"], what["value"]) for name, what in recording["load"]["fields"].items()
    }
    assert new["note"] == (
        "NVML readings of one NVIDIA H200 (driver 580.159.04), recorded through a replay. 'us' is a call's own "
        "time. UUID and serial number are replaced."
    )


def test_times_are_those_of_the_calls() -> None:
    """In microseconds: a library that takes 2 ms for a call is found to do so."""
    source = read_recording("h200")
    source["load"]["nvmlDeviceGetName()"]["us"] = 2000
    for calls in (source["load"], source["load"]["fields"]):
        for entry in calls.values():
            entry.update({key: 0 for key in ("us", "latency_us") if key in entry and entry[key] != 2000})
    new = record(
        ReplayLibrary([source], "load", sleep=lambda s: time.sleep(s) if s == 0.002 else None), gpm_window_s=0
    )
    assert 2000 <= new["load"]["nvmlDeviceGetName()"]["us"] < 1e6


def test_the_activity_is_measured_over_the_window(recording: dict[str, Any]) -> None:
    """Between two samples, which are given back."""
    library = ReplayLibrary([recording], "load")
    samples, order = [], []
    take, free = library.take_sample, library.free_sample
    library.take_sample = lambda *arguments: (
        order.append("take") or samples.append(take(*arguments)) or samples[-1]
    )
    library.free_sample = lambda sample: order.append("free") or free(sample)
    record(library, gpm_window_s=1.5, wait=order.append)
    assert order == ["take", 1.5, "take", "free", "free"]
    assert all(sample.freed for sample in samples)


def test_a_gpu_without_activity(recording: dict[str, Any]) -> None:
    """An old one says so itself; one that refuses its samples is recorded as refusing."""
    recording["load"]["nvmlGpmQueryDeviceSupport()"]["value"]["isSupportedDevice"] = 0
    assert "load_gpm" not in record_replay(recording)
    recording["load"]["nvmlGpmQueryDeviceSupport()"]["value"]["isSupportedDevice"] = 1
    recording["load_gpm"] = {"error": "no_permission", "code": 4}
    refused = record_replay(recording)["load_gpm"]
    assert refused.items() >= {"error": "no_permission", "code": 4}.items()
    assert set(refused) == {"sample_us", "error", "code"}


# -- identities and states


@pytest.mark.parametrize("masked", [True, False])
def test_identities_are_masked_unless_asked_for(recording: dict[str, Any], masked: bool) -> None:
    """UUIDs and serial number, of MIG devices as well; nothing of them is left anywhere."""
    make_rich(recording)
    recording["load"]["nvmlDeviceGetUUID()"]["value"] = "GPU-secret"
    recording["load"]["nvmlDeviceGetSerial()"]["value"] = "1654321secret"
    new = record_replay(recording, masked=masked)
    found = [
        new["load"]["nvmlDeviceGetUUID()"]["value"],
        new["load"]["nvmlDeviceGetSerial()"]["value"],
        *(part["load"]["nvmlDeviceGetUUID()"]["value"] for part in new["mig_devices"]),
    ]
    mig = "MIG-00000000-0000-0000-0000-00000000000"
    secrets = ["GPU-secret", "1654321secret", "MIG-secret-1", "MIG-secret-2"]
    assert found == ([MASKED, "0" * 13, f"{mig}1", f"{mig}2"] if masked else secrets)
    assert ("secret" in write_json(new), "replaced" in new["note"]) == (not masked, masked)


def test_an_identity_that_is_not_told_is_none(recording: dict[str, Any]) -> None:
    """Nothing to mask where the driver gives no serial number."""
    recording["load"]["nvmlDeviceGetSerial()"] = {"us": 1, "error": "Not Supported", "code": 3}
    assert record_replay(recording)["load"]["nvmlDeviceGetSerial()"]["code"] == 3


@pytest.mark.parametrize(
    ("utilization", "sm", "state"),
    [
        (99, 82.3, "load"),
        (99, 10.0, "idle"),
        (0, 10.1, "load"),
        (11, None, "load"),
        (10, None, "idle"),
        (None, None, "idle"),
    ],
)
def test_the_state_follows_the_activity(utilization: int | None, sm: float | None, state: str) -> None:
    """That of the SMs, or else the classic utilisation, above 10 %."""
    error = {"us": 1, "error": "not_supported", "code": 3}
    rates = error if utilization is None else {"value": {"gpu": utilization, "memory": 0}}
    metric = {"id": 2, "ret": 3} if sm is None else {"id": 2, "ret": 0, "value": sm}
    gpm = {"metrics": {"NVML_GPM_METRIC_SM_UTIL": metric}}
    assert find_state({"nvmlDeviceGetUtilizationRates()": rates}, gpm) == state
    if sm is None:
        assert find_state({"nvmlDeviceGetUtilizationRates()": rates}, None) == state


def test_a_gpu_that_is_not_there() -> None:
    """NVML's own error."""
    with pytest.raises(NvmlError, match="invalid_argument"):
        record(load(["h200"]), 1)


# -- files


def record_state(name: str, recording: dict[str, Any]) -> dict[str, Any]:
    """A recording of one state."""
    return record_replay(recording, name, state=name)


def test_a_file_gets_one_state_after_the_other(tmp_path: Path, recording: dict[str, Any]) -> None:
    """Together they replay as the source does."""
    out = tmp_path / "mine.json"
    idle = record_state("idle", recording)
    assert save(out, idle) == idle
    both = save(out, record_state("load", recording))
    assert read_recording(out) == both
    again, source = load([str(out)]), load(["h200"])
    assert [answers_of(again) for _ in range(3)] == [answers_of(source) for _ in range(3)]
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.json"]


def test_a_file_has_a_call_a_line(tmp_path: Path, recording: dict[str, Any]) -> None:
    """So that two can be compared; what stands in it is what was given."""
    make_rich(recording)
    text = write_json(recording)
    assert json.loads(text) == recording
    assert '  "nvmlDeviceGetPowerUsage()": {"us": 25.949, "value": 688069},\n' in text
    assert '   "nvmlDeviceGetGpuInstanceId()": {"us": 1, "value": 7},\n' in text
    assert text.endswith("}\n")
    file = tmp_path / "h200.json"
    file.write_text(text)
    assert read_recording(file) == recording


def test_a_state_is_replaced_in_whole(recording: dict[str, Any]) -> None:
    """Nothing of the old one stays, the activity neither; the rest of the file does."""
    recording["events"] = [{"after_walks": 1, "xid": 79}]
    new = {"system": {}, "load": {"nvmlDeviceGetName()": {"us": 1, "value": "NVIDIA H200"}}, "note": "new"}
    merged = merge(recording, new)
    assert "load_gpm" not in merged
    kept = {key: recording[key] for key in ("idle", "idle_gpm", "note", "events", "pynvml")}
    assert merged == {**kept, "system": {}, "load": new["load"]}
    assert merge({"load": recording["load"], "note": "old"}, new) == new


def test_mig_devices_are_merged_one_by_one(recording: dict[str, Any]) -> None:
    """As long as there are as many."""
    make_rich(recording)
    idle, busy = (record_state(name, recording) for name in ("idle", "load"))
    merged = merge(idle, busy)
    assert [sorted(part) for part in merged["mig_devices"]] == [
        ["idle", "idle_gpm", "load", "load_gpm"],
        # Of one whose samples are refused the refusal is recorded.
        ["idle", "idle_gpm", "load", "load_gpm"],
    ]
    del busy["mig_devices"][1]
    with pytest.raises(RecordError, match="it has 2 MIG devices, and the GPU now has 1"):
        merge(idle, busy)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("my thesis", "is no JSON"),
        ('{"answer": 42}', "is no recording of a GPU"),
        (
            '{"load": {"nvmlDeviceGetName()": {"value": "NVIDIA A100"}}}',
            "is a recording of one NVIDIA A100, not of one NVIDIA H200",
        ),
    ],
)
def test_other_files_are_left_as_they_are(
    tmp_path: Path, recording: dict[str, Any], content: str, said: str
) -> None:
    """What is no recording, and one of another model."""
    out = tmp_path / "f"
    out.write_text(content)
    with pytest.raises(RecordError, match=f"f is left as it is: .*{said}.*; choose another file"):
        save(out, record_state("idle", recording))
    assert (out.read_text(), os.listdir(tmp_path)) == (content, ["f"])  # noqa: PTH208 - names only


def test_a_link_stays_one(tmp_path: Path, recording: dict[str, Any]) -> None:
    """What it points to is written."""
    (tmp_path / "link").symlink_to(tmp_path / "file")
    idle = record_state("idle", recording)
    save(tmp_path / "link", idle)
    assert (tmp_path / "link").is_symlink()
    assert read_recording(tmp_path / "file") == idle


def test_a_write_that_fails_leaves_nothing_behind(
    tmp_path: Path, recording: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old file stays whole."""
    out = tmp_path / "f"
    save(out, record_state("idle", recording))
    before = out.read_text()

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        save(out, record_state("load", recording))
    assert (out.read_text(), [entry.name for entry in tmp_path.iterdir()]) == (before, ["f"])
