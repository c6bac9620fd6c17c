"""`otelml gpu`: what is seen now, as a table and as JSON; and recording, over the replay."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from otelml.cli import gpu as command
from otelml.cli import main
from otelml.gpu.boundary import Boundary
from otelml.gpu.discovery import discover
from otelml.gpu.library import NvmlError
from otelml.gpu.recordings import read_recording, states_of
from otelml.gpu.replay import load
from otelml.gpu.session import Options
from otelml.gpu.walker import Walker

BUSY = {
    "index": 0,
    "name": "NVIDIA H200 (replayed)",
    "uuid": "GPU-00000000-0000-0000-0000-000000000001",
    "parent_uuid": None,
    "driver_version": "580.159.04",
    "utilization_ratio": 0.99,
    "sm_active_ratio": 0.8226536218589105,
    "sm_occupancy_ratio": 0.12157466056170882,
    "tensor_active_ratio": 0.7980830659688138,
    "dram_bandwidth_ratio": 0.15972297784617565,
    "memory_used_bytes": 2107506688,
    "memory_limit_bytes": 150754820096,
    "process_memory_bytes": None,
    "power_watts": 688.069,
    "power_limit_watts": 700.0,
    "temperature_celsius": 54,
    "sm_clock_hertz": 1_515_000_000,
    "memory_clock_hertz": 3_201_000_000,
    "pcie_receive_bytes_per_second": 7441.036001038196 * 2**20,
    "pcie_transmit_bytes_per_second": 450.3129631835604 * 2**20,
    "throttle_reasons": ["sw_power_cap"],
    "status": "ok",
}
UNKNOWN = dict.fromkeys(BUSY) | {"index": 1, "name": "NVIDIA H200", "uuid": "GPU-2", "status": "failed"}


def approximately(row: dict[str, Any]) -> dict[str, Any]:
    """A row whose fractions may be a bit off in the last place."""
    return {key: pytest.approx(value) if isinstance(value, float) else value for key, value in row.items()}


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recording does not wait for its window."""
    from otelml.gpu import record

    monkeypatch.setitem(record.record.__kwdefaults__, "gpm_window_s", 0)


def make_walker(names: list[str], clock: Any, state: str | None = "load") -> Walker:
    """A walker over replayed GPUs."""
    library = load(names, state)
    boundary = Boundary(library, clock)
    options = Options(lambda: library, lambda _: None, devices="all", environ={})
    devices, _ = discover(boundary, options)
    return Walker(boundary, devices, clock=clock)


# -- what is seen


def test_a_row_says_what_is_known() -> None:
    """The recording's numbers under load, in the units of the keys."""
    waits: list[float] = []
    looks = command.look(make_walker(["h200"], lambda: sum(waits)), None, waits.append)
    assert [command.describe(snapshot) for snapshot in looks] == [[approximately(BUSY)]]
    assert waits == [1.1]


def test_watching_looks_again_and_again() -> None:
    """Idle and load in turn, as replayed: the first look is the second walk."""
    now_s = [0.0]

    def wait(seconds: float) -> None:
        now_s[0] += seconds

    looks = command.look(make_walker(["h200"], lambda: now_s[0], None), 3.0, wait)
    seen = [command.describe(next(looks))[0] for _ in range(3)]
    assert [(row["utilization_ratio"], row["sm_active_ratio"], row["throttle_reasons"]) for row in seen] == [
        (0.99, pytest.approx(0.8226536218589105), ["sw_power_cap"]),
        (0.0, 0.0, []),
        (0.99, pytest.approx(0.8226536218589105), ["sw_power_cap"]),
    ]
    assert now_s == [pytest.approx(1.1 + 3.0 + 3.0)]


