// One `hearthbeat run` of its own: a temporary folder, free loopback ports, a clock that stands still. Knows only the
// contract: the command line, the HTTP API, MQTT.
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as pause } from "node:timers/promises";

const CONFIG = `
[broker]
mqtt = "127.0.0.1:0"
mqtts = ""
ws = "127.0.0.1:0"
wss = "127.0.0.1:0"
[broker.tls]
cert_file = "FOLDER/cert.pem"
key_file = "FOLDER/key.pem"
[api]
address = "127.0.0.1:0"
[alerts.channels.sink]
kind = "log"
`;
export const PASSWORD = "correct horse battery 1";

/** Polls until `ask` gives something true. */
export async function until(what, seconds, ask) {
  const end = performance.now() + seconds * 1000;
  for (;;) {
    const value = await ask();
    if (value) return value;
    if (performance.now() > end) throw new Error(`not within ${seconds} s: ${what}`);
    await pause(50);
  }
}

export class Service {
  static async start(binary, clock) {
    const s = new Service();
    s.folder = mkdtempSync(join(tmpdir(), "hb-browser-"));
    const [data, config] = [join(s.folder, "data"), join(s.folder, "config.toml")];
    writeFileSync(config, CONFIG.replaceAll("FOLDER", s.folder));
    const certificate = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"];
    const made = spawnSync("openssl", [...certificate, "-keyout", join(s.folder, "key.pem"), "-out", join(s.folder, "cert.pem")], { encoding: "utf8" });
    if (made.status !== 0) throw new Error(`openssl: ${made.error ?? made.stderr}`);
    const bin = resolve(binary);
    const init = spawnSync(bin, ["init", "--data-dir", data, "--json"], { encoding: "utf8" });
    if (init.status !== 0) throw new Error(`init: exit ${init.status}: ${init.stderr}`);
    s.admin = JSON.parse(init.stdout);
    const log = openSync(join(s.folder, "log"), "a");
    s.process = spawn(bin, ["run", "--config", config, "--data-dir", data, "--test-clock", `manual=${clock}`], { stdio: ["ignore", log, log] });
    const addresses = await until("addresses.json", 60, () => {
      if (s.process.exitCode !== null) throw new Error(`run ended with ${s.process.exitCode}: ${s.log()}`);
      try {
        const found = JSON.parse(readFileSync(join(data, "addresses.json"), "utf8"));
        return found.pid === s.process.pid ? found : null;
      } catch {
        return null;
      }
    });
    s.base = `http://${addresses.http}`;
    s.mqtt = addresses.mqtt;
    s.ws = addresses.ws;
    s.wss = addresses.wss;
    s.token = await s.login(s.admin.username, s.admin.password);
    return s;
  }

  log() {
    return readFileSync(join(this.folder, "log"), "utf8").slice(-1500);
  }

  async stop() {
    if (this.process.exitCode === null) {
      const ended = new Promise((done) => this.process.once("exit", done));
      this.process.kill("SIGTERM");
      const late = setTimeout(() => this.process.kill("SIGKILL"), 12_000);
      await ended;
      clearTimeout(late);
    }
    rmSync(this.folder, { recursive: true, force: true });
  }

