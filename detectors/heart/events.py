"""What this detector reports, in the order of the numbers in state.py.

Priorities by IEC 60601-1-8:2006+A2:2020, table 1: by the harm if nobody comes, and by the time in which it comes. The limits are the red
scores of NEWS2 (Royal College of Physicians 2017). The steps for CPR and AED follow the lay rescuer's chain of the AHA 2020 guidelines
(part 3); 120 is China's number of the ambulance.
"""

from __future__ import annotations

from typing import Final

from engine.events import ON_ITS_OWN, Ends, EventType, Priority, Scoring, Subject, Text

_HEART: Final = frozenset({"ecg", "ppg", "rr_interval", "vitals.heart_rate_bpm"})
_BREATH: Final = frozenset({"vitals.respiration_per_min"})
_OXYGEN: Final = frozenset({"vitals.spo2_percent"})


def _arrest(code: str, description: str, zh: Text, en: Text, scoring: Scoring = ON_ITS_OWN) -> EventType:
    """The heart pumps nothing, or soon will: death, immediate. Latched: an arrhythmia that ended by itself must still be seen by a person."""
    return EventType(
        code,
        description=description,
        priority=Priority.HIGH,
        life_safety=True,
        ends=Ends.LATCHED,
        regroup_s=600.0,
        hold_s=30.0,
        data_kinds=_HEART,
        subject=Subject.RESIDENT,
        zh=zh,
        en=en,
        scoring=scoring,
    )


def _vital(code: str, description: str, data_kinds: frozenset[str], zh: Text, en: Text) -> EventType:
    """A vital sign that itself harms when it lasts: irreversible injury, prompt. Latched, as above."""
    return EventType(
        code,
        description=description,
        priority=Priority.HIGH,
        life_safety=True,
        ends=Ends.LATCHED,
        regroup_s=900.0,
        hold_s=60.0,
        data_kinds=data_kinds,
        subject=Subject.RESIDENT,
        zh=zh,
        en=en,
    )


def _watch(code: str, description: str, data_kinds: frozenset[str], zh: Text, en: Text) -> EventType:
    """A sign of harm hours away: irreversible injury, delayed. It may last half a minute before anybody is called."""
    return EventType(
        code,
        description=description,
        priority=Priority.MEDIUM,
        life_safety=False,
        ends=Ends.CLEAR,
        pending_s=30.0,
        regroup_s=3600.0,
        hold_s=300.0,
        data_kinds=data_kinds,
        subject=Subject.RESIDENT,
        zh=zh,
        en=en,
    )


_VENTRICULAR: Final = Scoring(happening="ventricular arrhythmia")

EVENTS: Final = (
    _vital(
        "heart.bradycardia",
        "heart rate below the resident's lower limit",
        _HEART,
        Text("心率过低", "立即查看老人的意识、面色和脉搏。头晕、晕厥或胸痛时呼叫医生。"),
        Text(
            "Heart rate too low", "See the resident now: consciousness, colour, pulse. Call a doctor for dizziness, fainting or chest pain."
        ),
    ),
    # HIGH, as bradycardia: NEWS2 scores both ends of the heart rate red, and a rate that leaves the ventricle no time to fill harms
    # promptly, and may be a ventricular tachycardia that was not told as one (README, known misses).
    _vital(
        "heart.tachycardia",
        "heart rate above the resident's upper limit",
        _HEART,
        Text("心率过高", "立即查看老人有无胸痛、气促、发热、疼痛或焦虑。有症状时呼叫医生。"),
        Text(
            "Heart rate too high",
            "See the resident now; look for chest pain, breathlessness, fever, pain, fear. Call a doctor if there are symptoms.",
        ),
    ),
    _arrest(
        "heart.asystole",
        "no heartbeat on a good ECG",
        Text("疑似心搏停止", "立即前往。无反应且无正常呼吸：马上心肺复苏，取AED，拨打120。有反应：检查电极。"),
        Text(
            "Possible asystole",
            "Go now. No response and no normal breathing: start CPR, fetch the AED, call 120. Responsive: check the electrodes.",
        ),
    ),
    _arrest(
        "heart.ventricular_tachycardia",
        "run of fast ventricular beats",
        Text("室性心动过速", "立即前往，查看意识和脉搏，携带AED，呼叫医生。"),
        Text("Ventricular tachycardia", "Go now, check consciousness and pulse, bring the AED, call a doctor."),
        _VENTRICULAR,
    ),
    _arrest(
        "heart.ventricular_fibrillation",
        "fibrillation or flutter wave instead of heartbeats",
        Text("心室颤动", "立即前往。无反应且无正常呼吸：马上心肺复苏，取AED，拨打120。"),
        Text("Ventricular fibrillation", "Go now. No response and no normal breathing: start CPR, fetch the AED, call 120."),
        _VENTRICULAR,
    ),
    # MEDIUM: the harm is a stroke, irreversible and delayed. That ectopic beats look like it (README, known misses) is a matter of
    # certainty, and table 1 knows harm and time alone; certainty is what the six minutes of the detector and pending_s are for.
    _watch(
        "heart.atrial_fibrillation",
        "irregular RR intervals of atrial fibrillation",
        _HEART,
        Text("疑似房颤", "查看老人并测脉搏，记录时间，告知医生；如有偏瘫、口齿不清，拨打120。"),
        Text(
            "Possible atrial fibrillation",
            "See the resident, feel the pulse, note the time, tell the doctor. One-sided weakness or slurred speech: call 120.",
        ),
    ),
    # HIGH: NEWS2 red (91 % or less), and want of oxygen harms brain and heart in minutes: irreversible, prompt.
    _vital(
        "heart.spo2_low",
        "oxygen saturation below the resident's limit",
        _OXYGEN,
        Text("血氧过低", "立即查看呼吸、口唇颜色和探头位置。抬高床头，按医嘱给氧，呼叫医生。"),
        Text(
            "Oxygen too low",
            "Go now: breathing, colour of lips, position of the probe. Raise the head of the bed, oxygen as ordered, call a doctor.",
        ),
    ),
    _vital(
        "heart.respiration_low",
        "too few breaths a minute",
        _BREATH,
        Text("呼吸过慢", "立即查看，唤醒老人，检查气道；无正常呼吸：心肺复苏，拨打120。"),
        Text("Breathing too slow", "Go now, wake the resident, check the airway. No normal breathing: start CPR, call 120."),
    ),
    # Not life safety: whoever breathes fast breathes. It announces illness that harms within hours (NEWS2 red for a ward's doctor, delayed
    # in table 1, so MEDIUM), passes with a walk to the bathroom, and may therefore be held for half a minute, which life safety forbids.
    # Low oxygen and a fast heart have their own alarms.
    _watch(
        "heart.respiration_high",
        "too many breaths a minute",
        _BREATH,
        Text("呼吸过快", "查看老人有无气促、发热、疼痛。抬高床头，测体温和血氧，告知护士。"),
        Text(
            "Breathing too fast",
            "Look for breathlessness, fever, pain. Raise the head of the bed, take temperature and oxygen, tell the nurse.",
        ),
    ),
)
