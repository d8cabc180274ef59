"""The shortcut's program, as far as it can be told without a kernel."""

import struct

import pytest

from podnet.bytecode import R1, R2, STACK, Code
from podnet.shortcut import MARK, ON_BRIDGE, ON_UPLINK, program

SIZE = 8
CALL, EXIT = 0x85, 0x95
LOOKUP, UPDATE, DELETE, SET_TYPE, FIB, REDIRECT, REDIRECT_PEER = 1, 2, 3, 32, 69, 152, 155
MAPS_OPEN = (3, 4, 5, 6)


def instructions(packed: bytes) -> list[tuple[int, int, int, int]]:
    """Operation, registers, offset, value."""
    return [struct.unpack_from("<BBhi", packed, at) for at in range(0, len(packed), SIZE)]  # type: ignore[misc]


def test_instructions_are_written_as_the_kernel_reads_them() -> None:
    """linux/filter.h: BPF_LDX_MEM, BPF_STX_MEM, BPF_MOV64_REG, BPF_JMP_IMM, BPF_LD_MAP_FD."""
    code = Code()
    code.load(2, R2, R1, 12)
    code.if_not(R2, 8, "end")
    code.store(4, STACK, -4, R2)
    code.map(R1, 7)
    code.stack(R2, -4)
    code.label("end")
    code.exit()
    assert instructions(code.packed()) == [
        (0x69, 0x12, 12, 0),
        (0x55, 0x02, 6 - 1, 8),
        (0x63, 0x2A, -4, 0),
        (0x18, 0x11, 0, 7),
        (0, 0, 0, 0),
        (0xBF, 0xA2, 0, 0),
        (0x07, 0x02, 0, -4),
        (EXIT, 0, 0, 0),
    ]


@pytest.mark.parametrize("neighbours", [True, False])
def test_the_program_goes_forward_and_ends(neighbours: bool) -> None:
    found = instructions(program(MAPS_OPEN, neighbours=neighbours))
    jumps = {
        at + 1 + offset
        for at, (operation, _, offset, _) in enumerate(found)
        if operation & 7 in (5, 6) and operation not in (CALL, EXIT)
    }
    assert min(jumps) > 0 and max(jumps) < len(found)
    assert all(found[at][0] != 0 for at in jumps), "into the second half of an instruction"
    assert found[-1][0] == EXIT


def test_each_family_has_its_maps() -> None:
    found = instructions(program(MAPS_OPEN, neighbours=True))
    maps = [value for operation, _, _, value in found if operation == 0x18]
    four, six = maps[: len(maps) // 2], maps[len(maps) // 2 :]
    assert (set(four), set(six)) == ({3, 5}, {4, 6})


def test_a_packet_goes_into_a_pod_or_where_the_routing_table_says() -> None:
    found = instructions(program(MAPS_OPEN, neighbours=True))
    calls = [value for operation, _, _, value in found if operation == CALL]
    half = [LOOKUP, UPDATE, LOOKUP, SET_TYPE, REDIRECT_PEER, FIB, REDIRECT]
    half += [FIB, FIB, LOOKUP, UPDATE, DELETE]
    assert calls == half * 2


def test_versions_differ_and_fit_into_a_programs_name() -> None:
    """BPF_OBJ_NAME_LEN is 16, with the zero that ends it."""
    assert ON_BRIDGE != ON_UPLINK
    assert max(len(MARK + version) for version in (ON_BRIDGE, ON_UPLINK)) < 16
