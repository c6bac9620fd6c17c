"""Which GPUs a process reports: environments and a list of GPUs in, GPUs and sentences out."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otelml.gpu.selection import Candidate, Chosen, MigCandidate, Selection, select

H200, L4 = "NVIDIA H200", "NVIDIA L4"
PCI_ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def gpu(index: int, name: str = H200, mig: tuple[MigCandidate, ...] = ()) -> Candidate:
    """GPU `index`, whose UUID begins with its index five times."""
    return Candidate(index, f"GPU-{str(index) * 5}abc-0000", name, f"00000000:{index + 16:02X}:00.0", mig)


def node(count: int) -> list[Candidate]:
    """A node with equal cards."""
    return [gpu(index) for index in range(count)]


FOUR = node(4)
MIXED = [gpu(0, L4), gpu(1), gpu(2, L4)]
MIGS = (
    MigCandidate("MIG-aaaa1111", 1, 0),
    MigCandidate("MIG-aaaa2222", 2, 0),
    MigCandidate("MIG-bbbb3333", 2, 1),
)
DIVIDED = [gpu(0, mig=MIGS[:1]), gpu(1, mig=MIGS[1:]), gpu(2)]


def indices(selection: Selection) -> list[int]:
    """NVML's numbers of the whole GPUs that are reported; parts are not among them."""
    return [one.gpu.index for one in selection.chosen if one.mig is None]


def torchrun(local_rank: int, local_world_size: int, **more: str) -> dict[str, str]:
    """What torchrun sets on the second of two nodes."""
    return {
        "RANK": str(local_world_size + local_rank),
        "LOCAL_RANK": str(local_rank),
        "WORLD_SIZE": str(2 * local_world_size),
        "LOCAL_WORLD_SIZE": str(local_world_size),
        **more,
    }


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("none", []), ("all", [0, 1, 2, 3]), ("visible", [2, 0]), ("rank", [2, 0]), ("1,3", [1, 3])],
)
def test_what_each_policy_reports(policy: str, expected: list[int]) -> None:
    """Without ranks, `rank` is `visible`; `all` and a list do not care what CUDA sees."""
    selection = select(policy, FOUR, {"CUDA_VISIBLE_DEVICES": "2,0"})
    assert (indices(selection), selection.notes) == (expected, ())


@pytest.mark.parametrize("policy", ["none", "all", "visible", "rank", "0,GPU-1"])
def test_without_gpus_there_is_nothing_to_report_and_nothing_to_say(policy: str) -> None:
    """A machine without GPUs hears about that from whoever looked for them."""
    assert select(policy, [], torchrun(1, 2, CUDA_VISIBLE_DEVICES="0,1")) == Selection()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0,1,2,3", [0, 1, 2, 3]),
        ("2,1", [2, 1]),
        ("0,2,-1,1", [0, 2]),
        ("0,2,-1,0", [0, 2]),
        (" 3 , 1 ", [3, 1]),
        ("1gpu2,2ampere", [1, 2]),
        ("+1,02", [1, 2]),
        ("1,", [1]),
        ("1,,2", [1]),
        ("", []),
        (" ", []),
        ("-1", []),
        ("-1,0", []),
        ("NoDevFiles", []),
        ("none", []),
        ("GPU-22222abc-0000,GPU-00000abc-0000", [2, 0]),
        ("GPU-2,GPU-000", [2, 0]),
        ("gpu-2", [2]),
        ("GPU-2, GPU-1", [2, 1]),
    ],
)
def test_what_cuda_sees(text: str, expected: list[int]) -> None:
    """The examples of NVIDIA's documentation, and what PyTorch found out beyond it; nothing to say about any."""
    selection = select("visible", FOUR, {"CUDA_VISIBLE_DEVICES": text})
    assert (indices(selection), selection.notes) == (expected, ())