def test_the_table() -> None:
    """Names and units, a line a GPU, then which they are; `-` for what is not known."""
    assert list(command.create_table([BUSY, UNKNOWN])) == [
        "NVIDIA driver 580.159.04",
        "",
        "GPU  util  SM  occ  tensor  DRAM     memory    power  temp     SM/mem  PCIe rx    tx",
        "        %   %    %       %     %        GiB        W     C        MHz     MB/s  MB/s",
        "  0    99  82   12      80    16  2.0/140.4  688/700    54  1515/3201     7802   472",
        "  1     -   -    -       -     -          -        -     -          -        -     -",
        "",
        "  0  NVIDIA H200 (replayed)  GPU-00000000-0000-0000-0000-000000000001  ok  throttled: sw_power_cap",
        "  1  NVIDIA H200  GPU-2  failed",
        "",
        "util: the time in which anything ran, which is what other tools show. SM, occ (occupancy), tensor,",
        "DRAM (bandwidth): what the GPU did, of what it could do.",
    ]


def test_half_known_pairs_and_long_lines() -> None:
    """A limit or a value alone; reasons that need another line; what this program has there."""
    reasons = ["sw_power_cap", "hw_thermal", "hw_power_brake", "sync_boost"]
    row = BUSY | {"power_limit_watts": None, "throttle_reasons": reasons, "process_memory_bytes": 3 * 2**29}
    lines = list(command.create_table([row | {"memory_used_bytes": None}]))
    assert "  0    99  82   12      80    16  -/140.4  688/-    54  1515/3201     7802   472" in lines
    assert lines[6:8] == [
        "  0  NVIDIA H200 (replayed)  GPU-00000000-0000-0000-0000-000000000001  ok  throttled: sw_power_cap,",
        "     hw_thermal, hw_power_brake, sync_boost  this program: 1.5 GiB",
    ]


def test_eight_gpus_and_parts_of_them_fit_in_100_columns() -> None:
    """MIG devices are counted after their GPU's index."""
    full = BUSY | {"memory_used_bytes": 150754820096, "pcie_transmit_bytes_per_second": 63e9}
    parts = [UNKNOWN | {"index": 7, "parent_uuid": "GPU-8", "status": None} for _ in range(2)]
    lines = list(command.create_table([*(full | {"index": index} for index in range(8)), *parts]))
    assert max(map(len, lines)) <= 100
    assert [line.split()[0] for line in lines[4:14]] == [*"01234567", "7.1", "7.2"]
    assert lines[-4] == "7.2  NVIDIA H200  GPU-2  -"


def test_no_gpus_no_table() -> None:
    """Nothing is better than a head alone."""
    assert list(command.create_table([])) == []


# -- the command


def test_it_shows_replayed_gpus(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Through the same code as real ones; the output says so."""
    monkeypatch.setenv("OTELML_NVML_REPLAY", "h200:h200")
    monkeypatch.setenv("OTELML_NVML_REPLAY_STATE", "load")
    assert main(["gpu"]) == 0
    text = capsys.readouterr().out
    assert text.count("NVIDIA H200 (replayed)") == 2
    assert "\n  1    99  82   12      80    16  2.0/140.4  688/700    54  1515/3201     7802   472\n" in text


def test_json_is_for_programs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The rows; with --watch, a line a look, until it is interrupted."""
    monkeypatch.setenv("OTELML_NVML_REPLAY", "h200")
    monkeypatch.setenv("OTELML_NVML_REPLAY_STATE", "load")
    assert main(["gpu", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"gpus": [approximately(BUSY)]}

    def look(*_: Any) -> Any:
        yield from looks
        raise KeyboardInterrupt

    waits: list[float] = []
    looks = list(command.look(make_walker(["h200"], lambda: sum(waits)), None, waits.append)) * 2
    monkeypatch.setattr(command, "look", look)
    assert main(["gpu", "--json", "--watch", "0.5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["gpus"][0]["power_watts"] for line in lines] == [688.069, 688.069]
    assert main(["gpu", "--watch"]) == 0
    assert capsys.readouterr().out.count("NVIDIA driver 580.159.04\n") == 2


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"OTELML_NVML_REPLAY": "h201"}, "otelml: h201: no such file, and no built-in recording"),
        ({"OTELML_GPU_INTERVAL": "soon"}, "OTELML_GPU_INTERVAL"),
        ({"OTELML_NVML_REPLAY": "h200", "OTELML_GPU_DEVICES": "none"}, "otelml: no GPU to show"),
    ],
)
def test_nothing_to_show_is_said(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    environ: dict[str, str],
    said: str,
) -> None:
    """On stderr, with exit status 1."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert main(["gpu"]) == 1
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.out == ""


@pytest.mark.parametrize("arguments", [["gpu", "--watch", "0"], ["gpu", "--watch", "nan"], ["gpu", "record"]])
def test_a_wrong_command_line_is_refused(arguments: list[str]) -> None:
    """Exit status 2, as argparse has it."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_no_nvml_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A machine without a driver is told so."""
    from otelml import gpu

    def refuse(_: Any) -> None:
        raise NvmlError(12)

    monkeypatch.setattr(gpu, "open_library", refuse)
    assert main(["gpu"]) == 1
    assert capsys.readouterr().err == (
        "otelml: no GPU to show: the NVIDIA driver's library, libnvidia-ml.so.1, was not found\n"
    )


