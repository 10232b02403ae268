#!/bin/sh
# Two libraries for EDF, each right by itself: pyEDFlib 0.1.42 writes the unit µV in ASCII as 'AuV' (µ) or 'I V' (Greek mu) without an error,
# and MNE 1.13.2 takes every unit it does not know for volts, also UV, nV and microV. An ECG of 1,000 µV comes back as 1,000 V; only 'uV' and
# 'mV' are scaled. Expected: an error at one of the two, or 0.001 V. Exits 1 when this changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pyEDFlib==0.1.42 mne==1.13.2 numpy==2.4.6
cd "$folder"
PYTHONWARNINGS=ignore "$folder/venv/bin/python" - <<'PYTHON'
import sys

import mne
import numpy as np
import pyedflib

microvolts = 1000 * np.sin(np.arange(2500) / 40)
seen = {}
for unit in ("\u00b5V", "\u03bcV", "UV", "microV", "nV", "uV"):
    head = pyedflib.highlevel.make_signal_headers(["ECG"], dimension=unit, sample_frequency=250, physical_min=-5000, physical_max=5000)
    pyedflib.highlevel.write_edf("r.edf", [microvolts], head)
    stored = pyedflib.highlevel.read_edf("r.edf")[1][0]["dimension"]
    seen[unit] = float(mne.io.read_raw_edf("r.edf", preload=True, verbose="error").get_data().max())
    print(f"given {unit}, in the file {stored!r}, MNE reads {seen[unit]:g} V")
sys.exit(not (seen.pop("uV") < 0.0011 and all(value > 900 for value in seen.values())))
PYTHON