@pytest.mark.parametrize(
    ("text", "expected", "said"),
    [
        ("1,9,0", [1], "names '9', which is no device here"),
        ("4", [], "names '4', which is no device here"),
        ("GPU-1,GPU-9,GPU-0", [1], "names 'GPU-9', which is no device here"),
        ("GPU-", [], "names 'GPU-', which fits several devices"),
        ("GPU-1,0", [1], "names '0', which is no device here"),
        ("0,GPU-1", [0], "names 'GPU-1', which is no device here"),
        ("MIG-aaaa", [], "names 'MIG-aaaa', which is no device here"),
        ("H200", [], "names 'H200', which is no device here"),
        ("0,1,0", [], "0,1,0 names a device twice, so CUDA sees none: name each once"),
        ("0,1,0,-1", [], "names a device twice"),
        ("GPU-1,GPU-11111abc", [], "names a device twice"),
    ],
)
def test_mistakes_in_what_cuda_sees_are_told(text: str, expected: list[int], said: str) -> None:
    """CUDA itself says nothing about them: the program has fewer GPUs than its user thinks."""
    selection = select("visible", FOUR, {"CUDA_VISIBLE_DEVICES": text})
    assert indices(selection) == expected
    assert [said in note and note.startswith("CUDA_VISIBLE_DEVICES") for note in selection.notes] == [True]


def test_without_the_variable_all_are_visible() -> None:
    """Of different models too: their order does not matter to a process that reports all."""
    for policy in ("visible", "rank"):
        assert select(policy, FOUR, {}) == Selection(tuple(Chosen(device) for device in FOUR))
        assert select(policy, MIXED, {}) == Selection(tuple(Chosen(device) for device in MIXED))


def test_numbers_follow_the_bus_whatever_the_order_of_nvml() -> None:
    """NVML's documentation promises no order; CUDA's is that of the bus among equal cards."""
    swapped = [
        dataclasses.replace(FOUR[0], pci_bus_id="00000000:30:00.0"),
        dataclasses.replace(FOUR[1], pci_bus_id="00000000:09:00.0"),
    ]
    assert indices(select("visible", swapped, {"CUDA_VISIBLE_DEVICES": "0"})) == [1]
    assert indices(select("rank", swapped, torchrun(1, 2))) == [0]
    assert indices(select("all", swapped, {})) == [0, 1]
    assert indices(select("0", swapped, {})) == [0]


@pytest.mark.parametrize(
    ("text", "uuids"),
    [
        ("MIG-aaaa2222", ["MIG-aaaa2222"]),
        ("MIG-b", ["MIG-bbbb3333"]),
        ("MIG-bbbb3333,MIG-aaaa1", ["MIG-bbbb3333", "MIG-aaaa1111"]),
        ("MIG-GPU-11111abc-0000/2/1", ["MIG-bbbb3333"]),
        ("MIG-GPU-00000abc-0000/1/0", ["MIG-aaaa1111"]),
        ("MIG-GPU-00000abc-0000/1/1", []),
        ("MIG-GPU-00000abc-0000/9/0", []),
        ("MIG-aaaa", []),
        ("MIG-aaaa1111,GPU-2", ["MIG-aaaa1111"]),
    ],
)
def test_parts_of_a_gpu(text: str, uuids: list[str]) -> None:
    """Only the MIG device is reported: its GPU's power would be told by every process that has a part of it."""
    selection = select("visible", DIVIDED, {"CUDA_VISIBLE_DEVICES": text})
    assert [one.uuid for one in selection.chosen] == uuids
    assert indices(selection) == []


def test_a_part_is_found_by_its_gpu_s_instance_where_no_other_is_known() -> None:
    """The compute instance is not always told; two in one GPU instance are then not told apart."""
    lone = [gpu(0, mig=(MigCandidate("MIG-x", 1), MigCandidate("MIG-y", 2), MigCandidate("MIG-z", 2)))]
    for text, uuids in (("MIG-GPU-0/1/0", ["MIG-x"]), ("MIG-GPU-0/2/0", [])):
        selection = select("visible", lone, {"CUDA_VISIBLE_DEVICES": text})
        assert [one.uuid for one in selection.chosen] == uuids


