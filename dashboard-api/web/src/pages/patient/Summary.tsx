// The stretch that the charts show, in numbers: the guideline's week, parts of the day, how much it varies, the grid of
// meals, time in range, a sensor's day. Every number says how many readings it rests on.
import type { JSX } from "preact";
import { AgpChart } from "../../charts/AgpChart";
import { get } from "../../core/api";
import { now } from "../../core/clock";
import { useGathered, useLive } from "../../core/live";
import { useLoad } from "../../core/load";
import type { Extremes, GlucoseSummary, Means, Numbers, Pair, PressureSummary, SensorSummary, Shares, Summary } from "../../core/summary";
import { t, word } from "../../i18n";
import { Card, Failed } from "../../ui/basics";

const DAY = 86_400_000;
/** Where everything is asked for. */
const EVER = "2000-01-01T00:00:00Z";
/** Fewer readings in a month bear no risk index (clinical reference). */
const RISK_READINGS = 30;

const fixed = (n: number | null | undefined, places: number, unit = ""): string => (n === null || n === undefined ? "–" : `${n.toFixed(places)}${unit}`);
const percent = (share: number | null | undefined): string => (share === null || share === undefined ? "–" : `${Math.round(100 * share)}%`);
const means = (m: Means | null): string => (m ? `${Math.round(m.systolic)}/${Math.round(m.diastolic)}` : "–");
const spread = (n: Numbers | null, places: number): string => (n ? `${n.mean.toFixed(places)}${n.sd === null ? "" : ` ± ${n.sd.toFixed(places)}`}` : "–");

function pair(p: Pair): string {
  if (!p.systolic || !p.diastolic) return "–";
  const sd = p.systolic.sd === null || p.diastolic.sd === null ? "" : ` ± ${Math.round(p.systolic.sd)}/${Math.round(p.diastolic.sd)}`;
  return `${Math.round(p.systolic.mean)}/${Math.round(p.diastolic.mean)}${sd}`;
}

/** A table of a name, a value and what it rests on. */
function Rows({ label, rows }: { label: string; rows: [name: string, value: string, rests: string][] }): JSX.Element {
  const m = t.value.summary;
  return (
    <div class="scroll" tabIndex={0} role="group" aria-label={label}>
      <table class="rows plain" aria-label={label}>
        <thead><tr><th scope="col">{m.what}</th><th scope="col">{m.value}</th><th scope="col">{m.rests}</th></tr></thead>
        <tbody>{rows.map(([name, value, rests]) => <tr key={name}><th scope="row">{name}</th><td class="num">{value}</td><td>{rests}</td></tr>)}</tbody>
      </table>
    </div>
  );
}

function Pressures({ s }: { s: PressureSummary }): JSX.Element {
  const m = t.value.summary;
  const week = s.guidelineWeek;
  const v = s.variability;
  const n = (count: number) => m.readings(count);
  const rows: [string, string, string][] = [];
  if (week) rows.push([m.week(week.from, week.to), means(week.mean), `${m.weekRests(week.readings, week.days)}${week.enough ? "" : ` · ${m.notEnough}`}`]);
  rows.push(
    [m.all, pair(s.all), n(s.used)],
    [m.morning, pair(s.morning), n(s.morning.systolic?.count ?? 0)],
    [m.evening, pair(s.evening), n(s.evening.systolic?.count ?? 0)],
    [m.difference, fixed(v.morningMinusEvening, 0, " mmHg"), m.systolic],
    [m.inTarget(Math.round(s.target.systolic), Math.round(s.target.diastolic)), percent(s.inTarget), n(s.used)],
    [m.dayToDay, fixed(v.morningSystolicCv, 1, "%"), m.mornings(v.mornings)],
    [m.arv, fixed(v.systolicArv, 1, " mmHg"), n(s.used)],
  );
  return (
    <>
      <h3>{t.value.patient.pressure} <small>mmHg</small></h3>
      <Rows label={`${m.title} · ${t.value.patient.pressure}`} rows={rows} />
      <p class="honesty">{m.leftOut(s.flagged, s.excluded)}</p>
    </>
  );
}

