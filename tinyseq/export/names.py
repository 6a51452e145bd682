"""Names and types of C."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from tinyseq.common.text import shown
from tinyseq.errors import OptionError

_WORDS = """
alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl const
constexpr const_cast continue default delete do double dynamic_cast else enum explicit export extern
false float for friend goto if inline int long mutable namespace new noexcept not not_eq nullptr
operator or or_eq private protected public register reinterpret_cast requires restrict return short
signed sizeof static static_assert static_cast struct switch template this thread_local throw true
try typedef typeid typename typeof union unsigned using virtual void volatile wchar_t while xor
xor_eq concept linux unix
"""

KEYWORDS = frozenset(_WORDS.split())
"""What no argument may be called in C and C++."""

OWN = frozenset({"state", "scratch", "frames"})
"""What the arguments are called that every library has."""

C_TYPES = {"b": "uint8_t", "i": "int{}_t", "u": "uint{}_t", "f": "float"}

IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def c_type(dtype: np.dtype) -> str:
    """The C type of an array's elements: float for all floats, in which they are computed."""
    return C_TYPES[dtype.kind].format(8 * dtype.itemsize)


def checked_name(name: object) -> str:
    """The name of a library, which begins all others.

    Raises:
        OptionError: C has no such names.
    """
    if type(name) is not str or not IDENTIFIER.fullmatch(name) or name in KEYWORDS or len(name) > 64:
        raise OptionError(
            f"name={shown(name)}: the functions of a library begin with its name, so it is made of at most "
            "64 letters, digits and _, begins with a letter, and is no word of C's own"
        )
    return name


def identifiers(names: Iterable[str]) -> list[str]:
    """An identifier for each name, all different."""
    found: list[str] = []
    taken = set(KEYWORDS | OWN)
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9_]", "_", name).strip("_") or "tensor"
        plain = plain if plain[0].isalpha() else f"t{plain}"
        single, number = plain, 2
        while single in taken or f"{single}_frames" in taken:
            single, number = f"{plain}_{number}", number + 1
        taken |= {single, f"{single}_frames"}
        found.append(single)
    return found
