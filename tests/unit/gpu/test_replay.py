"""Replayed recordings: they answer as the GPU did, walk by walk; the numbers are read off the built-in recording."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from otelml.gpu.library import NvmlError
from otelml.gpu.recordings import built_in_names, read_recording
from otelml.gpu.replay import ReplayError, ReplayLibrary, load

ENERGY, VIOLATION = "nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetViolationStatus"
GPM_IDS = (1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 20, 21, 60, 61)


def handle_of(library: ReplayLibrary, index: int = 0) -> Any:
    """The handle of a GPU."""
    return library.call("nvmlDeviceGetHandleByIndex", index)


def walk_over(library: ReplayLibrary, walks: int, name: str, *arguments: int) -> list[Any]:
    """The answers of a call over so many walks."""
    answers = []
    for _ in range(walks):
        library.begin_walk()
        answers.append(library.call(name, handle_of(library), *arguments))
    return answers


def code_of(ask: Any) -> int:
    """The code of the error that a call ends with."""
    with pytest.raises(NvmlError) as caught:
        ask()
    return caught.value.code


def make_mig(number: int, gpu_instance: int) -> dict[str, Any]:
    """A MIG device; its SM activity is its instance's number."""
    calls = {
        "nvmlDeviceGetName()": {"us": 1, "value": "NVIDIA H200 MIG 1g.18gb"},
        "nvmlDeviceGetUUID()": {"us": 1, "value": f"MIG-00000000-0000-0000-0000-{number:012d}"},
        "nvmlDeviceGetGpuInstanceId()": {"us": 1, "value": gpu_instance},
        "nvmlDeviceGetPciInfo()": {"us": 1, "value": {"busId": "00000000:00:06.0"}},
    }
    gpm = {"metrics": {"NVML_GPM_METRIC_SM_UTIL": {"id": 2, "ret": 0, "value": gpu_instance}}}
    return {"idle": calls, "load": calls, "idle_gpm": gpm, "load_gpm": gpm}


# -- states and counters


def test_the_states_take_turns() -> None:
    """Idle before the first walk and in it, then load, idle, ..."""
    library = load(["h200"])
    before = library.call("nvmlDeviceGetUtilizationRates", handle_of(library))
    idle, busy = {"gpu": 0, "memory": 0}, {"gpu": 99, "memory": 23}
    assert [before, *walk_over(library, 4, "nvmlDeviceGetUtilizationRates")] == [idle, idle, busy, idle, busy]


@pytest.mark.parametrize(("state", "milliwatts"), [("idle", 116391), ("load", 688069)])
def test_a_chosen_state_stays(state: str, milliwatts: int) -> None:
    """Its counters stand still."""
    library = load(["h200"], state)
    assert walk_over(library, 3, "nvmlDeviceGetPowerUsage") == [milliwatts] * 3
    assert len(set(walk_over(library, 3, ENERGY))) == 1


def test_a_recording_of_one_state_shows_that(recording: dict[str, Any]) -> None:
    """There is nothing to take turns with."""
    del recording["idle"], recording["idle_gpm"]
    library = ReplayLibrary([recording])
    assert walk_over(library, 3, ENERGY) == [5155526] * 3


def test_counters_go_on() -> None:
    """What a state of load adds is added each time it begins: 5155526 - 2217840 = 2937686 mJ."""
    assert walk_over(load(["h200"]), 10, ENERGY) == [
        2217840, 5155526, 5155526, 8093212, 8093212, 11030898, 11030898, 13968584, 13968584, 16906270,
    ]  # fmt: skip


def test_counters_inside_an_answer_go_on(recording: dict[str, Any]) -> None:
    """Throttle times, and the two of the four about remapped rows that count."""
    recording["load"]["nvmlDeviceGetRemappedRows()"]["value"] = [3, 1, 1, 0]
    library = ReplayLibrary([recording])
    statuses = walk_over(library, 4, VIOLATION, 0)
    assert [status["violationTime"] for status in statuses] == [0, 3555185664, 3555185664, 7110371328]
    assert [status["referenceTime"] for status in statuses] == [
        1795219677560778, 1795219686823361, 1795219686823361, 1795219696085944,
    ]  # fmt: skip
    rows = walk_over(ReplayLibrary([recording]), 4, "nvmlDeviceGetRemappedRows")
    assert rows == [[0, 0, 0, 0], [3, 1, 1, 0], [3, 1, 0, 0], [6, 2, 1, 0]]


