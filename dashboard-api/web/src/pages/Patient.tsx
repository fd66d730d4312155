// One patient: the charts with their targets, the same readings as a table, the plan, alerts and findings.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { type Glucose, glucoses, type Pressure, pressures, type Targets, targetsOf } from "../charts/readings";
import { get, getAll } from "../core/api";
import { now, zone } from "../core/clock";
import { masked, ms, years } from "../core/format";
import { useGathered, useLive } from "../core/live";
import { useLoad } from "../core/load";
import { place, setQuery } from "../core/router";
import type { Patient as Person, Plan, Reading } from "../core/types";
import { t, word } from "../i18n";
import { Failed, Loading } from "../ui/basics";
import { GlucoseFigure, PressureFigure, type Span } from "./patient/Figures";
import { SummaryCard } from "./patient/Summary";
import { AlertsCard, FindingsCard, PlanCard } from "./patient/Side";
import { VisitCard } from "./patient/Visit";

const DAY = 86_400_000;
const RANGES = ["7", "30", "90", "all"] as const;
/** At most so many readings are fetched; the newest ones win. */
export const CAP = 6000;

/** Readings up to now, newest pieces first, until a piece reaches back far enough or the cap is full. */
async function fetchReadings(id: string, days: number | null, signal: AbortSignal): Promise<Reading[]> {
  const end = now() + DAY; // a meter's clock may run ahead
  const pieces = days === null ? [365, 1095, 3650, 13_500] : [days];
  const found: Reading[] = [];
  let to = end;
  for (const piece of pieces) {
    const from = now() - piece * DAY;
    const query = new URLSearchParams({ from: new Date(from).toISOString(), to: new Date(to).toISOString(), limit: "200" });
    found.unshift(...(await getAll<Reading>(`/patients/${encodeURIComponent(id)}/readings?${query}`, CAP, signal)));
    if (found.length >= CAP) break;
    to = from;
  }
  return found;
}

/** What the axis spans: the asked days, or from the first reading to now. */
function spanOf(range: string, readings: readonly Reading[]): Span {
  const end = now();
  const days = range === "all" ? null : Number(range);
  if (days !== null) return { from: end - days * DAY, to: end, days };
  const first = readings.reduce((m, r) => Math.min(m, ms(r.measuredAt)), end);
  return { from: Math.min(first - DAY / 2, end - 7 * DAY), to: end, days: null };
}

export function usePatientReadings(id: string, range: string) {
  const days = range === "all" ? null : Number(range);
  const loaded = useLoad(`readings ${id} ${range}`, (signal) => fetchReadings(id, days, signal));
  const refresh = useGathered(loaded.reload, 1500);
  useLive((event) => {
    const mine = event.kind === "reading" && (!event.patientId || event.patientId === id);
    if (mine || event.kind === "resync") refresh();
  });
  return loaded;
}

function Head({ person }: { person: Person }): JSX.Element {
  const m = t.value.patient;
  const [shown, setShown] = useState(false);
  const old = years(person.birthDate, now());
  const words = [word(t.value.sex, person.sex), old === null ? "" : t.value.years(old)].filter(Boolean).join(" · ");
  const labels = [...new Set([...(person.conditions ?? []), ...(person.tags ?? [])])];
  return (
    <div class="title patient-head">
      <h1>{person.name}</h1>
      <p class="quiet">{words}</p>
      <ul class="chips" aria-label={m.conditions}>{labels.map((c) => <li key={c}>{word(t.value.conditions, c)}</li>)}</ul>
      {person.phone && (shown
        ? <a class="phone" href={`tel:${person.phone.replace(/[^+\d]/g, "")}`}>☎ {person.phone}</a>
        : <button type="button" class="phone" aria-label={m.showPhone} onClick={() => setShown(true)}>☎ {masked(person.phone)}</button>)}
    </div>
  );
}

function Ranges({ range }: { range: string }): JSX.Element {
  const m = t.value.patient;
  return (
    <div class="tabs" role="group" aria-label={m.range}>
      {RANGES.map((r) => (
        <button key={r} type="button" aria-pressed={range === r} onClick={() => setQuery("range", r === "30" ? null : r)}>{r === "all" ? m.all : m.days(Number(r))}</button>
      ))}
    </div>
  );
}

interface Parts {
  bp: Pressure[];
  bg: Glucose[];
  span: Span;
  targets: Targets;
}

function Charts({ parts, capped }: { parts: Parts; capped: boolean }): JSX.Element {
  const figures = [
    <PressureFigure key="bp" points={parts.bp} targets={parts.targets} span={parts.span} />,
    <GlucoseFigure key="bg" points={parts.bg} targets={parts.targets} span={parts.span} />,
  ];
  if (parts.bp.length === 0 && parts.bg.length > 0) figures.reverse();
  return (
    <>
      {capped && <p class="note">{t.value.patient.capped(CAP)}</p>}
      {figures}
    </>
  );
}

export function Patient({ id }: { id: string }): JSX.Element {
  const address = `/patients/${encodeURIComponent(id)}`;
  const asked = place.value.query.get("range") ?? "30";
  const range = (RANGES as readonly string[]).includes(asked) ? asked : "30";
  const person = useLoad(address, (signal) => get<Person>(address, signal));
  const plan = useLoad(`${address}/plan`, (signal) => get<Plan>(`${address}/plan`, signal).catch(() => null));
  const readings = usePatientReadings(id, range);

  if (!person.data) return person.error ? <Failed error={person.error} again={person.reload} /> : <Loading />;
  const all = readings.data ?? [];
  const targets = targetsOf(plan.data);
  const parts = { bp: pressures(all, zone.value), bg: glucoses(all), span: spanOf(range, all), targets };
  return (
    <>
      <Head person={person.data} />
      <Ranges range={range} />
      {readings.error ? <Failed error={readings.error} again={readings.reload} /> : null}
      <div class="columns wide-left">
        <div class="column">
          {readings.data ? <Charts parts={parts} capped={all.length >= CAP} /> : !readings.error && <Loading />}
          <SummaryCard id={id} days={parts.span.days} />
        </div>
        <div class="column">
          <AlertsCard id={id} />
          <PlanCard plan={plan.data} targets={targets} />
          <VisitCard person={person.data} changed={person.reload} />
          <FindingsCard id={id} />
        </div>
      </div>
    </>
  );
}
