"""A chain as a Python script that needs pedalboard and not fxpipe.

The script holds the very functions that render here, cut out of ``pedals/parts.py``, so that what
it writes equals our render bit for bit and cannot drift from it.
"""

from __future__ import annotations

import ast
import functools
import inspect
import json
from collections.abc import Sequence

from fxpipe.boards.dial import comment
from fxpipe.pedals import PEDALS, make_of, parts
from fxtrain.contract import BoardFile, Chain, Pedal

HEAD = '''\
#!/usr/bin/env python3
"""Puts pedals on a dry guitar recording: python board.py dry.wav wet.wav

Needs: pip install {packages}
Licence: the functions are fxpipe's, MIT; pedalboard is GPL-3.0.
"""

'''

MAIN = """\
def main(dry: str, wet: str) -> None:
    audio, sample_rate_hz = soundfile.read(dry, dtype="float32", always_2d=True)
    mono = audio[:, 0] if audio.shape[1] == 1 else audio.mean(axis=1, dtype=np.float32)
    wave = np.ascontiguousarray(mono, dtype=np.float32)
    for line in LEFT_OUT:
        print(line, file=sys.stderr)
    for pedal, settings in BOARD:
        wave = pedal(settings, sample_rate_hz)(wave)
    is_wav = wet.lower().endswith(".wav")
    soundfile.write(wet, wave, sample_rate_hz, subtype="FLOAT" if is_wav else None)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python board.py dry.wav wet.wav")
    try:
        main(sys.argv[1], sys.argv[2])
    except (OSError, ValueError, soundfile.SoundFileError) as error:
        sys.exit(f"{sys.argv[1]} to {sys.argv[2]}: {error}")
"""


def files(chain: Chain, title: str, remarks: Sequence[str]) -> tuple[BoardFile, ...]:
    ours = [p for p in chain.pedals if _maker(p)]
    notes = tuple(
        f"{p.name}: left out, it is {'another make of it' if make_of(p) else 'a plugin of its own'}"
        " and not made of pedalboard's parts"
        for p in chain.pedals
        if not _maker(p)
    )
    rows = [f"    ({_maker(p)}, {json.dumps(p.settings)}),\n" for p in ours]
    functions, imports = _cut_out([_maker(p) for p in ours])
    packages = sorted({line.split()[1].split(".")[0] for line in imports} | {"numpy", "soundfile"})
    text = (
        HEAD.format(packages=" ".join(packages))
        + comment([title, *remarks, *notes])
        + "\nfrom __future__ import annotations\n\nimport sys\n"
        + "from collections.abc import Callable, Mapping\n\n"
        + "".join(f"{line}\n" for line in sorted({*imports, "import numpy as np"}))
        + "import soundfile\n\nSettings = Mapping[str, float]\n"
        + "Process = Callable[[np.ndarray], np.ndarray]\n\n\n"
        + "".join(f"{part}\n\n\n" for part in functions)
        + f"BOARD = [\n{''.join(rows)}]\n"
        + f"LEFT_OUT = {json.dumps(notes)}\n\n\n"
        + MAIN
    )
    what = "a Python script with the same sound to the bit: python board.py dry.wav wet.wav"
    return (BoardFile("pedalboard", "board.py", text.encode(), what, notes),)


def _maker(pedal: Pedal) -> str:
    """The function in ``parts`` that builds a pedal; empty for plugins and for other makes."""
    build = (make_of(pedal) or PEDALS[pedal.name]).build
    found = getattr(build, "__name__", "")
    return found if getattr(parts, found, None) is build else ""


@functools.cache
def _module() -> tuple[str, ast.Module]:
    source = inspect.getsource(parts)
    return source, ast.parse(source)


def _cut_out(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Source of the named functions and of all they use, as in the file; the imports they need."""
    source, tree = _module()
    defined: dict[str, ast.stmt] = {}
    imports: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            defined[node.name] = node
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            defined[node.targets[0].id] = node
        elif isinstance(node, ast.Import):
            for alias in node.names:
                imports[alias.asname or alias.name.split(".")[0]] = ast.unparse(node)
    used: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in used:
            used.add(name)
            if name in defined:
                inside = (n for n in ast.walk(defined[name]) if isinstance(n, ast.Name))
                waiting.extend(n.id for n in inside)
    cut = [ast.get_source_segment(source, node) for name, node in defined.items() if name in used]
    return [part for part in cut if part], [line for name, line in imports.items() if name in used]
