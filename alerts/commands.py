"""Why a command of staff is refused: one rule after the other, the first that applies is the answer."""

from __future__ import annotations

from alerts.model import Action, Alert, Command, Outcome, Refusal, RefusalReason, State
from alerts.policy import Policy
from engine.events import Ends


def refusal(command: Command, alert: Alert | None, policy: Policy, *, resolved: bool) -> Refusal | None:
    """The reason not to carry out `command` on the open `alert`, or None.

    `alert` is None when no open one has the command's id; `resolved` says whether one with that id was resolved before.
    """

    def no(reason: RefusalReason, detail: str) -> Refusal:
        return Refusal(command.id, command.alert_id, reason, detail)

    if alert is None:
        if resolved:
            return no(RefusalReason.CLOSED, f"alert {command.alert_id} is already resolved: nothing is left to {command.action.value}")
        return no(RefusalReason.UNKNOWN_ALERT, f"there is no open alert {command.alert_id}: load the list of open alerts again")
    if not command.by:
        return no(RefusalReason.NO_AUTHOR, f"{command.action.value} needs to say by whom: sign in first")
    if len(command.note) > policy.note_max:
        return no(RefusalReason.NOTE_TOO_LONG, f"a note may have {policy.note_max} characters, this has {len(command.note)}: shorten it")
    if alert.state is State.PENDING:
        return no(RefusalReason.PENDING, "nobody has been called for this alert yet: wait until it fires")
    if command.action is Action.ACKNOWLEDGE and alert.acknowledged:
        return no(RefusalReason.ALREADY, f"{alert.acknowledged_by} acknowledged this alert already: attend or resolve it")
    if command.action is Action.ATTEND and alert.attended_by == command.by and alert.acknowledged:
        return no(RefusalReason.ALREADY, f"{command.by} attends to this alert already: resolve it when done")
    if command.action is Action.RESOLVE:
        if command.outcome is None:
            return no(RefusalReason.NO_OUTCOME, f"resolve needs what was found, one of {[o.value for o in Outcome]}")
        watched = alert.present and alert.state is not State.STALE and policy.of(alert.code).ends is not Ends.STAFF
        if alert.life_safety and watched and command.outcome is Outcome.TRUE:
            # The detector reports a latched condition once: closing it now would leave a person in danger unwatched.
            return no(
                RefusalReason.STILL_PRESENT,
                "the condition is still being measured: the alert ends by itself once it is over, or resolve it as false, test or unclear",
            )
    return None
