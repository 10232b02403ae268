#!/bin/sh
# bluetooth-sig 0.6.0 (characteristics of the Bluetooth SIG) reads the exponent of IEEE 11073 numbers as biased; the standard has two's
# complement. SpO2 97 % and pulse 72 of a pulse oximeter (2A5F, bytes 00 61 00 48 00) come out as 9.7e-07 and 7.2e-07, a thermometer's 36.6 °C
# (2A1C, 00 6E 01 00 FF) as 3.66e+129, without an error; NaN, infinities and heart rate (2A37) are right. Expected: 97, 72, 36.6. Exits 1 when
# this changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet bluetooth-sig==0.6.0
cd "$folder"
PYTHONWARNINGS=ignore "$folder/venv/bin/python" - <<'PYTHON'
import sys

from bluetooth_sig import BluetoothSIGTranslator

read = BluetoothSIGTranslator().parse_characteristic
oximeter = read("2A5F", bytes.fromhex("0061004800"))
thermometer = read("2A1C", bytes.fromhex("006e0100ff"))
print(f"oximeter: SpO2 {oximeter.spo2} %, pulse {oximeter.pulse_rate} bpm; thermometer: {thermometer.temperature} C")
sys.exit(not (oximeter.spo2 < 1e-3 and oximeter.pulse_rate < 1e-3 and thermometer.temperature > 1e100))
PYTHON