def test_field_values_that_count_go_on() -> None:
    """Transmitted bytes grow by 2622463244 - 32261080 = 2590202164 each time.

    The received ones, 1269811508 and under load 510703340, have turned over at 2^32 in between: 3535859128.
    """
    library = load(["h200"])
    seen = []
    for _ in range(4):
        library.begin_walk()
        seen.append(library.field_values(handle_of(library), [82, 197, 198]))
    assert seen == [
        {82: 38, 197: 32261080, 198: 1269811508},
        {82: 46, 197: 2622463244, 198: 4805670636},
        {82: 38, 197: 2622463244, 198: 4805670636},
        {82: 46, 197: 5212665408, 198: 8341529764},
    ]


@pytest.mark.parametrize("sentinel", [9223372036854775794, 2**64 - 1, 2**32 - 1])
def test_sentinels_are_no_counters(recording: dict[str, Any], sentinel: int) -> None:
    """A number that stands for 'no reading' comes out as it is, not as a number near it."""
    recording["load"][f"{ENERGY}()"]["value"] = sentinel
    assert walk_over(ReplayLibrary([recording]), 4, ENERGY) == [2217840, sentinel] * 2


def test_a_counter_that_one_state_does_not_know(recording: dict[str, Any]) -> None:
    """It is as recorded in the other."""
    recording["load"][f"{ENERGY}()"] = {"us": 1, "error": "Unknown", "code": 999}
    library = ReplayLibrary([recording])
    assert walk_over(library, 1, ENERGY) == [2217840]
    assert code_of(lambda: walk_over(library, 1, ENERGY)) == 999
    assert walk_over(library, 1, ENERGY) == [2217840]


# -- answers and errors


def test_every_recorded_answer_comes_out(recording: dict[str, Any]) -> None:
    """Whatever was recorded in a state, value for value."""
    for state in ("idle", "load"):
        library = ReplayLibrary([recording], state)
        calls = {key: entry for key, entry in recording[state].items() if key != "fields"}
        answers = {}
        for key in calls:
            name, _, rest = key.rstrip(")").partition("(")
            answers[key] = library.call(name, handle_of(library), *map(int, filter(None, rest.split(","))))
        assert answers == {key: entry["value"] for key, entry in calls.items()}
        fields = {entry["id"]: entry["value"] for entry in recording[state]["fields"].values()}
        assert library.field_values(handle_of(library), list(fields)) == fields


def test_the_machine_answers() -> None:
    """The calls without a device; the count is that of the recordings."""
    library = load(["h200", "h200", "h200"])
    assert library.call("nvmlSystemGetDriverVersion") == "580.159.04"
    assert library.call("nvmlDeviceGetCount") == 3
    assert code_of(lambda: library.call("nvmlSystemGetTopologyGpuSet")) == 13
    assert code_of(lambda: handle_of(library, 3)) == 2


def test_errors_are_replayed(recording: dict[str, Any]) -> None:
    """A recorded one; a call that was wrong then; one that the driver does not have."""
    recording["idle"]["nvmlDeviceGetFanSpeed_v2(0)"] = {"us": 4, "error": "Not Supported", "code": 3}
    recording["idle"]["nvmlDeviceGetTemperatureV()"] = {"exception": "TypeError: ..."}
    library = ReplayLibrary([recording])
    calls = (("nvmlDeviceGetFanSpeed_v2", 0), ("nvmlDeviceGetTemperatureV",), ("nvmlDeviceGetMemoryInfo_v2",))
    codes = [
        code_of(lambda call=call: library.call(call[0], handle_of(library), *call[1:])) for call in calls
    ]
    assert codes == [3, 2, 13]


