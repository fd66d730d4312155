"""Live copies of alerts for wall screens and other systems: who gets them, who may not, and what is in them. Over real MQTT."""
import json
import threading

import paho.mqtt.client as mqtt
import pytest
from house import House, eventually, pressure

NAME = "Canary Kanarienvogel"


class Screen:
    """A service client, or whoever tries to be one: what its subscriptions were answered with, and what it hears."""

    def __init__(self, house, device, secret, *topics, version=mqtt.MQTTv5):
        self.heard, self.granted, self.left = [], [], threading.Event()
        answered = threading.Event()
        client = self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=device, protocol=version, reconnect_on_failure=False)
        client.username_pw_set(device, secret)
        client.on_message = lambda _c, _u, m: self.heard.append((m.topic, json.loads(m.payload)))
        client.on_connect = lambda c, *_: c.subscribe([(topic, 1) for topic in topics])
        client.on_disconnect = lambda *_: self.left.set()

        def subscribed(_c, _u, _mid, codes, _properties):
            self.granted = [code.value < 0x80 for code in codes]
            answered.set()
        client.on_subscribe = subscribed
        host, port = house.addresses["mqtt"].rsplit(":", 1)
        client.connect(host, int(port))
        client.loop_start()
        assert answered.wait(10), f"{device} was not answered"

    def states(self, patient):
        """The states of this patient's alerts in the order heard."""
        return [alert["state"] for _, alert in list(self.heard) if alert["patientId"] == patient]

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def district():
    """Two stations below one region, and the ops user who gives out service clients."""
    with House() as house:
        house.region = next(o for o in house.ask("GET", "/api/v1/organisations")["items"] if o["kind"] == "region")["id"]
        house.other = house.ask("POST", "/api/v1/organisations", {"name": "Other station", "kind": "station", "parentId": house.region})["id"]
        house.screens = []

        def screen(organisation, *topics, **more):
            made = house.ask("POST", "/api/v1/devices", {"kind": "service", "organisationId": organisation})
            house.screens.append(Screen(house, made["id"], made["secret"], *topics, **more))
            house.screens[-1].device = made["id"]
            return house.screens[-1]
        house.screen = screen
        yield house
        for each in house.screens:
            each.close()


alerts = lambda organisation: f"hb/v1/live/{organisation}/alerts"


@pytest.mark.parametrize("version", [mqtt.MQTTv311, mqtt.MQTTv5], ids=["3.1.1", "5"])
def test_an_alert_goes_to_the_screens_of_its_station_and_of_those_above(district, version):
    house = district
    own = house.screen(house.station, alerts(house.station), version=version)
    above = house.screen(house.region, alerts(house.region), alerts(house.station), version=version)
    beside = house.screen(house.other, alerts(house.other), version=version)
    assert own.granted == [True] and above.granted == [True, True] and beside.granted == [True]
    patient, meter = house.patient(name=NAME)
    for seq, at in ((1, "07:50"), (2, "07:55")):
        meter.send(pressure(seq, f"2026-03-02T{at}:00+08:00", 191, 117))
    house.advance("PT0S")
    eventually("the alert on the station's screen", lambda: "notified" in own.states(patient))
    alert = next(a for _, a in own.heard if a["state"] == "notified")
    found = house.ask("GET", f"/api/v1/alerts/{alert['id']}")
    same = ("id", "patientId", "concept", "severity", "state", "ruleId", "raisedAt", "level", "cycle", "count", "owner")
    assert {k: alert[k] for k in same} == {k: found[k] for k in same}, "what the screen hears is what the API says"
    assert (alert["severity"], alert["concept"], alert["organisationId"]) == ("critical", "bp_crisis", house.station)
    house.ask("POST", f"/api/v1/alerts/{alert['id']}/ack", who="gp", headers={"idempotency-key": "one"})
    eventually("the acknowledgement", lambda: "acknowledged" in own.states(patient))
    done = next(a for _, a in own.heard if a["state"] == "acknowledged")
    assert done["owner"] == house.gp
    # The region's screen hears it on both topics that it follows, each under the topic's own name.
    eventually("the region", lambda: sum(a["state"] == "acknowledged" for _, a in above.heard) == 2)
    assert {topic for topic, _ in above.heard} == {alerts(house.region), alerts(house.station)}
    assert {topic for topic, _ in own.heard} == {alerts(house.station)}
    assert beside.heard == [], "the station beside hears nothing"
    text = json.dumps([own.heard, above.heard], ensure_ascii=False)
    assert NAME not in text and "191" not in text, "no name and no value in a copy"
    assert sorted(house.sink.people()) == ["gp", "manager"], "and people are told as ever"


def test_who_may_not_follow_alerts_is_refused_and_hears_nothing(district):
    house = district
    # A screen may follow its own organisation and those below it; no wildcard, nobody beside or above.
    mine, foreign = alerts(house.other), (alerts(house.station), alerts(house.region), "hb/v1/live/+/alerts", "hb/v1/live/#", "#", f"$share/g/{alerts(house.other)}")
    curious = house.screen(house.other, mine, *foreign)
    assert curious.granted == [True] + [False] * len(foreign)
    # A meter, a gateway and a kiosk hear their own down topics and nothing else.
    for kind in ("blood_pressure", "gateway", "kiosk"):
        made = house.ask("POST", "/api/v1/devices", {"kind": kind, "organisationId": house.station})
        house.screens.append(Screen(house, made["id"], made["secret"], alerts(house.station)))
        assert house.screens[-1].granted == [False], kind
    # Who may not provision devices may not make a screen either.
    for who in ("gp", "manager"):
        assert house.call("POST", "/api/v1/devices", {"kind": "service", "organisationId": house.station}, who=who)[0] == 403
    # A screen publishes nothing: no alert can be made up.
    liar = house.screen(house.station, alerts(house.station), version=mqtt.MQTTv311)
    liar.client.publish(alerts(house.station), json.dumps({"id": "made up", "patientId": "p"}), qos=1)
    assert liar.left.wait(10), "3.1.1 is closed for it"
    patient, meter = house.patient()
    for seq, at in ((1, "07:50"), (2, "07:55")):
        meter.send(pressure(seq, f"2026-03-02T{at}:00+08:00", 191, 117))
    house.advance("PT0S")
    witness = house.screen(house.station, alerts(house.station))
    house.advance("PT11M")                  # the next step of the chain is a change that everybody entitled hears
    eventually("a change", lambda: witness.states(patient))
    assert [each.heard for each in house.screens if each is not witness] == [[]] * (len(house.screens) - 1)


def test_a_screen_that_is_revoked_hears_no_more(district):
    house = district
    screen, stays = (house.screen(house.station, alerts(house.station)) for _ in range(2))
    patient, meter = house.patient()
    for seq, at in ((1, "07:50"), (2, "07:55")):
        meter.send(pressure(seq, f"2026-03-02T{at}:00+08:00", 191, 117))
    house.advance("PT0S")
    eventually("the alert", lambda: screen.states(patient))
    house.ask("DELETE", f"/api/v1/devices/{screen.device}/credential")
    assert screen.left.wait(60), "a live session ends within a minute"
    heard = len(screen.heard)
    house.advance("PT11M")
    eventually("the next step", lambda: len(stays.states(patient)) > heard)
    assert len(screen.heard) == heard
