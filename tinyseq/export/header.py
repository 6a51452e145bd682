"""What a library's user reads: its header, and what builds of others find it by."""

from __future__ import annotations

from tinyseq.common.text import printable
from tinyseq.export.interface import Argument, Interface

ALIGN = """
#if defined(_MSC_VER)
#define {NAME}_ALIGN(bytes) __declspec(align(bytes))
#elif defined(__cplusplus) && __cplusplus >= 201103L
#define {NAME}_ALIGN(bytes) alignas(bytes)
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define {NAME}_ALIGN(bytes) _Alignas(bytes)
#else
#define {NAME}_ALIGN(bytes) __attribute__((aligned(bytes)))
#endif
"""

HEADER = """/* {about}
 *
 * Nothing here allocates memory, calls the system or keeps anything of a stream, which is a {name}_state that
 * its caller owns. A copy of it is a fork or a snapshot. Threads may step different states at once, each with
 * a {name}_scratch of its own.
 *{more}
 */
#ifndef {NAME}_H
#define {NAME}_H

#include <stdint.h>
{align}
#ifdef __cplusplus
extern "C" {{
#endif

{sizes}

/* {state_about} */
typedef struct {name}_state {{
    {NAME}_ALIGN(64) unsigned char bytes[{NAME}_STATE_BYTES];
}} {name}_state;

/* What a step computes with; it holds nothing from one step to the next. */
typedef struct {name}_scratch {{
    {NAME}_ALIGN(64) unsigned char bytes[{NAME}_SCRATCH_BYTES];
}} {name}_scratch;

/* Puts {states} at the start of a stream. */
void {name}_reset({state_argument});

{functions}
/* What a number that a function gave means: a text that is there for ever. */
const char *{name}_error(int code);

/* A number of the model: keep it beside saved states, which are of no use to another one. */
uint32_t {name}_fingerprint(void);

#ifdef __cplusplus
}}
#endif

#endif
"""

PKG_CONFIG = """prefix=${{pcfiledir}}
includedir=${{prefix}}
libdir=${{prefix}}

Name: {name}
Description: {about}
Version: {version}
Cflags: -I${{includedir}}
Libs: -L${{libdir}} -l{name}
"""

CMAKE = """# include() this file, then target_link_libraries(your_target PRIVATE {name}::{name})
if(NOT TARGET {name}::{name})
  add_library({name}::{name} STATIC IMPORTED)
  set_target_properties({name}::{name} PROPERTIES
    IMPORTED_LOCATION "${{CMAKE_CURRENT_LIST_DIR}}/{archive}"
    INTERFACE_INCLUDE_DIRECTORIES "${{CMAKE_CURRENT_LIST_DIR}}")
endif()
"""


def comment(text: str) -> str:
    """Text that is safe within a comment of C."""
    return (
        printable(text).encode("ascii", "backslashreplace").decode().replace("*/", "* /").replace("/*", "/ *")
    )


def header(interface: Interface, about: str) -> str:
    """The header of a library."""
    own, stepping = interface, interface.stepping
    rows = stepping.request.rows
    names = {"name": own.name, "NAME": own.name.upper()}
    fixed = ", ".join(f"{name} = {_said(array)}" for name, array in stepping.request.given.items())
    more = f"\n * Built for {comment(fixed)}.\n *" if fixed else ""
    states = "the state" if rows == 1 else f"the states of all {rows} rows"
    return HEADER.format(
        **names,
        about=comment(about),
        more=more,
        align=ALIGN.format(**names),
        sizes=_sizes(own),
        state_about=f"A stream{'' if rows == 1 else ', one row of a step'}: {_fields(own)}.",
        states=states,
        state_argument=_state(own),
        functions=_functions(own),
    )


def _said(array: object) -> str:
    text = str(getattr(array, "tolist", lambda: array)())
    return text if len(text) <= 60 else text[:57] + "..."