def test_field_values_fail_one_by_one(recording: dict[str, Any]) -> None:
    """A recorded error, an id that was not recorded, and a value of a type that nobody could read."""
    fields = recording["idle"]["fields"]
    fields["NVML_FI_DEV_MEMORY_TEMP"] = {"id": 82, "error": 999}
    fields["NVML_FI_DEV_TEMPERATURE_GPU_MAX_TLIMIT"] = {"id": 196, "type": 5, "value": None}
    fields["NVML_FI_DEV_ANOTHER_NAME_FOR_IT"] = {"id": 230, "value": 0}
    library = ReplayLibrary([recording])
    answers = library.field_values(handle_of(library), [82, 196, 230, 12345])
    assert {key: getattr(answer, "code", answer) for key, answer in answers.items()} == {
        82: 999,
        196: 3,
        230: 0,
        12345: 3,
    }
    assert isinstance(answers[82], NvmlError)


def test_a_closed_library_is_not_initialised() -> None:
    """As NVML after its shutdown."""
    library = load(["h200"])
    handle = handle_of(library)
    library.close()
    assert code_of(lambda: library.call("nvmlDeviceGetName", handle)) == 1
    assert code_of(lambda: library.field_values(handle, [82])) == 1


def test_time_passes_as_recorded() -> None:
    """With `sleep`, each answer takes the time that it took."""
    slept: list[float] = []
    library = ReplayLibrary([read_recording("h200")], "load", sleep=slept.append)
    handle = handle_of(library)
    library.call(ENERGY, handle)
    library.field_values(handle, [197, 198])
    samples = library.take_sample(handle), library.take_sample(handle)
    library.compute_metrics(*samples, [2])
    assert slept == pytest.approx([2880.041e-6, (313 + 194) * 1e-6, 222.942e-6, 222.942e-6, 4274.572e-6])


# -- GPM


def test_activity_is_that_of_the_later_sample() -> None:
    """A sample knows its state; what was not recorded, or failed, fails alone."""
    library = load(["h200"])
    handle = handle_of(library)
    library.begin_walk()
    idle = library.take_sample(handle)
    library.begin_walk()
    busy = library.take_sample(handle)
    values = library.compute_metrics(idle, busy, [2, 3, 5, 10, 21, 33])
    assert {key: getattr(value, "code", value) for key, value in values.items()} == {
        2: 82.26536218589105,
        3: 12.157466056170882,
        5: 79.80830659688138,
        10: 15.972297784617565,
        21: 7441.036001038196,
        33: 2,
    }
    assert library.compute_metrics(busy, idle, [2]) == {2: 0.0}


def test_a_metric_that_failed_fails(recording: dict[str, Any]) -> None:
    """With the code that the driver gave for it."""
    recording["load_gpm"]["metrics"]["NVML_GPM_METRIC_SM_UTIL"] = {"id": 2, "ret": 3, "value": 0.0}
    library = ReplayLibrary([recording], "load")
    samples = [library.take_sample(handle_of(library)) for _ in range(2)]
    (error,) = library.compute_metrics(*samples, [2]).values()
    assert (type(error), error.code) == (NvmlError, 3)


def test_samples_are_used_as_nvml_wants_it() -> None:
    """Not after they were given back, and only two of one GPU."""
    library = load(["h200", "h200"])
    one, other = (library.take_sample(handle_of(library, index)) for index in range(2))
    assert code_of(lambda: library.compute_metrics(one, other, [2])) == 2
    library.free_sample(one)
    assert code_of(lambda: library.compute_metrics(one, one, [2])) == 2


@pytest.mark.parametrize(
    ("gpm", "code"), [({}, 3), ({"sample_us": 9, "error": "no_permission", "code": 4}, 4)]
)
def test_without_activity_there_are_no_samples(recording: dict[str, Any], gpm: Any, code: int) -> None:
    """Not supported, or as the driver refused."""
    recording["idle_gpm"] = gpm
    library = ReplayLibrary([recording])
    assert code_of(lambda: library.take_sample(handle_of(library))) == code


# -- identities, MIG


