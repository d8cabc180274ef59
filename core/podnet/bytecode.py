"""Bytecode: instructions for the kernel's virtual machine, written down one a call. Pure.

Numbers: linux/bpf_common.h, linux/bpf.h; Documentation/bpf/standardization/instruction-set.rst.
"""

import struct

R0, R1, R2, R3, R4, R5, R6, R7, R8 = range(9)
"""R0: a call's result; R1 to R5: its arguments, which do not outlive it; the others do."""
STACK = 10
"""The register with the end of the program's stack: what lies there has negative offsets."""
_SIZES = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}
_INSTRUCTION = struct.Struct("<BBhI")


class Code:
    """A program that grows by one instruction a call; jumps go forward to labels."""

    def __init__(self) -> None:
        self._instructions: list[tuple[int, int, int, int]] = []
        self._labels: dict[str, int] = {}
        self._jumps: dict[int, str] = {}

    def packed(self) -> bytes:
        """As the kernel takes it."""
        lines = list(self._instructions)
        for at, label in self._jumps.items():
            operation, registers, _, value = lines[at]
            lines[at] = (operation, registers, self._labels[label] - at - 1, value)
        return b"".join(_INSTRUCTION.pack(*line) for line in lines)

    def label(self, name: str) -> None:
        """Jumps to this name lead here."""
        self._labels[name] = len(self._instructions)

    def load(self, size: int, to: int, base: int, offset: int) -> None:
        """A register from memory: 1, 2, 4 or 8 bytes."""
        self._add(0x61 | _SIZES[size], to, base, offset)

    def store(self, size: int, base: int, offset: int, register: int) -> None:
        """A register to memory."""
        self._add(0x63 | _SIZES[size], base, register, offset)

    def put(self, size: int, base: int, offset: int, value: int) -> None:
        """A number to memory."""
        self._add(0x62 | _SIZES[size], base, 0, offset, value)

    def copy(self, size: int, base: int, offset: int, source: int, at: int) -> None:
        """Memory to memory, `size` bytes in fours; R5 is lost."""
        for each in range(0, size, 4):
            self.load(4, R5, source, at + each)
            self.store(4, base, offset + each, R5)

    def move(self, to: int, register: int) -> None:
        """One register to another."""
        self._add(0xBF, to, register)

    def set(self, to: int, value: int) -> None:
        """A number to a register."""
        self._add(0xB7, to, 0, 0, value)

    def add(self, to: int, value: int) -> None:
        """A number on top."""
        self._add(0x07, to, 0, 0, value)

    def plus(self, to: int, register: int) -> None:
        """A register on top."""
        self._add(0x0F, to, register)

    def mask(self, to: int, bits: int) -> None:
        """These bits only, of 32."""
        self._add(0x54, to, 0, 0, bits)

    def shift_right(self, to: int, bits: int) -> None:
        """By so many bits."""
        self._add(0x77, to, 0, 0, bits)

    def goto(self, label: str) -> None:
        """Go on there."""
        self._jump(0x05, 0, 0, 0, label)

    def if_is(self, register: int, value: int, label: str) -> None:
        """Go on there if the register has this value."""
        self._jump(0x15, register, 0, value, label)

    def if_not(self, register: int, value: int, label: str) -> None:
        """Go on there if it has another one."""
        self._jump(0x55, register, 0, value, label)

    def if_same(self, register: int, other: int, label: str) -> None:
        """Go on there if two registers are equal."""
        self._jump(0x1D, register, other, 0, label)

    def if_other(self, register: int, other: int, label: str) -> None:
        """Go on there if two registers differ."""
        self._jump(0x5D, register, other, 0, label)

    def if_more(self, register: int, other: int, label: str) -> None:
        """Go on there if the first is greater."""
        self._jump(0x2D, register, other, 0, label)

    def map(self, to: int, descriptor: int) -> None:
        """A map, by its open descriptor."""
        self._add(0x18, to, 1, 0, descriptor)  # BPF_PSEUDO_MAP_FD
        self._add(0)

    def stack(self, to: int, offset: int) -> None:
        """An address on the stack."""
        self.move(to, STACK)
        self.add(to, offset)

    def call(self, helper: int) -> None:
        """One of the kernel's helpers (enum bpf_func_id)."""
        self._add(0x85, 0, 0, 0, helper)

    def exit(self) -> None:
        """End with what R0 has."""
        self._add(0x95)

    def _add(
        self, code: int, to: int = 0, source: int = 0, offset: int = 0, value: int = 0
    ) -> None:
        self._instructions.append((code, to | source << 4, offset, value & 0xFFFFFFFF))

    def _jump(self, code: int, to: int, source: int, value: int, label: str) -> None:
        self._jumps[len(self._instructions)] = label
        self._add(code, to, source, 0, value)
