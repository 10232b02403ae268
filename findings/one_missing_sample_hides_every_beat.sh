#!/bin/sh
# Three QRS detectors, a minute of clean ECG with 75 beats, and one sample of 15,000 missing (NaN): XQRS of wfdb 4.3.1 and Hamilton's and
# Christov's detectors of BioSPPy 2.2.4 return no beat at all, without an error. A detector that finds nothing looks like a heart that has
# stopped. Engzee's loses the one beat. Expected: the beats beside the missing sample, or an error. Exits 1 when this changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet wfdb==4.3.1 biosppy==2.2.4 peakutils==1.3.5 numpy==2.4.6
cd "$folder"
PYTHONWARNINGS=ignore "$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
from biosppy.signals import ecg as biosppy
from wfdb import processing

rate_hz = 250
t = np.arange(60 * rate_hz) / rate_hz
clean = np.exp(-(((t % 0.8 - 0.4) / 0.02) ** 2)) + 0.1 * np.exp(-(((t % 0.8 - 0.6) / 0.05) ** 2))
clean += 0.005 * np.random.default_rng(1).normal(size=t.size)
holed = clean.copy()
holed[t.size // 2] = np.nan
detectors = {
    "wfdb XQRS": lambda ecg: processing.xqrs_detect(ecg, rate_hz, verbose=False),
    "BioSPPy Hamilton": lambda ecg: biosppy.hamilton_segmenter(ecg, sampling_rate=rate_hz)[0],
    "BioSPPy Christov": lambda ecg: biosppy.christov_segmenter(ecg, sampling_rate=rate_hz)[0],
    "BioSPPy Engzee": lambda ecg: biosppy.engzee_segmenter(ecg, sampling_rate=rate_hz)[0],
}
seen = {}
for name, find in detectors.items():
    seen[name] = (len(find(clean.copy())), len(find(holed.copy())))
    print(f"{name}: {seen[name][0]} beats in the whole signal, {seen[name][1]} with one sample missing")
silent = [name for name, (whole, hole) in seen.items() if whole == 75 and hole == 0]
sys.exit(silent != list(detectors)[:3])
PYTHON