def _sizes(own: Interface) -> str:
    upper = own.name.upper()
    lines = [(f"{upper}_STATE_BYTES", own.state_bytes), (f"{upper}_SCRATCH_BYTES", own.scratch_bytes)]
    if own.stepping.request.rows > 1:
        lines.append((f"{upper}_ROWS", own.stepping.request.rows))
    if own.takes_frames:
        lines.append((f"{upper}_FRAMES", own.stepping.request.frames or 1))
    for one in (*own.inputs, *own.outputs):
        if not one.by_value:
            lines.append((f"{upper}_{one.name.upper()}_SIZE", one.most))
    return "\n".join(f"#define {name} {size}" for name, size in dict(lines).items())


def _fields(own: Interface) -> str:
    pairs = own.stepping.streaming.model.state
    shapes = {value.name: value for value in own.stepping.streaming.model.graph.inputs}
    fields = [str(shapes[pair.input]) for pair in pairs] + (["its place"] if own.finishes else [])
    return comment(", ".join(fields)) or "nothing, as the model carries none"


def _state(own: Interface) -> str:
    rows = own.stepping.request.rows
    return f"{own.name}_state *state" if rows == 1 else f"{own.name}_state state[{own.name.upper()}_ROWS]"


def _given(own: Interface, last: bool) -> list[Argument]:
    gone = own.stepping.streaming.inputs if last else {}
    return [one for one in own.inputs if one.value.name not in gone]


def parameters(own: Interface, last: bool) -> list[str]:
    """The parameters of a step, or of the last one."""
    found = [_state(own), f"{own.name}_scratch *scratch"]
    if own.takes_frames and not last:
        found.append("int64_t frames")
    for one in _given(own, last):
        found.append(f"{one.c_type} {one.name}" if one.by_value else f"const {one.c_type} {_array(one)}")
    found += [f"{one.c_type} {_array(one)}" for one in own.outputs]
    return found + [f"int64_t *{one.name}_frames" for one in own.held]


def _array(one: Argument) -> str:
    return f"{one.name}[{one.most}]" if one.varies is None and one.most else f"*{one.name}"


def _functions(own: Interface) -> str:
    request = own.stepping.request
    lines = ["/* Takes the next chunk of the stream and advances the state."]
    if own.takes_frames:
        lines.append(f" * frames: how many it holds, from 1 to {own.name.upper()}_FRAMES;")
    lines += [f" * {line};" for line in _described(own, False)]
    if own.finishes:
        lines.append(f" * frames of the output come late: {own.name}_finish gives the rest.")
    if request.rows > 1:
        lines.append(" * Where a row fails, no row's state changes.")
    lines += [f" * Gives 0, or less if it fails (see {own.name}_error): the state is then as before."]
    text = "\n".join([*lines, " */", _declaration(own, "step", False), ""])
    if own.finishes:
        lines = ["/* Ends the stream, until a reset: gives the frames that are still due."]
        lines += [f" * {line};" for line in _described(own, True)]
        text += "\n".join(
            ["", *lines, " * gives 0, or less if it fails.", " */", _declaration(own, "finish", True), ""]
        )
    return text


def _described(own: Interface, last: bool) -> list[str]:
    lines = []
    for one in (*_given(own, last), *own.outputs):
        kind = one.value.dtype.name
        computed = " (computed as float32)" if kind in ("float64", "float16") else ""
        lines.append(
            comment(f"{one.name}: {one.value.name!r}, {kind}{computed} {one.sizes}, the last axis densest")
        )
    lines += [f"{one.name}_frames: takes how many frames of {one.name} there are" for one in own.held]
    return [line.replace(" [], the last axis densest", "") for line in lines]


def _declaration(own: Interface, kind: str, last: bool) -> str:
    head = f"int {own.name}_{kind}("
    return head + ", ".join(parameters(own, last)) + ");"


def pkg_config(interface: Interface, about: str, version: str) -> str:
    """The file that pkg-config reads; it stays beside the library."""
    return PKG_CONFIG.format(name=interface.name, about=comment(about), version=version)


def cmake(interface: Interface, archive: str) -> str:
    """The file that CMake includes; it stays beside the library."""
    return CMAKE.format(name=interface.name, archive=archive)