def test_copies_are_gpus_of_their_own() -> None:
    """The second and third of a recording differ in all that tells GPUs apart, in both states."""
    library = load(["h200", "h200", "h200"])
    seen = []
    for _ in range(2):
        library.begin_walk()
        for index in range(3):
            handle = handle_of(library, index)
            pci = library.call("nvmlDeviceGetPciInfo", handle)
            uuid, serial = (
                library.call(name, handle) for name in ("nvmlDeviceGetUUID", "nvmlDeviceGetSerial")
            )
            seen.append((uuid, serial, pci["busId"], pci["busIdLegacy"], pci["domain"], pci["bus"]))
    uuid = "GPU-00000000-0000-0000-0000-00000000000"
    assert seen == 2 * [
        (f"{uuid}1", "0000000000000", "00000000:00:06.0", "0000:00:06.0", 0, 0),
        (f"{uuid}2", "0000000000002", "00000000:01:06.0", "0000:01:06.0", 0, 1),
        (f"{uuid}3", "0000000000003", "00000000:02:06.0", "0000:02:06.0", 0, 2),
    ]


def test_a_gpu_keeps_the_identity_that_is_its_own(recording: dict[str, Any]) -> None:
    """Only what is taken is changed; the index is the place among the recordings."""
    other = json.loads(json.dumps(recording))
    for state in ("idle", "load"):
        other[state]["nvmlDeviceGetUUID()"]["value"] = "GPU-abc"
        other[state]["nvmlDeviceGetIndex()"] = {"us": 1, "value": 0}
    library = ReplayLibrary([recording, other])
    handle = handle_of(library, 1)
    assert library.call("nvmlDeviceGetUUID", handle) == "GPU-abc"
    assert library.call("nvmlDeviceGetPciInfo", handle)["busId"] == "00000000:01:06.0"
    assert library.call("nvmlDeviceGetIndex", handle) == 1


def test_many_copies_have_many_identities() -> None:
    """More than a digit's worth."""
    library = load(["h200"] * 300)
    handles = [handle_of(library, index) for index in range(300)]
    assert len({library.call("nvmlDeviceGetUUID", handle) for handle in handles}) == 300
    bus_ids = [library.call("nvmlDeviceGetPciInfo", handle)["busId"] for handle in handles]
    assert (len(set(bus_ids)), bus_ids[255], bus_ids[256]) == (300, "00000000:FF:06.0", "00000001:00:06.0")


def test_mig_devices_have_handles(recording: dict[str, Any]) -> None:
    """Found by index, and by GPU instance for their activity."""
    recording["mig_devices"] = [make_mig(1, 7), make_mig(2, 9)]
    library = ReplayLibrary([recording])
    gpu = handle_of(library)
    parts = [library.call("nvmlDeviceGetMigDeviceHandleByIndex", gpu, index) for index in range(2)]
    assert [library.call("nvmlDeviceGetGpuInstanceId", part) for part in parts] == [7, 9]
    assert code_of(lambda: library.call("nvmlDeviceGetMigDeviceHandleByIndex", gpu, 2)) == 6
    samples = [library.take_sample(gpu, 9) for _ in range(2)]
    assert library.compute_metrics(*samples, [2]) == {2: 9.0}
    assert code_of(lambda: library.take_sample(gpu, 8)) == 2


def test_copies_of_mig_devices_are_on_their_gpu(recording: dict[str, Any]) -> None:
    """UUIDs of their own, the place of their GPU."""
    recording["mig_devices"] = [make_mig(1, 7), make_mig(2, 9)]
    library = ReplayLibrary([recording, recording])
    seen = []
    for gpu, index in ((0, 0), (0, 1), (1, 0), (1, 1)):
        part = library.call("nvmlDeviceGetMigDeviceHandleByIndex", handle_of(library, gpu), index)
        pci = library.call("nvmlDeviceGetPciInfo", part)
        seen.append((library.call("nvmlDeviceGetUUID", part)[-2:], pci["busId"]))
    assert seen == [
        ("01", "00000000:00:06.0"),
        ("02", "00000000:00:06.0"),
        ("03", "00000000:01:06.0"),
        ("04", "00000000:01:06.0"),
    ]