def test_a_closed_pipe_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """`otelml gpu | head -1` ends quietly, and so does a watch that nobody reads any more."""
    monkeypatch.setenv("OTELML_NVML_REPLAY", "h200")
    command = f"set -o pipefail; {sys.executable} -m otelml gpu --watch 0.1 | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "NVIDIA driver 580.159.04\n", "")


# -- recording


@pytest.mark.usefixtures("hasty")
def test_it_records_one_state_after_the_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The state by what the GPU does; the file then replays both."""
    out = tmp_path / "mine.json"
    monkeypatch.setenv("OTELML_NVML_REPLAY", "h200")
    assert main(["gpu", "record", str(out)]) == 0
    assert capsys.readouterr().out == (
        f"{out}: recorded GPU 0, NVIDIA H200 (replayed), as idle, by its activity\n"
        "Record it once more under load to have both states.\n"
    )
    monkeypatch.setenv("OTELML_NVML_REPLAY_STATE", "load")
    assert main(["gpu", "record", str(out)]) == 0
    assert (
        capsys.readouterr().out
        == f"{out}: recorded GPU 0, NVIDIA H200 (replayed), as load, by its activity\n"
    )
    monkeypatch.setenv("OTELML_NVML_REPLAY", str(out))
    assert main(["gpu", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"gpus": [approximately(BUSY)]}


@pytest.mark.usefixtures("hasty")
def test_recording_does_as_it_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The state, the device, and whether identities are masked."""
    out = tmp_path / "mine.json"
    monkeypatch.setenv("OTELML_NVML_REPLAY", "h200:h200")
    arguments = ["--state", "load", "--device", "1", "--unmasked"]
    assert main(["gpu", "record", str(out), *arguments]) == 0
    assert capsys.readouterr().out == (
        f"{out}: recorded GPU 1, NVIDIA H200 (replayed), as load, as asked\n"
        "Record it once more while idle to have both states.\n"
    )
    found = read_recording(out)
    assert states_of(found) == ("load",)
    assert found["load"]["nvmlDeviceGetUUID()"]["value"] == "GPU-00000000-0000-0000-0000-000000000002"


@pytest.mark.usefixtures("hasty")
def test_recordings_that_cannot_be_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """No such GPU, no such folder, another file: exit status 1, and nothing is written."""
    monkeypatch.setenv("OTELML_NVML_REPLAY", "h200")
    (tmp_path / "thesis").write_text("my thesis")
    for arguments, said in (
        ([str(tmp_path / "f"), "--device", "1"], "otelml: NVML says invalid_argument"),
        ([str(tmp_path / "none" / "f")], "none/f cannot be written: No such file or directory"),
        ([str(tmp_path / "thesis")], "thesis is left as it is: "),
    ):
        assert main(["gpu", "record", *arguments]) == 1
        assert said in capsys.readouterr().err
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("thesis", "my thesis")]


def test_a_device_file_is_no_place_for_a_recording(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`/dev/full` would be read for ever."""
    monkeypatch.setenv("OTELML_NVML_REPLAY", "h200")
    assert main(["gpu", "record", "/dev/full"]) == 1
    assert capsys.readouterr().err == "otelml: /dev/full is no file; choose another one\n"