def test_a_divided_gpu_that_is_named_itself_is_reported_with_its_parts() -> None:
    """`mig` is None for the whole of it."""
    selection = select("visible", DIVIDED, {"CUDA_VISIBLE_DEVICES": "1"})
    assert selection == Selection((Chosen(DIVIDED[1]),))
    assert selection.chosen[0].uuid == "GPU-11111abc-0000"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (torchrun(2, 4), [2]),
        (torchrun(1, 2, CUDA_VISIBLE_DEVICES="3,1"), [1]),
        (torchrun(3, 4, CUDA_VISIBLE_DEVICES="2"), [2]),
        (torchrun(3, 4, CUDA_VISIBLE_DEVICES="GPU-2"), [2]),
        (torchrun(0, 4, CUDA_VISIBLE_DEVICES=""), []),
        (torchrun(2, 4, CUDA_VISIBLE_DEVICES="-1"), []),
        ({"SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_NTASKS": "8"}, [1]),
        ({"OMPI_COMM_WORLD_RANK": "5", "OMPI_COMM_WORLD_LOCAL_RANK": "2", "OMPI_COMM_WORLD_SIZE": "8"}, [2]),
        ({"PMI_RANK": "5", "MPI_LOCALRANKID": "3", "PMI_SIZE": "8"}, [3]),
        ({"LOCAL_RANK": "1"}, [0, 1, 2, 3]),
        (torchrun(0, 1), [0, 1, 2, 3]),
        (torchrun(0, 1, CUDA_VISIBLE_DEVICES="1,2"), [1, 2]),
        ({"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "1"}, [0, 1, 2, 3]),
        (
            {
                "SLURM_PROCID": "1",
                "SLURM_LOCALID": "0",
                "SLURM_NTASKS": "2",
                "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
            },
            [0, 1, 2, 3],
        ),
    ],
)
def test_a_rank_reports_its_gpu(environ: dict[str, str], expected: list[int]) -> None:
    """The visible device of its number, the one that it was bound to, or all where it is alone on its node."""
    selection = select("rank", FOUR, environ)
    assert (indices(selection), selection.notes) == (expected, ())


def test_ranks_that_share_one_gpu_leave_it_to_the_first() -> None:
    """One card, no CUDA_VISIBLE_DEVICES, two ranks: the second says why it reports none."""
    assert select("rank", node(1), torchrun(0, 2)) == Selection((Chosen(FOUR[0]),))
    note = (
        "local rank 1 reports no GPU: the visible ones (1) belong to the ranks below 1; where ranks have several "
        "GPUs each, list those in the CUDA_VISIBLE_DEVICES of each rank, and set OTELML_GPU_DEVICES=visible"
    )
    assert select("rank", node(1), torchrun(1, 2)) == Selection((), (note,))


def test_gpus_that_no_rank_reports_are_told_once() -> None:
    """Two ranks on four GPUs: local rank 0 says that two are missing, and what to do."""
    first, second = (select("rank", FOUR, torchrun(rank, 2)) for rank in range(2))
    assert (indices(first), indices(second), second.notes) == ([0], [1], ())
    assert [note.partition(";")[0] for note in first.notes] == [
        "of 4 visible GPUs, those from number 2 on have no local rank to report them"
    ]


def test_a_rank_without_a_local_one_reports_all_and_says_so() -> None:
    """Which of the others are on the same node is unknown."""
    selection = select("rank", FOUR, {"RANK": "1", "WORLD_SIZE": "4"})
    assert indices(selection) == [0, 1, 2, 3]
    assert ["set LOCAL_RANK" in note for note in selection.notes] == [True]


