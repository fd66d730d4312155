"""Formats that are not our own, over real MQTT, beside our own."""
import json

from house import eventually


def test_fhir_and_a_vendors_own_payload_come_in_by_the_same_door(house):
    patient, meter = house.patient()
    part = lambda code, value, unit="mm[Hg]": {"code": {"coding": [{"system": "http://loinc.org", "code": code}]},
                                             "valueQuantity": {"value": value, "system": "http://unitsofmeasure.org", "code": unit}}
    panel = {"resourceType": "Observation", "status": "final", "effectiveDateTime": "2026-03-02T07:50:00+08:00",
             "identifier": [{"system": "urn:hearthbeat:seq", "value": "1"}], "subject": {"reference": "Patient/somebody"},
             "code": {"coding": [{"system": "http://loinc.org", "code": "85354-9"}]}, "component": [part("8480-6", 131), part("8462-4", 82), part("8867-4", 66, "/min")]}
    up = lambda tail, payload: meter.client.publish(f"hb/v1/devices/{meter.device}/{tail}", json.dumps(payload), qos=1).wait_for_publish(10)
    up("fhir", panel)
    up("vendor/thingsboard", {"ts": 1772409180000, "values": {"systolic": "133", "diastolic": 83, "seq": 2}})
    up("vendor/not-yet", {"hp": 140})
    shown = eventually("two readings", lambda: len(house.readings(patient)) == 2 and house.readings(patient))
    assert [(r["systolic"], r["pulse"], r["measuredAt"][:16]) for r in shown] == [(131, 66, "2026-03-02T07:50"), (133, None, "2026-03-02T07:53")]
    held = house.ask("GET", "/api/v1/quarantine?reason=kind_unknown")["items"]
    assert [bytes.fromhex(h["raw"]) for h in held] == [b'{"hp": 140}']
    original = house.ask("GET", f"/api/v1/readings/{shown[0]['id']}/original", who="gp")
    assert (original["route"], json.loads(original["text"])) == ("fhir", panel)
