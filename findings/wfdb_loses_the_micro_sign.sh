#!/bin/sh
# wfdb 4.3.1 writes a signal's unit as UTF-8 and reads it back as ASCII, leaving out every other byte: what was stored in µV is returned as V,
# a million times as much, without a word. Both code points of the sign. Seen 2026-11: written b'/\xc2\xb5V', read 'V', with the numbers
# unchanged. Expected: µV. Exits 1 when this changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet wfdb==4.3.1 numpy==2.4.6
cd "$folder"
PYTHONWARNINGS=ignore "$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import wfdb

microvolts = 1000 * np.sin(np.arange(2500) / 40)[:, None]
seen = []
for unit in ("\u00b5V", "\u03bcV", "uV"):
    wfdb.wrsamp("r", fs=250, units=[unit], sig_name=["II"], p_signal=microvolts, fmt=["16"])
    written = open("r.hea", "rb").read().splitlines()[1].split(b"/")[1].split()[0]
    back = wfdb.rdrecord("r")
    seen.append(back.units[0])
    print(f"given {unit}, in the file {written!r}, read back {back.units[0]!r}, largest value {back.p_signal.max():.0f}")
sys.exit(seen != ["V", "V", "uV"])
PYTHON
