// The patient's own page for a phone: the latest readings in big figures and plain words, seven days, when to call 120.
import type { JSX } from "preact";
import { glucoses, type Glucose, type Pressure, pressures, targetsOf, type Targets } from "../charts/readings";
import { get, session } from "../core/api";
import { now, zone } from "../core/clock";
import { age, dateTime, midnight, weekday } from "../core/format";
import { useLoad } from "../core/load";
import type { Patient, Plan } from "../core/types";
import { lang, t, word } from "../i18n";
import { Card, Failed, Loading } from "../ui/basics";
import { usePatientReadings } from "./Patient";

const DAY = 86_400_000;
type Mood = "ok" | "watch" | "act";

function pressureWords(p: Pressure, targets: Targets): [Mood, string] {
  const m = t.value.me.bp;
  if (p.systolic >= 180 || p.diastolic >= 110) return ["act", m.veryHigh];
  if (p.systolic < 90) return ["watch", m.low];
  return p.systolic >= targets.systolic || p.diastolic >= targets.diastolic ? ["watch", m.high] : ["ok", m.ok];
}

function glucoseWords(p: Glucose, targets: Targets): [Mood, string] {
  const m = t.value.me.bg;
  if (p.beyond === "LO" || (p.value !== null && p.value < 3.0)) return ["act", m.veryLow];
  if (p.beyond === "HI" || (p.value !== null && p.value >= 16.7)) return ["act", m.veryHigh];
  if (p.value !== null && p.value < 3.9) return ["watch", m.low];
  const limit = p.slot === "fasting" ? targets.fastingHigh : targets.postMealHigh;
  return (p.value ?? 0) > limit ? ["watch", m.high] : ["ok", m.ok];
}

function Latest({ title, id, big, unit, at, words }: { title: string; id: string; big: string; unit: string; at: number; words: [Mood, string] }): JSX.Element {
  return (
    <Card title={title} id={id} class={`me-card ${words[0]}`}>
      <p class="big-figure">{big} <small>{unit}</small></p>
      <p class="me-words">{words[1]}</p>
      <p class="quiet">{t.value.me.at(dateTime(at, now(), lang.value, zone.value), age(at, now(), lang.value))}</p>
    </Card>
  );
}

function Strip({ bp, bg }: { bp: Pressure[]; bg: Glucose[] }): JSX.Element {
  const m = t.value.me;
  const today = midnight(now(), zone.value);
  const days = [6, 5, 4, 3, 2, 1, 0].map((back) => midnight(today - back * DAY + DAY / 2, zone.value));
  const last = <T extends { at: number }>(points: T[], from: number) => points.filter((p) => p.at >= from && p.at < from + DAY).pop();
  return (
    <Card title={m.strip} id="strip">
      <ol class="strip">
        {days.map((from) => {
          const [p, g] = [last(bp, from), last(bg, from)];
          return (
            <li key={from} class={p || g ? "has" : ""}>
              <span>{weekday(from, lang.value, zone.value)}</span>
              {p && <strong>{Math.round(p.systolic)}<br />{Math.round(p.diastolic)}</strong>}
              {g && <strong>{g.beyond ?? g.value?.toFixed(1)}</strong>}
              {!p && !g && <span aria-label={m.notMeasured}>–</span>}
            </li>
          );
        })}
      </ol>
    </Card>
  );
}

export function Emergency(): JSX.Element {
  const m = t.value.me;
  return (
    <Card title={m.emergencyTitle} id="emergency" class="emergency">
      <ul>{m.emergency.map((line) => <li key={line}>{line}</li>)}</ul>
      <p>{m.not}</p>
      <a class="button" href="tel:120">☎ {m.callButton}</a>
    </Card>
  );
}

export function Me(): JSX.Element {
  const id = session.value?.user.patientId;
  return (
    <div class="me">
      {id ? <Mine id={id} /> : <><h1>{t.value.me.title}</h1><p class="note">{t.value.me.notPatient}</p></>}
      <Emergency />
    </div>
  );
}

function Mine({ id }: { id: string }): JSX.Element {
  const m = t.value.me;
  const address = `/patients/${encodeURIComponent(id)}`;
  const person = useLoad(address, (signal) => get<Patient>(address, signal));
  const plan = useLoad(`${address}/plan`, (signal) => get<Plan>(`${address}/plan`, signal).catch(() => null));
  const readings = usePatientReadings(id, "90");
  if (readings.error) return <Failed error={readings.error} again={readings.reload} />;
  if (!readings.data) return <Loading />;
  const targets = targetsOf(plan.data);
  const bp = pressures(readings.data, zone.value).filter((p) => p.used);
  const bg = glucoses(readings.data).filter((p) => p.used);
  const [p, g] = [bp[bp.length - 1], bg[bg.length - 1]];
  const cards = [
    p && { at: p.at, card: <Latest key="bp" id="latest-bp" title={m.latestBp} big={`${Math.round(p.systolic)}/${Math.round(p.diastolic)}`} unit="mmHg" at={p.at} words={pressureWords(p, targets)} /> },
    g && { at: g.at, card: <Latest key="bg" id="latest-bg" title={`${m.latestBg}${g.reading.meal ? `（${word(t.value.meals, g.reading.meal)}）` : ""}`} big={g.beyond ?? (g.value ?? 0).toFixed(1)} unit="mmol/L" at={g.at} words={glucoseWords(g, targets)} /> },
  ].filter((c) => c !== undefined).sort((a, b) => b.at - a.at);
  return (
    <>
      <h1>{person.data ? m.hello(person.data.name) : m.title}</h1>
      {cards.length === 0 ? <p class="note">{m.none}</p> : cards.map((c) => c.card)}
      <Strip bp={bp} bg={bg} />
    </>
  );
}
