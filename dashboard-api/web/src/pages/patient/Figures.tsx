// The two figures: chart, one-sentence summary, honesty line, and the same readings as a table.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { GlucoseChart } from "../../charts/GlucoseChart";
import { PressureChart } from "../../charts/PressureChart";
import { deviation, type Glucose, leftOut, marksOf, mean, type Pressure, type Targets, valueText } from "../../charts/readings";
import { zone } from "../../core/clock";
import { exact } from "../../core/format";
import type { Reading } from "../../core/types";
import { lang, t, word } from "../../i18n";
import { doubtText } from "../alert/plain";

export interface Span {
  from: number;
  to: number;
  /** Null: everything. */
  days: number | null;
}

const spanText = (span: Span): string => (span.days === null ? t.value.chart.spanAll : t.value.chart.span(span.days));

function pair(points: readonly Pressure[]): string {
  return `${Math.round(mean(points.map((p) => p.systolic)))}/${Math.round(mean(points.map((p) => p.diastolic)))}`;
}

/** The blood pressure of a span in a sentence or two. */
export function pressureSummary(points: readonly Pressure[], targets: Targets, span: Span): string {
  const c = t.value.chart;
  const used = points.filter((p) => p.used);
  if (used.length === 0) return t.value.patient.noReadings;
  const sd = `${deviation(used.map((p) => p.systolic)).toFixed(0)}/${deviation(used.map((p) => p.diastolic)).toFixed(0)}`;
  const within = used.filter((p) => p.systolic < targets.systolic && p.diastolic < targets.diastolic).length;
  const text = c.bpSummary(spanText(span), used.length, pair(used), sd, Math.round((100 * within) / used.length), `${targets.systolic}/${targets.diastolic}`);
  const [am, pm] = [used.filter((p) => p.part === "morning"), used.filter((p) => p.part === "evening")];
  const halves = am.length > 0 && pm.length > 0 ? c.halves(`${pair(am)} (n=${am.length})`, `${pair(pm)} (n=${pm.length})`) : "";
  return join(text, halves);
}

/** The glucose of a span in a sentence or two. */
export function glucoseSummary(points: readonly Glucose[], targets: Targets, span: Span): string {
  const c = t.value.chart;
  const valued = points.filter((p) => p.used && p.value !== null).map((p) => ({ value: p.value ?? 0, slot: p.slot }));
  const [hi, lo] = (["HI", "LO"] as const).map((b) => points.filter((p) => p.used && p.beyond === b).length);
  const beyond = hi || lo ? c.beyond(hi ?? 0, lo ?? 0) : "";
  if (valued.length === 0) return beyond || t.value.patient.noReadings;
  const low = valued.filter((p) => p.value < 3.9).length;
  const high = valued.filter((p) => p.value > (p.slot === "fasting" ? targets.fastingHigh : targets.postMealHigh)).length;
  return join(c.bgSummary(spanText(span), valued.length, mean(valued.map((p) => p.value)).toFixed(1), low, high), beyond);
}

const join = (...parts: string[]): string => parts.filter(Boolean).join(lang.value === "en" ? " " : "");

function honesty(points: readonly (Pressure | Glucose)[]): string {
  const used = points.filter((p) => p.used).length;
  const why = leftOut(points).map(([mark, n]) => `${word(t.value.reasons, mark)} ${n}`).join(t.value.comma);
  return `${t.value.chart.honesty(used, points.length - used, why)} · ${t.value.banner.zone(zone.value)}`;
}

function Table({ points, label }: { points: readonly (Pressure | Glucose)[]; label: string }): JSX.Element {
  const c = t.value.chart;
  const [shown, setShown] = useState(100);
  const [doubtful, setDoubtful] = useState(false);
  const any = points.some((p) => p.reading.doubt);
  const wanted = doubtful && any ? points.filter((p) => p.reading.doubt) : points;
  const newest = [...wanted].reverse().slice(0, shown);
  const bp = points[0]?.reading.kind === "blood_pressure";
  const heads = [c.time, c.value, bp ? c.pulse : c.meal, c.used, c.mark, c.quality];
  const notes = (r: Reading) => marksOf(r).map((m) => word(t.value.reasons, m)).join(t.value.comma);
  return (
    <div class="scroll" tabIndex={0} role="group" aria-label={label}>
      {any && <label class="pad"><input type="checkbox" checked={doubtful} onChange={(e) => setDoubtful(e.currentTarget.checked)} /> {c.onlyDoubtful}</label>}
      <table class="rows plain" aria-label={label}>
        <thead><tr>{heads.map((h) => <th key={h} scope="col">{h}</th>)}</tr></thead>
        <tbody>
          {newest.map((p) => (
            <tr key={p.reading.id} class={p.used ? "" : "unused"}>
              <th scope="row"><time dateTime={p.reading.measuredAt}>{exact(p.at, lang.value, zone.value)}</time></th>
              <td class="num">{valueText(p.reading)}</td>
              <td>{bp ? (p.reading.pulse ?? "–") : word(t.value.meals, p.reading.meal) || "–"}</td>
              <td>{p.used ? "✓" : c.unused}</td>
              <td>{notes(p.reading) || "–"}{p.reading.doubt && <small class="detail">{doubtText(p.reading.doubt)}</small>}</td>
              <td>{word(t.value.qualities, p.reading.timeQuality) || "–"}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <p class="quiet small pad">{c.tableCount(newest.length, wanted.length)} {newest.length < wanted.length && <button type="button" onClick={() => setShown(shown + 500)}>{t.value.more}</button>}</p>
    </div>
  );
}

interface FigureProps {
  name: string;
  summary: string;
  points: readonly (Pressure | Glucose)[];
  chart: JSX.Element;
}

function Figure({ name, summary, points, chart }: FigureProps): JSX.Element {
  const m = t.value.patient;
  const [table, setTable] = useState(false);
  return (
    <figure class="card" aria-label={name}>
      <div class="figure-head">
        <h2>{name}</h2>
        {points.length > 0 && <button type="button" aria-expanded={table} onClick={() => setTable(!table)}>{table ? m.hideTable : m.showTable}</button>}
      </div>
      <p class="summary">{summary}</p>
      {points.length > 0 && chart}
      {points.length > 0 && <p class="honesty">{honesty(points)}</p>}
      {table && <Table points={points} label={name} />}
    </figure>
  );
}

export function PressureFigure({ points, targets, span }: { points: Pressure[]; targets: Targets; span: Span }): JSX.Element {
  const summary = pressureSummary(points, targets, span);
  return <Figure name={t.value.patient.pressure} summary={summary} points={points} chart={<PressureChart points={points} targets={targets} from={span.from} to={span.to} summary={summary} />} />;
}

export function GlucoseFigure({ points, targets, span }: { points: Glucose[]; targets: Targets; span: Span }): JSX.Element {
  const summary = glucoseSummary(points, targets, span);
  return <Figure name={t.value.patient.glucose} summary={summary} points={points} chart={<GlucoseChart points={points} targets={targets} from={span.from} to={span.to} summary={summary} />} />;
}
