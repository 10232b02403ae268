"""What a carer reads: title and first step for every event code, in both languages."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Language = Literal["zh-CN", "en"]

LANGUAGES: Final[tuple[Language, ...]] = ("zh-CN", "en")


class Text(NamedTuple):
    """What happened, and what to do first."""

    title: str
    what_to_do: str


class Texts(NamedTuple):
    """One Text per language."""

    zh: Text
    en: Text


def text(code: str, language: Language) -> Text:
    """The text of `code`; a code nobody wrote for gets a general one that names it."""
    texts = TEXTS.get(code)
    if texts is None:
        general = _UNKNOWN.zh if language == "zh-CN" else _UNKNOWN.en
        return Text(general.title.format(code=code), general.what_to_do)
    return texts.zh if language == "zh-CN" else texts.en


_UNKNOWN: Final = Texts(
    Text("报警：{code}", "请立即查看，并告知技术人员此报警尚无说明。"),
    Text("Alarm: {code}", "Go and look now, and tell the technician that this alarm has no description yet."),
)

TEXTS: Final[dict[str, Texts]] = {
    "falls.fall": Texts(
        Text("跌倒", "立即前往。先查看意识、呼吸和出血；怀疑骨折或撞到头部时不要扶起，呼叫医护人员。"),
        Text("Fall", "Go now. Check consciousness, breathing, bleeding. If a fracture or head injury is possible, do not lift: call a nurse or doctor."),
    ),
    "camera.fall": Texts(
        Text("摄像头发现跌倒", "立即前往。先查看意识、呼吸和出血；怀疑骨折或撞到头部时不要扶起，呼叫医护人员。"),
        Text("Fall seen by camera", "Go now. Check consciousness, breathing, bleeding. If a fracture or head injury is possible, do not lift: call a nurse or doctor."),
    ),
    "sos.pressed": Texts(
        Text("呼叫求助", "立即前往呼叫地点，询问并查看情况。"),
        Text("Call for help", "Go to the place of the call now, ask and look."),
    ),
    "heart.asystole": Texts(
        Text("疑似心搏停止", "立即前往。无反应且无正常呼吸：马上心肺复苏，取AED，拨打120。有反应：检查电极。"),
        Text("Possible asystole", "Go now. No response and no normal breathing: start CPR, fetch the AED, call 120. Responsive: check the electrodes."),
    ),
    "heart.ventricular_fibrillation": Texts(
        Text("心室颤动", "立即前往。无反应且无正常呼吸：马上心肺复苏，取AED，拨打120。"),
        Text("Ventricular fibrillation", "Go now. No response and no normal breathing: start CPR, fetch the AED, call 120."),
    ),
    "heart.ventricular_tachycardia": Texts(
        Text("室性心动过速", "立即前往，查看意识和脉搏，携带AED，呼叫医生。"),
        Text("Ventricular tachycardia", "Go now, check consciousness and pulse, bring the AED, call a doctor."),
    ),
    "heart.bradycardia": Texts(
        Text("心率过低", "立即查看老人的意识、面色和脉搏。头晕、晕厥或胸痛时呼叫医生。"),
        Text("Heart rate too low", "See the resident now: consciousness, colour, pulse. Call a doctor for dizziness, fainting or chest pain."),
    ),
    "heart.tachycardia": Texts(
        Text("心率过高", "立即查看老人有无胸痛、气促、发热、疼痛或焦虑。有症状时呼叫医生。"),
        Text("Heart rate too high", "See the resident now; look for chest pain, breathlessness, fever, pain, fear. Call a doctor if there are symptoms."),
    ),
    "heart.atrial_fibrillation": Texts(
        Text("疑似房颤", "查看老人并测脉搏，记录时间，告知医生；如有偏瘫、口齿不清，拨打120。"),
        Text("Possible atrial fibrillation", "See the resident, feel the pulse, note the time, tell the doctor. One-sided weakness or slurred speech: call 120."),
    ),
    "heart.spo2_low": Texts(
        Text("血氧过低", "立即查看呼吸、口唇颜色和探头位置。抬高床头，按医嘱给氧，呼叫医生。"),
        Text("Oxygen too low", "Go now: breathing, colour of lips, position of the probe. Raise the head of the bed, oxygen as ordered, call a doctor."),
    ),
    "heart.respiration_low": Texts(
        Text("呼吸过慢", "立即查看，唤醒老人，检查气道；无正常呼吸：心肺复苏，拨打120。"),
        Text("Breathing too slow", "Go now, wake the resident, check the airway. No normal breathing: start CPR, call 120."),
    ),
    "heart.respiration_high": Texts(
        Text("呼吸过快", "查看老人有无气促、发热、疼痛。抬高床头，测体温和血氧，告知护士。"),
        Text("Breathing too fast", "Look for breathlessness, fever, pain. Raise the head of the bed, take temperature and oxygen, tell the nurse."),
    ),
    "heart_baseline.deviation": Texts(
        Text("心率与平时不同", "今天内查看老人有无感染、脱水、用药变化或疼痛。告知护士。"),
        Text("Heart rate unlike this person's usual", "See the resident today; look for infection, dehydration, new medicine, pain. Tell the nurse."),
    ),
    "pressure_injury.turn_overdue": Texts(
        Text("该翻身了", "为老人翻身，查看骶尾、足跟和髋部皮肤，记录体位。"),
        Text("Turn overdue", "Turn the resident, look at the skin of sacrum, heels and hips, record the position."),
    ),
    "pressure_injury.moisture": Texts(
        Text("床面潮湿", "更换床品和衣物，清洁并擦干皮肤，查看皮肤是否发红。"),
        Text("Bed is wet", "Change bedding and clothes, clean and dry the skin, look for redness."),
    ),
    "fire.smoke": Texts(
        Text("烟雾报警", "立即查看。有烟或火：按下手动报警按钮，疏散老人，关门，拨打119。"),
        Text("Smoke", "Look now. Smoke or fire: raise the alarm, move residents out, close doors, call 119."),
    ),
    "fire.heat": Texts(
        Text("高温报警", "立即查看。有烟或火：按下手动报警按钮，疏散老人，关门，拨打119。"),
        Text("Heat", "Look now. Smoke or fire: raise the alarm, move residents out, close doors, call 119."),
    ),
    "fire.rate_of_rise": Texts(
        Text("温度急升", "立即查看。有烟或火：按下手动报警按钮，疏散老人，关门，拨打119。"),
        Text("Temperature rising fast", "Look now. Smoke or fire: raise the alarm, move residents out, close doors, call 119."),
    ),
    "fire.co": Texts(
        Text("一氧化碳超标", "立即将老人移到室外新鲜空气处，开窗，关闭燃气和炉具，拨打119；有头痛、呕吐、意识不清者拨打120。"),
        Text("Carbon monoxide", "Move residents into fresh air now, open windows, turn off gas and stoves, call 119; for headache, vomiting or confusion call 120."),
    ),
    "fire.prewarning": Texts(
        Text("火灾预警", "到房间查看是否有烟味、过热的插座或电器；发现火情立即报警。"),
        Text("Early fire warning", "Look in the room for a smell of smoke, hot sockets or appliances; raise the alarm at any sign of fire."),
    ),
    "fire.residual_current": Texts(
        Text("漏电过大", "停用潮湿或损坏的电器，通知电工检查线路。不要触碰裸露电线。"),
        Text("Residual current too high", "Stop using wet or damaged appliances, call the electrician. Do not touch bare wires."),
    ),
    "fire.cable_heat": Texts(
        Text("电线过热", "关闭大功率电器，查看有无焦味，通知电工检查线路。"),
        Text("Cable too hot", "Switch off heavy appliances, look and smell for scorching, call the electrician."),
    ),
    "device.silent": Texts(
        Text("设备无数据", "此设备暂时不能报警。先亲自查看老人，再检查电池、佩戴和网络；两小时内修不好请用备用设备。"),
        Text("Device is silent", "It cannot raise an alarm now. See the resident yourself, then check battery, fit and network; not repaired in two hours: use a stand-in."),
    ),
    "technical.canary_missing": Texts(
        Text("Vigil没有报告试验性跌倒", "跌倒、心率、压疮、火灾报警可能都不再发出。请立即增加巡视，亲自查看老人，并呼叫技术人员；恢复后由一人确认。"),
        Text("Vigil missed its test fall", "Falls, hearts, bedsores and fire may be unwatched now. Start rounds, see the residents yourself, call the technician; once it works again, one person acknowledges."),
    ),
}  # fmt: skip
"""Texts per event code. CPR and AED steps follow the lay-rescuer chain of the AHA 2020 guidelines (part 3); numbers are China's 120 and 119."""

STATE_NAMES: Final[dict[str, tuple[str, str]]] = {
    "pending": ("确认中", "checking"),
    "firing": ("报警中", "firing"),
    "acknowledged": ("已确认", "acknowledged"),
    "stale": ("数据中断", "data missing"),
    "resolved": ("已结束", "resolved"),
}
"""State to (zh-CN, en)."""
