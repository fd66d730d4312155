"""A meter that holds its own key: a request, a certificate, a login without a password, and the end of it."""
import base64
import datetime
import ipaddress
import json
import os
import ssl
import threading

import paho.mqtt.client as mqtt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from house import House, eventually, pressure, run
from pki import certificates

PEM, DER8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8


def written(path, data):
    path.write_bytes(data)
    return str(path)


@pytest.fixture
def house(tmp_path, monkeypatch):
    """With a TLS listener whose certificate signs itself."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.timezone.utc)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    cert = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False).sign(key, hashes.SHA256()))
    chain = written(tmp_path / "server.pem", cert.public_bytes(PEM))
    written(tmp_path / "server.key", key.private_bytes(PEM, DER8, serialization.NoEncryption()))
    monkeypatch.setenv("HEARTHBEAT__BROKER__MQTTS", "127.0.0.1:0")
    monkeypatch.setenv("HEARTHBEAT__BROKER__WSS", "127.0.0.1:0")
    monkeypatch.setenv("HEARTHBEAT__BROKER__TLS__CERT_FILE", chain)
    monkeypatch.setenv("HEARTHBEAT__BROKER__TLS__KEY_FILE", str(tmp_path / "server.key"))
    with House() as running:
        running.server = chain
        yield running


def request(key, name="somebody else"):
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256()).public_bytes(PEM).decode()


class Holder:
    """A paho client that has a certificate and no password; `code` is what the CONNACK said."""

    def __init__(self, house, device, key, certificate, tmp_path):
        self.code, self.gone, said = None, threading.Event(), threading.Event()
        client = self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=device, protocol=mqtt.MQTTv5, reconnect_on_failure=False)
        context = ssl.create_default_context(cafile=house.server)
        context.load_cert_chain(written(tmp_path / "device.pem", certificate.encode()),
                                written(tmp_path / "device.key", key.private_bytes(PEM, DER8, serialization.NoEncryption())))
        client.tls_set_context(context)

        def connected(_c, _u, _f, code, _p):
            self.code = code.value
            said.set()

        def ended(*_):
            self.gone.set()
            said.set()

        client.on_connect, client.on_disconnect = connected, ended
        host, port = house.addresses["mqtts"].rsplit(":", 1)
        client.connect(host, int(port))
        client.loop_start()
        assert said.wait(10)

    def publish(self, device, *readings):
        info = self.client.publish(f"hb/v1/devices/{device}/readings", json.dumps({"v": 1, "readings": readings}), qos=1)
        info.wait_for_publish(10)
        assert info.is_published()

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def test_a_meter_comes_in_with_the_certificate_that_it_asked_for_until_it_is_withdrawn(house, tmp_path):
    patient, meter = house.patient()
    meter.close()
    key = ec.generate_private_key(ec.SECP256R1())
    made = house.ask("POST", f"/api/v1/devices/{meter.device}/certificate", {"csr": request(key)})
    cert = x509.load_pem_x509_certificate(made["certificate"].encode())
    assert [a.value for a in cert.subject] == [meter.device], "whatever the request says"
    cert.verify_directly_issued_by(x509.load_pem_x509_certificate(made["chain"].encode()))
    assert cert.not_valid_after_utc - datetime.datetime.now(datetime.timezone.utc) < datetime.timedelta(days=731)
    holder = Holder(house, meter.device, key, made["certificate"], tmp_path)
    assert holder.code == 0
    holder.publish(meter.device, pressure(1, "2026-03-02T07:50:00+08:00", 128, 82))
    assert [r["systolic"] for r in eventually("the reading", lambda: house.readings(patient))] == [128]
    other, _ = house.patient("Next Door")
    foreign = Holder(house, house.meters[-1].device, key, made["certificate"], tmp_path)
    assert foreign.code != 0, "it opens no other device"
    assert house.call("DELETE", f"/api/v1/devices/{meter.device}/credential")[0] == 204
    assert holder.gone.wait(60), "a live session ends within 60 s"
    again = Holder(house, meter.device, key, made["certificate"], tmp_path)
    assert again.code != 0
    status, problem = house.call("POST", f"/api/v1/devices/{meter.device}/certificate", {"csr": request(key)})
    assert status == 409 and problem["type"].startswith("urn:hearthbeat:problem:")
    for c in (holder, foreign, again):
        c.close()


@pytest.mark.parametrize("door", ["mqtts", "wss"])
@pytest.mark.parametrize("version", [mqtt.MQTTv311, mqtt.MQTTv5], ids=["3.1.1", "5"])
def test_who_has_a_secret_needs_no_certificate_and_may_show_any(house, door, version, tmp_path):
    patient, meter = house.patient()
    meter.close()
    key = ec.generate_private_key(ec.SECP256R1())
    # From the first certificate on `mqtts` asks everybody for one.
    made = house.ask("POST", f"/api/v1/devices/{meter.device}/certificate", {"csr": request(key)})
    files = certificates(tmp_path, meter.device)       # of a maker's authority, which nobody here knows

    def enters(certificate=None, secret=house.secrets[meter.device]):
        heard, said = [], threading.Event()
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=meter.device, protocol=version, reconnect_on_failure=False,
                             transport="websockets" if door == "wss" else "tcp")
        context = ssl.create_default_context(cafile=house.server)
        if certificate:
            context.load_cert_chain(*certificate)
        client.tls_set_context(context)
        if secret:
            client.username_pw_set(meter.device, secret)
        client.on_connect = lambda _c, _u, _f, code, _p: (heard.append(code.value), said.set())
        client.on_disconnect = lambda *_: said.set()
        host, port = house.addresses[door].rsplit(":", 1)
        client.connect(host, int(port))
        client.loop_start()
        assert said.wait(10)
        if heard == [0]:
            seq = 1 + len(house.readings(patient))
            info = client.publish(f"hb/v1/devices/{meter.device}/readings", json.dumps({"v": 1, "readings": [pressure(seq, f"2026-03-02T07:{seq:02}:00+08:00", 120, 80)]}), qos=1)
            info.wait_for_publish(10)
            assert info.is_published()
        client.disconnect()
        client.loop_stop()
        return heard

    own = (written(tmp_path / "own.pem", made["certificate"].encode()), written(tmp_path / "own.key", key.private_bytes(PEM, DER8, serialization.NoEncryption())))
    foreign = (files["device_cert"], files["device_key"])
    refused = 0x87                                     # paho's word for 3.1.1's code 5 too
    if door == "mqtts":
        assert eventually("the gate's new authority", lambda: enters(own, None) == [0]), "with its certificate alone"
    else:
        assert enters(own, None) == [refused], "on a WebSocket nobody is asked for one: a browser would break off"
    before = len(house.readings(patient))
    assert enters() == [0], "with its secret alone"
    assert enters(foreign) == [0], "with its secret, and a certificate that says nothing here"
    assert enters(foreign, None) == [refused] and enters(None, "wrong") == [refused], "and nobody else; never without a word"
    assert len(house.readings(patient)) == before + 2


def test_weak_and_forged_requests_are_told_what_is_wrong(house):
    _, meter = house.patient()
    ask = lambda csr, who=None: house.call("POST", f"/api/v1/devices/{meter.device}/certificate", {"csr": csr}, who=who)
    forged = request(ec.generate_private_key(ec.SECP256R1())).splitlines()
    body = bytearray(base64.b64decode("".join(forged[1:-1])))
    body[-1] ^= 1
    forged = "-----BEGIN CERTIFICATE REQUEST-----\n" + base64.b64encode(body).decode() + "\n-----END CERTIFICATE REQUEST-----\n"
    for csr, words in [(request(rsa.generate_private_key(65537, 1024)), "2,048"), (request(ec.generate_private_key(ec.SECP521R1())), "P-256"), (forged, "signature"), ("x", "PKCS #10")]:
        status, problem = ask(csr)
        assert status == 422 and problem["field"] == "csr" and words in problem["detail"], problem
    assert ask(request(rsa.generate_private_key(65537, 2048)))[0] == 201
    assert ask("x", who="gp")[0] == 403, "a doctor signs no certificates"


def test_old_and_new_authority_are_both_trusted_until_the_old_one_is_retired(house, tmp_path):
    _, meter = house.patient()
    meter.close()
    key = ec.generate_private_key(ec.SECP256R1())
    sign = lambda: house.ask("POST", f"/api/v1/devices/{meter.device}/certificate", {"csr": request(key)})

    def enters(made):
        holder = Holder(house, meter.device, key, made["certificate"], tmp_path)
        holder.close()
        return holder.code == 0

    by_old = sign()
    told = run("device", "ca", "rotate", "--data-dir", house.data)
    assert told.returncode == 0 and str(house.process.pid) in told.stdout, told
    by_new = sign()
    assert by_old["chain"] != by_new["chain"]
    eventually("the new authority", lambda: enters(by_new))
    assert enters(by_old)
    assert run("device", "ca", "retire", "--data-dir", house.data).returncode == 0
    eventually("the end of the old one", lambda: not enters(by_old))
    assert enters(by_new)


def test_offline_the_same(tmp_path):
    data = str(tmp_path / "data")
    assert run("init", "--data-dir", data, "--json").returncode == 0
    made = json.loads(run("device", "provision", "bp-1", "--data-dir", data, "--json").stdout)[0]
    assert made["qrText"] == f"urn:hearthbeat:claim:bp-1:{made['claimCode']}"
    csr = written(tmp_path / "csr.pem", request(ec.generate_private_key(ec.SECP256R1())).encode())
    done = run("device", "certificate", "bp-1", "--csr", csr, "--data-dir", data)
    certs = x509.load_pem_x509_certificates(done.stdout.encode())
    assert [a.value for a in certs[0].subject] == ["bp-1"]
    certs[0].verify_directly_issued_by(certs[1])
    assert run("device", "certificate", "nobody", "--csr", csr, "--data-dir", data).returncode == 1
    assert oct(os.stat(f"{data}/device-ca.key").st_mode)[-3:] == "600"
