"""What a care manager may tune about the heart detector."""

from __future__ import annotations

from pydantic import Field

from engine.detector import Params


class HeartParams(Params):
    """Limits and confirmation times.

    The default limits are the red scores (3 points) of the National Early Warning Score 2 (Royal College of
    Physicians, 2017); rhythm definitions are those of the PhysioNet/CinC Challenge 2015 (Clifford et al., Physiol
    Meas 2016;37:E5) unless said otherwise.
    """

    rate_bpm_min: float = Field(40, ge=20, le=80, description="bradycardia below this heart rate (NEWS2: <= 40)")
    rate_bpm_max: float = Field(130, ge=80, le=220, description="tachycardia above this heart rate (NEWS2: >= 131)")
    rate_hysteresis_bpm: float = Field(5, ge=0, le=30, description="the rate must come back this far inside the limit to count as over")
    rate_confirm_s: float = Field(30, ge=0, le=600, description="how long a heart rate must stay beyond its limit")
    clear_s: float = Field(60, ge=0, le=3600, description="how long a condition must be over before it clears")
    rate_window_beats: int = Field(8, ge=3, le=16, description="heart rate is the mean over this many RR intervals")
    asystole_s: float = Field(4, ge=3, le=20, description="no QRS complex for this long, with a good signal")
    ventricular_rate_bpm_min: float = Field(100, ge=90, le=200, description="ventricular tachycardia: rate of the run")
    ventricular_beats_min: int = Field(5, ge=3, le=30, description="ventricular tachycardia: consecutive ventricular beats")
    fibrillation_s: float = Field(4, ge=2, le=20, description="ventricular fibrillation or flutter: duration of the wave")
    atrial_entropy_fraction_min: float = Field(
        0.639, ge=0.3, le=1, description="atrial fibrillation: entropy of the RR pattern (Zhou et al., PLoS ONE 2015;10:e0136544)"
    )
    atrial_confirm_s: float = Field(
        360, ge=0, le=3600, description="how long the RR pattern must stay that irregular (6 min: ASSERT, N Engl J Med 2012;366:120)"
    )
    spo2_percent_min: float = Field(92, ge=70, le=100, description="oxygen saturation below this is low (NEWS2: <= 91; COPD: 84)")
    spo2_confirm_s: float = Field(60, ge=0, le=600, description="how long oxygen saturation must stay low")
    respiration_per_min_min: float = Field(8.5, ge=2, le=15, description="fewer breaths a minute are too few (NEWS2: <= 8)")
    respiration_per_min_max: float = Field(24.5, ge=15, le=60, description="more breaths a minute are too many (NEWS2: >= 25)")
    respiration_confirm_s: float = Field(120, ge=0, le=600, description="how long the breathing rate must stay beyond its limit")