@pytest.mark.parametrize(
    ("environ", "expected", "says_why"),
    [
        ({"CUDA_VISIBLE_DEVICES": "0"}, [0, 1, 2], True),
        ({"CUDA_VISIBLE_DEVICES": "0,1,2"}, [0, 1, 2], False),
        ({"CUDA_VISIBLE_DEVICES": "2,1,0"}, [0, 1, 2], False),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, [], False),
        ({"CUDA_VISIBLE_DEVICES": "GPU-1"}, [1], False),
        ({"CUDA_VISIBLE_DEVICES": "0", **PCI_ORDER}, [0], False),
        ({"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, [0, 1, 2], True),
        (torchrun(0, 3), [0, 1, 2], True),
        (torchrun(1, 3), [], False),
        (torchrun(1, 3, **PCI_ORDER), [1], False),
        (torchrun(1, 3, CUDA_VISIBLE_DEVICES="2"), [], False),
        (torchrun(0, 3, CUDA_VISIBLE_DEVICES="2"), [0, 1, 2], True),
        (torchrun(1, 3, CUDA_VISIBLE_DEVICES="GPU-2,GPU-0,GPU-1"), [0], False),
        (torchrun(1, 3, CUDA_VISIBLE_DEVICES="GPU-2"), [2], False),
    ],
)
def test_numbers_of_different_cards_cannot_be_told(
    environ: dict[str, str], expected: list[int], says_why: bool
) -> None:
    """CUDA puts the fastest first, by a rule of its own: all are reported, by one rank, which says why."""
    selection = select("rank", MIXED, environ)
    assert indices(selection) == expected
    assert ["set CUDA_DEVICE_ORDER=PCI_BUS_ID" in note for note in selection.notes] == [True] * says_why


@pytest.mark.parametrize(("text", "said"), [("3", "is no device here"), ("1,1", "twice")])
def test_what_no_order_can_mean_hides_different_cards_too(text: str, said: str) -> None:
    """There are three cards: whatever their numbers, CUDA sees none of them."""
    selection = select("rank", MIXED, {"CUDA_VISIBLE_DEVICES": text})
    assert (indices(selection), [said in note for note in selection.notes]) == ([], [True])


@pytest.mark.parametrize(
    ("policy", "uuids"),
    [
        ("2", ["GPU-22222abc-0000"]),
        ("GPU-2", ["GPU-22222abc-0000"]),
        ("2,0", ["GPU-22222abc-0000", "GPU-00000abc-0000"]),
        ("0,GPU-0,00000000:10:00.0", ["GPU-00000abc-0000"]),
        ("0000:12:00.0", ["GPU-22222abc-0000"]),
        ("12:00", ["GPU-22222abc-0000"]),
        ("MIG-b,2", ["MIG-bbbb3333", "GPU-22222abc-0000"]),
        ("MIG-b,1", ["GPU-11111abc-0000"]),
        ("MIG-GPU-11111abc-0000/2/0", ["MIG-aaaa2222"]),
    ],
)
def test_a_list_of_ids(policy: str, uuids: list[str]) -> None:
    """By NVML's index, UUID or bus id, each once; what CUDA sees and ranks do not matter."""
    selection = select(policy, DIVIDED, torchrun(1, 2, CUDA_VISIBLE_DEVICES="-1"))
    assert ([one.uuid for one in selection.chosen], selection.notes) == (uuids, ())


def test_unknown_ids_are_told_with_what_exists() -> None:
    """The others of the list are reported all the same."""
    known = (
        "0 = GPU-00000abc-0000 with MIG-aaaa1111 at 00000000:10:00.0, "
        "1 = GPU-11111abc-0000 with MIG-aaaa2222 with MIG-bbbb3333 at 00000000:11:00.0, "
        "2 = GPU-22222abc-0000 at 00000000:12:00.0"
    )
    assert select("7,1,MIG-aaaa,7f:00.0", DIVIDED, {}) == Selection(
        (Chosen(DIVIDED[1]),),
        (
            f"OTELML_GPU_DEVICES names '7', which is no device here: choose among {known}",
            f"OTELML_GPU_DEVICES names 'MIG-aaaa', which fits several devices: choose among {known}",
            f"OTELML_GPU_DEVICES names '7f:00.0', which is no device here: choose among {known}",
        ),
    )


counts = st.integers(1, 8)


@st.composite
def shared_environments(draw: st.DrawFn) -> tuple[list[Candidate], list[int], dict[str, str]]:
    """A node, what of it all ranks see (two or more by the variable, or all without it), and how they are told."""
    devices = [gpu(index, draw(st.sampled_from([H200, L4]))) for index in range(draw(counts))]
    order = draw(st.sampled_from([{}, PCI_ORDER]))
    seen = draw(st.lists(st.sampled_from(range(len(devices))), unique=True))
    if len(seen) < 2:
        return devices, list(range(len(devices))), order
    by_uuid = draw(st.booleans())
    text = ",".join(devices[index].uuid if by_uuid else str(index) for index in seen)
    if not (by_uuid or order or len({device.name for device in devices}) == 1):
        seen = list(range(len(devices)))  # what the numbers mean is unknown: all are reported
    return devices, seen, {**order, "CUDA_VISIBLE_DEVICES": text}


@given(shared_environments(), counts)
def test_ranks_that_see_the_same_report_each_gpu_once(
    shared: tuple[list[Candidate], list[int], dict[str, str]], more: int
) -> None:
    """With at least as many ranks as GPUs none is missing; never is one reported twice, nor an invisible one."""
    devices, seen, environ = shared
    for ranks in (len(seen), len(seen) + more):
        reported = [
            index
            for local_rank in range(ranks)
            for index in indices(select("rank", devices, torchrun(local_rank, ranks, **environ)))
        ]
        assert sorted(reported) == sorted(seen)


@given(shared_environments(), counts)
def test_fewer_ranks_than_gpus_report_none_twice(
    shared: tuple[list[Candidate], list[int], dict[str, str]], ranks: int
) -> None:
    """What is left without a rank is not silently so: the first rank says it."""
    devices, seen, environ = shared
    found = [select("rank", devices, torchrun(local_rank, ranks, **environ)) for local_rank in range(ranks)]
    reported = [index for selection in found for index in indices(selection)]
    assert len(reported) == len(set(reported))
    assert set(reported) <= set(seen)
    assert found[0].notes or len(reported) == len(seen)


@given(st.permutations(range(8)), counts, st.booleans(), st.booleans())
def test_ranks_bound_to_a_gpu_each_report_each_once(
    order: list[int], ranks: int, by_uuid: bool, mixed: bool
) -> None:
    """Whatever GPU each rank got; of different cards by number, the first rank reports all."""
    devices = [gpu(index, L4 if mixed and index % 2 else H200) for index in range(8)]
    reported = []
    for local_rank in range(ranks):
        own = devices[order[local_rank]].uuid if by_uuid else str(order[local_rank])
        selection = select("rank", devices, torchrun(local_rank, max(ranks, 2), CUDA_VISIBLE_DEVICES=own))
        reported += indices(selection)
    told = by_uuid or not mixed
    assert sorted(reported) == (sorted(order[:ranks]) if told else list(range(8)))


@given(st.permutations(range(7)), st.integers(1, 7))
def test_ranks_bound_to_a_part_each_report_each_once(order: list[int], ranks: int) -> None:
    """Seven parts of one GPU: none of the ranks reports the GPU itself."""
    parts = tuple(MigCandidate(f"MIG-{number}", number) for number in range(7))
    devices = [gpu(0, mig=parts), gpu(1)]
    reported = [
        one
        for local_rank in range(ranks)
        for one in select(
            "rank", devices, torchrun(local_rank, 7, CUDA_VISIBLE_DEVICES=parts[order[local_rank]].uuid)
        ).chosen
    ]
    assert reported == [Chosen(devices[0], parts[number]) for number in order[:ranks]]
