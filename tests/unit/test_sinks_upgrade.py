"""A spool that an earlier version left behind is read, and written in the same form."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Final

from sinks.codec import encode
from sinks.delivery import Delivery
from sinks.examples import item
from sinks.items import Item, ItemKind
from sinks.outcome import ACCEPTED, Outcome, Retry
from tests.unit.test_sinks_delivery import Target

LEFT_BEHIND: Final = {
    "account-000000000003.log": (
        "0Vy-sCv5-#0F<X;V`Fc1ZgkloWjSMHGG;R}G-5L|G%`6gH)b(nHaTQtVlgvgGGRGn*&<|Rc4=c}EifNpV`F7(A2ByIIXO8tI503UFfcGMFfcGM"
        "n5blBc4=c}Eik2FV`F7(&lqgO!^P780AyhS0Ra"
    ),
    "alert-000000000000.log": (
        "0W*P<Jl+EU0F<R+Y-MtE*(6~tIW%EmVmLN1V>vTpIbkw4HaBKsGBaZ_VKy*1Wiw(jEil<4VJ$f{VPRr8HZWs3Gh;bnGB-9iW@0ikV=-YiFgay2"
        "VlslNbaG*Cb7^#GZ*GjDX=K?XVJ$f{VPRr8HZWs3Gh;bnGB-9iW@0ikV=-YiFgay2Vlpi-s9|hna&%v5WZ5ENEjct{VPZHoFk?A0V>w|mH#RqB"
        "Vlp#hF<~|^Ib}0qGN^N9adl;GV`TuUW^!+BUvqR}bY;M(bZ=jCbYXO5re<k!X>Mnxa%Ew2Z*HY;ZgXXHrD1emZgbBVY{spJfL;KoWp-t5bYE#?"
        "*&sPIVPRr8HZWs3Gh;bnGB-9iW@0ikV=-YiFgay2Vltv)d7!3lZ**y9dBdk~b#!BIZDqiuZf|sDprv7KWpZ@h02rcaWZ5ENEjct{VPZHoFk?A0"
        "V>w|mH#RqBVlp#hF<~|^Ib}0qGNfZ~WM!&mVQg%3E@okDY^QT|Vrpe$bgXh^b7^E{ZgeklEikBXa%pdJX>@r5t88gzWnXh)W@U7F!=-a{VRU7t"
        "W@&P1ZfB@(ZgXXHUv6{H7;MI@)UW^ms$p_+X?9_3Uv6{H7;MI^hk#xHs$^wjX=G(&Uv6{H7;MI^OXZXRt!!a)bYE|7b7gd2ZgbBVY{snAumAw6"
        "Y+-YBUtx4#ZgbBVY{spJfL;Klb7OCEWy?S8%*@Qp%+02DVQh6}bAhO7ZE#^@bYEx7Knwr?00000r*dU*Wnpx40H||iadl;GV`TxUWp-t5bYE#?"
        "bCKB~IW%EmVmLN1V>vTpIbkw4HaBKsGBaZ_VKy*1Wiw(jreR}rX?A6ix@KW)Y;zwmH#RUZFfcGMFfcGMFfcGMFfbpdXlZkFZ*qB&jG}2|*(6~t"
        "IW%EmVmLN1V>vTpIbkw4HaBKsGBaZ_VKy*1Wiw(jEikBIY-MtEUuk67B4I5#G+|+4I5se2IWuE9VKO&1H)dioGh;DfHZVD5Gh#BRb7gULWo~0-"
        "0IFtkZ*5<5bYXO5z^HU@UvqR}bY-SyX>w_9XQpyxVRLV8rEhL?Wpt%sbYE_B&lqgRt%rbK0H|elWo~p|X=K?TIW%EmVmLN1V>vTpIbkw4HaBKs"
        "GBaZ_VKy*1Wiw(jqGEZVrfzR^X=ZuDr*Cz1V{dI`z@%<(bY-BgXlZkFZ*qBGWO8qCaAjlwrgCL-b!}z9ret+xUv6{HfB*mg|NsC0uVG_rZf|#N"
        "Wn^b%WM5)=psQhYbY*U2Wn^Dsd7!6nb#!BIZDqg"
    ),
    "audit-000000000001.log": (
        "0gd)0-DUs)0F<R+b!2IDr(tzuX>=_xpoXGpWT#<uWNCCQFr{I1Uv6{H7;MI@)UW^mqGEZYZY?*aVPkY@Z*HV=WnpBdbYXI5Wpu1^Wpim{Wo~pY"
        "axE~XWMy<=X>6?Iy_4j<jp(kh<-L^"
    ),
    "event-000000000002.log": (
        "0=l0lPz3=10F<R=c4cmK*&sPIVPRr8HZWs3Gh;bnGB-9iW@0ikV=-YiFgay2VltqNqG@E=AUQN)VPZHoFk?A0V>w|mH#RqBVlp#hF<~|^Ib}0q"
        "GN@!_bY)|7Z*rw(VQg%3q+@SnWvXUjY;1EbW?^h>r*m~;YGq?|ta4>@X=G(?bT4u(Fr{#4VRL1rZ*FsCbf|E0X>W3Aba?})Z*FsCbYE_B&lqgR"
        "tkkdo0IFnVV`*e%WM6J`&lqgRtxM&U0IFefa%py9Y+r73&lqgRt%rbK0Ht$dZ*pbJKkUrR%*@QqrgmX$b!BsbsA+9*VPkY(XUjkg00000005?B"
        "Wp-&}WuO"
    ),
    "measurements-000000000005.log": (
        "0ozufo|XUr0F<n4Wnpu5a%F90Zgg|mAZ9r@GcaT{G&eJ4H!@>pV>x7EF*sy0Ff}zfG&4CiFrbyDc4>5BY;%&Va%FRAWMyu2FLEt0ta4>@X=G(?"
        "bT4u(GQ<!70I<}o#%ve>0I<}o#%vgpu4rXpa&%vEVRU6*VsLG(bY*RDWpZJ3b#i52W5f^u0FOcd0Kk6$0Kk7{W)ea"
    ),
    "quarantine-000000000004.log": (
        "0s5YX`^x|T0F<h6bzyR0ZggpGW!WHQHe)g~VPs=7He)t0G&W^5H)dooHZ(G2GcjXfVKZf*h^BI7VRLV8s%~#?UuJ1;X>?_#WMy<=X>8drV`yP+"
        "Ze?sBcwc8AXm4y}b0BGMW@&C|ba^@;b7gL1AWmUUAZBlJAZ=-Lb7^j8retMyX=7!mWMy_~V`VKcq-$wzWTjzaV`Xfpa%Ev;X>Mn8GN*81d2DZC"
        "WW)mi|9h%oa&l>QVQgP+bI%xT#;nw^005|PZ*ysMX>V=-"
    ),
}
"""Base 85 of the segment files of Vigil 0.1, when `item(kind)` of every kind had been put and only the event was accepted."""


class Events(Target):
    """Accepts events alone."""

    def deliver(self, items: Sequence[Item]) -> list[Outcome]:
        return [ACCEPTED if one.kind is ItemKind.EVENT else Retry("no", scope="item") for one in items]


def test_what_an_earlier_version_left_is_delivered_once(tmp_path: Path) -> None:
    for name, text in LEFT_BEHIND.items():
        (tmp_path / name).write_bytes(base64.b85decode(text))
    target = Target()
    subject = Delivery(target, tmp_path)
    subject.put([item(ItemKind.EVENT)])  # the input is replayed: it was delivered before
    while subject.run_once() == 0:
        pass
    assert [encode(one) for one in target.accepted] == [encode(item(kind)) for kind in ItemKind if kind is not ItemKind.EVENT]
    assert (subject.statistics().duplicates, subject.statistics().damaged_bytes, subject.statistics().dead) == (1, 0, 0)
    subject.close()


def test_the_files_are_written_as_before(tmp_path: Path) -> None:
    subject = Delivery(Events(), tmp_path, rng=Random(1))
    subject.put([item(kind) for kind in ItemKind])
    subject.run_once()
    subject.close(0)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.log")} == {
        name: base64.b85decode(text) for name, text in LEFT_BEHIND.items()
    }
