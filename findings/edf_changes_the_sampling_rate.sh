#!/bin/sh
# pyEDFlib 0.1.42 stores an ECG of 62.4725 or 249.89 Hz (monitors of intensive care) with 62.5 and 250 Hz, and 33.333 Hz with 33.33300533,
# without a warning: one hour becomes 3,598.4 s, and a day ends 38 s early. Annotations by the clock then stand beside the wrong beats. 499.78
# Hz is kept. Expected: kept, or refused. Exits 1 when this changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pyEDFlib==0.1.42 numpy==2.4.6
cd "$folder"
PYTHONWARNINGS=ignore "$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import pyedflib

lasts = {}
for rate_hz in (62.4725, 249.89, 499.78):
    hour = np.sin(np.arange(int(3600 * rate_hz)) / rate_hz)
    head = pyedflib.highlevel.make_signal_headers(["ECG"], dimension="mV", sample_frequency=rate_hz, physical_min=-5, physical_max=5)
    pyedflib.highlevel.write_edf("r.edf", [hour], head)
    (back,), (read,), _ = pyedflib.highlevel.read_edf("r.edf")
    lasts[rate_hz] = len(back) / read["sample_frequency"]
    print(f"given {rate_hz} Hz, read back {read['sample_frequency']} Hz: an hour lasts {lasts[rate_hz]:.1f} s")
sys.exit(not (lasts[62.4725] < 3599 and lasts[249.89] < 3599 and abs(lasts[499.78] - 3600) < 0.1))
PYTHON