  async ask(method, path, body, token = this.token) {
    const answer = await fetch(this.base + path, {
      method,
      headers: { accept: "application/json", ...(token ? { authorization: `Bearer ${token}` } : {}), ...(body ? { "content-type": "application/json" } : {}) },
      ...(body ? { body: JSON.stringify(body) } : {}),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text.slice(0, 300)}`);
    return text ? JSON.parse(text) : null;
  }

  async login(username, password) {
    return (await this.ask("POST", "/api/v1/session", { username, password }, null)).token;
  }

  /** Lets everything that was sent be evaluated and handed over; the clock does not move. */
  settle() {
    return this.ask("POST", "/test/clock", { advance: "PT0S" }, null);
  }

  /** Region, centre, station, and a team of a GP, a health manager and a specialist. */
  async district() {
    const ids = {};
    const org = async (name, kind, parentId) => (await this.ask("POST", "/api/v1/organisations", { name, kind, ...(parentId ? { parentId } : {}) })).id;
    ids.region = await org("Region", "region");
    ids.centre = await org("Centre", "centre", ids.region);
    ids.station = await org("Station", "station", ids.centre);
    const users = [["gp", "gp", "station"], ["manager", "health_manager", "station"], ["specialist", "specialist", "station"], ["duty", "gp", "station"], ["head", "station_admin", "station"], ["desk", "region_admin", "region"]];
    for (const [name, role, at] of users) {
      const contacts = [{ channel: "sink", address: `${name}-1` }];
      ids[name] = (await this.ask("POST", "/api/v1/users", { username: `${name}-1`, name: `${name} 一`, roles: [role], organisationId: ids[at], password: PASSWORD, contacts })).id;
    }
    await this.ask("PATCH", `/api/v1/organisations/${ids.station}`, { duty: [ids.duty] });
    await this.ask("PATCH", `/api/v1/organisations/${ids.region}`, { duty: [ids.desk] });
    const members = [["gp", "gp"], ["manager", "health_manager"], ["specialist", "specialist"]].map(([who, role]) => ({ userId: ids[who], role }));
    ids.team = (await this.ask("POST", "/api/v1/teams", { name: "Team 1", organisationId: ids.station, members })).id;
    return ids;
  }

  /** A patient with a meter of their own. */
  async home(team, name, more = {}) {
    const body = { name, birthDate: "1958-05-02", sex: "female", teamId: team, tags: ["hypertension"], conditions: ["hypertension", "diabetes"], phone: "13800138000", ...more };
    const patient = (await this.ask("POST", "/api/v1/patients", body)).id;
    const device = await this.ask("POST", "/api/v1/devices", {});
    await this.ask("POST", `/api/v1/devices/${device.id}/bindings`, { patientId: patient, from: "2020-01-01T00:00:00+08:00" });
    return { patient, device, seq: 0 };
  }

  /** Publishes readings as the home's meter, at QoS 1, and waits for the PUBACK. */
  async measure(home, ...readings) {
    const numbered = readings.map((r) => ({ seq: ++home.seq, ...r }));
    await publish(this.mqtt, home.device, JSON.stringify({ v: 1, readings: numbered }));
  }
}

export const bp = (time, systolic, diastolic, more = {}) => ({ kind: "blood_pressure", time, systolic, diastolic, pulse: 72, unit: "mmHg", ...more });
export const bg = (time, glucose, meal = "fasting", more = {}) => ({ kind: "blood_glucose", time, glucose, unit: "mmol/L", meal, ...more });

const text = (s) => {
  const bytes = Buffer.from(s);
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes]);
};

function packet(head, body) {
  const length = [];
  let n = body.length;
  do {
    length.push((n % 128) | (n >= 128 ? 128 : 0));
    n = Math.floor(n / 128);
  } while (n > 0);
  return Buffer.concat([Buffer.from([head, ...length]), body]);
}

/** What a meter says: CONNECT of MQTT 3.1.1, and a publish at QoS 1 under packet id 1. */
export const hello = ({ id, secret }) => packet(0x10, Buffer.concat([text("MQTT"), Buffer.from([4, 0xc2, 0, 60]), text(id), text(id), text(secret)]));
export const message = ({ id }, payload) => packet(0x32, Buffer.concat([text(`hb/v1/devices/${id}/readings`), Buffer.from([0, 1]), Buffer.from(payload)]));

/** One MQTT 3.1.1 connection, one publish at QoS 1, its PUBACK. */
function publish(address, device, payload) {
  const [host, port] = [address.slice(0, address.lastIndexOf(":")), Number(address.slice(address.lastIndexOf(":") + 1))];
  return new Promise((done, fail) => {
    const socket = connect(port, host);
    socket.setTimeout(15_000, () => socket.destroy(new Error("MQTT: silent for 15 s")));
    let answered = false;
    let held = Buffer.alloc(0);
    socket.on("connect", () => socket.write(hello(device)));
    socket.on("data", (bytes) => {
      held = Buffer.concat([held, bytes]);
      while (held.length >= 4) { // CONNACK and PUBACK are four bytes each
        const [head, , a, b] = held;
        held = held.subarray(4);
        if (head === 0x20 && b === 0) socket.write(message(device, payload));
        else if (head === 0x40 && a === 0 && b === 1) {
          answered = true;
          socket.end(Buffer.from([0xe0, 0]));
          done();
        } else socket.destroy(new Error(`MQTT: unexpected ${head} ${a} ${b}`));
      }
    });
    socket.on("error", fail);
    socket.on("close", () => !answered && fail(new Error("MQTT: closed without a PUBACK")));
  });
}