# -- events


def test_events_come_once_after_their_walk(recording: dict[str, Any]) -> None:
    """With the place of their GPU; to nobody who did not ask for that GPU."""
    recording["events"] = [{"after_walks": 2, "xid": 79}, {"after_walks": 1, "xid": 13}]
    library = ReplayLibrary([recording, recording])
    events = library.listen([handle_of(library, 1)])
    assert events.wait(0.001) is None
    library.begin_walk()
    assert [events.wait(0.001) for _ in range(2)] == [("00000000:01:06.0", 13), None]
    library.begin_walk()
    assert [events.wait(0.001) for _ in range(2)] == [("00000000:01:06.0", 79), None]


@pytest.mark.parametrize(
    ("act", "expected"), [("begin_walk", ("00000000:00:06.0", 48)), ("close", None), ("close events", None)]
)
def test_a_listener_wakes_up(recording: dict[str, Any], act: str, expected: tuple[str, int] | None) -> None:
    """By a walk, by its own end, and by the library's; after an end there is nothing more to wait for."""
    recording["events"] = [{"after_walks": 1, "xid": 48}]
    library = ReplayLibrary([recording])
    events = library.listen([handle_of(library)])
    got: list[Any] = []

    def wait() -> None:
        try:
            got.append(events.wait(60))
        except NvmlError:  # the end came first
            got.append(None)

    thread = threading.Thread(target=wait)
    thread.start()
    {"begin_walk": library.begin_walk, "close": library.close, "close events": events.close}[act]()
    thread.join(30)
    assert got == [expected]
    if act != "begin_walk":
        assert code_of(lambda: events.wait(60)) == 1


# -- loading


def test_the_built_in_recording_holds_what_is_asked_for() -> None:
    """An H200 in both states, with the numbers that the facts about it name."""
    assert built_in_names() == ["h200"]
    found = read_recording("h200")
    assert found["load"]["nvmlDeviceGetName()"]["value"] == "NVIDIA H200"
    for state in ("idle", "load"):
        metrics = found[f"{state}_gpm"]["metrics"].values()
        assert sorted(entry["id"] for entry in metrics) == sorted(GPM_IDS)
    assert "nvmlDeviceGetPcieThroughput(0)" not in found["load"]


def test_files_are_recordings_too(tmp_path: Path, recording: dict[str, Any]) -> None:
    """Beside built-in names, in the order given."""
    recording["idle"]["nvmlDeviceGetName()"]["value"] = "Mine"
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(recording))
    library = load([str(file), "h200"], "idle")
    names = [library.call("nvmlDeviceGetName", handle_of(library, index)) for index in range(2)]
    assert names == ["Mine", "NVIDIA H200"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, r"f\.json: no such file, and no built-in recording \(these are: h200\)"),
        ("{", r"f\.json is no JSON \(.*\): `otelml gpu record FILE` writes a recording"),
        ("[1]", r"f\.json is no recording of a GPU: `otelml gpu record FILE` writes a recording"),
        ('{"idle": {"nvmlDeviceGetName()": 3}}', r"f\.json is no recording of a GPU"),
        ('{"load": {}}', r"f\.json is no recording of a GPU"),
        (
            '{"load": {"nvmlDeviceGetName()": {"value": "x"}}}',
            r"f\.json has no state 'idle', only 'load': leave the state open, or add it",
        ),
    ],
)
def test_what_cannot_be_replayed_is_said(tmp_path: Path, text: str | None, said: str) -> None:
    """Which file, why, and what to do."""
    file = tmp_path / "f.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ReplayError, match=f"^{re.escape(str(tmp_path))}/{said}"):
        load(["h200", str(file)], "idle")


def test_bytes_and_folders_are_no_recordings(tmp_path: Path) -> None:
    """Said like the rest."""
    (tmp_path / "f").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ReplayError, match=r"^\S+/f is no JSON \('utf-8'"):
        read_recording(tmp_path / "f")
    with pytest.raises(ReplayError, match=r"^\S+ cannot be read: Is a directory"):
        read_recording(tmp_path)
