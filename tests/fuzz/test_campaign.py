"""A few cases of every target in a process of little memory; thousands by hand (campaign.py)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz import campaign
from fuzz.targets import TARGETS

EXAMPLES = 8


@pytest.fixture(scope="module")
def rows() -> dict[str, dict]:
    command = [sys.executable, campaign.__file__, "--child", "--examples", str(EXAMPLES)]
    command += [word for name in TARGETS for word in ("--target", name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    return {row["target"]: row for row in json.loads(done.stdout.splitlines()[-1])}


@pytest.mark.parametrize("name", TARGETS)
def test_hostile_input_is_refused_in_one_line_or_accepted(rows, name):
    row = rows[name]
    assert row["crashes"] == []
    assert row["cases"] == row["refused"] + row["accepted"] == EXAMPLES
    assert row["growth_mb"] < campaign.GROWTH_BYTES / 2**20


def test_the_campaign_notices_a_crash_a_write_and_a_hang(tmp_path):
    """In a process of its own, for it limits its memory."""
    code = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from fuzz import campaign, targets\n"
        "def make(folder):\n"
        "    def case(rng):\n"
        "        way = json.loads(Path(sys.argv[1]).read_text())\n"
        "        if way == 'crash': raise KeyError('x')\n"
        "        if way == 'write': (folder.parent / 'outside').write_text('x')\n"
        "        while way == 'hang': pass\n"
        "        if way == 'memory': bytearray(2**33)\n"
        "    return case\n"
        "campaign.CASE_S = 0.1\n"
        "targets.TARGETS['made up'] = make\n"
        "out = {}\n"
        "for way in ('fine', 'crash', 'write', 'hang', 'memory'):\n"
        "    Path(sys.argv[1]).write_text(json.dumps(way))\n"
        "    row = campaign.run_target('made up', [0])\n"
        "    out[way] = [crash['what'] for crash in row['crashes']]\n"
        "print(json.dumps(out))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "way")],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(campaign.__file__).parents[1],
    )
    found = json.loads(done.stdout)
    assert found["fine"] == []
    assert "KeyError" in found["crash"][0]
    assert "outside the folder" in found["write"][0]
    assert found["hang"][0].startswith("hung")
    assert "MemoryError" in found["memory"][0]