function ranges(shares: Shares | null, extremes: Extremes | null): [string, string][] {
  const m = t.value.summary;
  return [
    [m.veryHigh, percent(extremes?.veryHigh)], [m.above, percent(shares?.above)], [m.within, percent(shares?.within)], [m.below, percent(shares?.below)], [m.veryLow, percent(extremes?.veryLow)],
  ];
}

function Glucoses({ s }: { s: GlucoseSummary }): JSX.Element {
  const m = t.value.summary;
  const numbers = s.all?.count ?? 0;
  const risk = numbers < RISK_READINGS ? `${m.readings(numbers)} · ${m.notEnough}` : m.readings(numbers);
  const rows: [string, string, string][] = [
    [m.all, spread(s.all, 1), m.readings(numbers)],
    ...s.meals.map((cell): [string, string, string] => [word(m.meals, cell.meal), spread(cell.glucose, 1), m.readings(cell.glucose.count)]),
    ...ranges(s.timeInRange, s.extremes).map(([name, value]): [string, string, string] => [name, value, m.readings(s.used)]),
    [m.cv, fixed(s.cv, 0, "%"), m.readings(numbers)],
    ["LBGI / HBGI", `${fixed(s.lbgi, 1)} / ${fixed(s.hbgi, 1)}`, risk],
  ];
  return (
    <>
      <h3>{t.value.patient.glucose} <small>mmol/L · {m.single}</small></h3>
      <Rows label={`${m.title} · ${t.value.patient.glucose}`} rows={rows} />
      <p class="honesty">{[m.leftOut(s.flagged, s.excluded), s.aboveRange + s.belowRange > 0 ? t.value.chart.beyond(s.aboveRange, s.belowRange) : ""].filter(Boolean).join(" · ")}</p>
    </>
  );
}

function Sensor({ s }: { s: SensorSummary }): JSX.Element {
  const m = t.value.summary;
  const n = m.readings(s.used);
  const rows: [string, string, string][] = [
    [m.all, spread(s.all, 1), n],
    ...ranges(s.timeInRange, s.extremes).map(([name, value]): [string, string, string] => [name, value, n]),
    [m.cv, fixed(s.cv, 0, "%"), n],
    ["GMI", fixed(s.gmi, 1, "%"), m.coverage(s.days, Math.round(100 * s.coverage)) + (s.gmi === null ? ` · ${m.notEnough}` : "")],
  ];
  return (
    <>
      <h3>{m.sensor} <small>mmol/L · {m.fortnight}</small></h3>
      <AgpChart pieces={s.profile} />
      <Rows label={`${m.title} · ${m.sensor}`} rows={rows} />
    </>
  );
}

export function SummaryCard({ id, days }: { id: string; days: number | null }): JSX.Element {
  const m = t.value.summary;
  const loaded = useLoad(`summary ${id} ${days}`, (signal) => {
    const from = days === null ? EVER : new Date(now() - days * DAY).toISOString();
    return get<Summary>(`/patients/${encodeURIComponent(id)}/summary?from=${encodeURIComponent(from)}`, signal);
  });
  const refresh = useGathered(loaded.reload, 3000);
  useLive((e) => (e.kind === "resync" || (e.kind === "reading" && (!e.patientId || e.patientId === id))) && refresh());
  const s = loaded.data;
  return (
    <Card title={m.title} id="summary">
      {loaded.error ? <Failed error={loaded.error} again={loaded.reload} /> : null}
      {s?.bloodPressure && <Pressures s={s.bloodPressure} />}
      {s?.bloodGlucose && <Glucoses s={s.bloodGlucose} />}
      {s?.glucoseSensor && <Sensor s={s.glucoseSensor} />}
      {s && !s.bloodPressure && !s.bloodGlucose && !s.glucoseSensor && <p class="quiet">{t.value.patient.noReadings}</p>}
    </Card>
  );
}
