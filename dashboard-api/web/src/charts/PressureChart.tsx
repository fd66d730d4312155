// Blood pressure: one vertical bar per reading from diastolic to systolic, target bands, morning and evening as
// different marks, left-out readings hollow, the pulse in a strip below.
import type { JSX } from "preact";
import { now, zone } from "../core/clock";
import { dateTime } from "../core/format";
import { lang, t, word } from "../i18n";
import { Frame, Key, type Paper } from "./Frame";
import { marksOf, type Pressure, type Targets, valueText } from "./readings";
import { linear, mark } from "./scale";

interface Props {
  points: readonly Pressure[];
  targets: Targets;
  from: number;
  to: number;
  summary: string;
}

const STRIP = 46;
/** Floors of the drawn bands: below them a reading is low, whatever the target. */
const FLOOR = { systolic: 90, diastolic: 60 };

function marks(points: readonly Pressure[], paper: Paper, size: number) {
  const d = { bar: "", barOut: "", morning: "", evening: "", other: "", out: "", irregular: "", uncertain: "" };
  for (const p of points) {
    const [x, top, foot] = [paper.x(p.at), paper.y(p.systolic), paper.y(p.diastolic)];
    const draw = p.part === "morning" ? mark.circle : p.part === "evening" ? mark.diamond : mark.square;
    const shape = draw(x, top, size) + draw(x, foot, size * 0.8);
    if (p.used) {
      d.bar += mark.line(x, top, foot);
      d[p.part] += shape;
    } else {
      d.barOut += mark.line(x, top, foot);
      d.out += shape;
    }
    if (p.irregular) d.irregular += mark.up(x, top - size - 5, 3);
    if (p.uncertain) d.uncertain += mark.across(x, (top + foot) / 2, 5);
  }
  return d;
}

function Bands({ paper, targets }: { paper: Paper; targets: Targets }): JSX.Element {
  const band = (name: string, low: number, high: number) => (
    <>
      <rect class={`band ${name}`} x={paper.left} width={paper.right - paper.left} y={paper.y(high)} height={Math.max(0, paper.y(low) - paper.y(high))} />
      <line class={`limit ${name}`} x1={paper.left} x2={paper.right} y1={paper.y(high)} y2={paper.y(high)} />
    </>
  );
  return (
    <g>
      {band("sys", Math.min(FLOOR.systolic, targets.systolic), targets.systolic)}
      {band("dia", Math.min(FLOOR.diastolic, targets.diastolic), targets.diastolic)}
    </g>
  );
}

function BandLabels({ paper, targets }: { paper: Paper; targets: Targets }): JSX.Element {
  return (
    <g>
      {[targets.systolic, targets.diastolic].map((v) => <text key={v} class="limit-label" x={paper.right - 2} y={paper.y(v) - 4} text-anchor="end">{t.value.chart.target} {v}</text>)}
    </g>
  );
}

function PulseStrip({ points, paper }: { points: readonly Pressure[]; paper: Paper }): JSX.Element {
  const top = paper.bottom + 10;
  const y = linear(40, 120, top + STRIP - 12, top + 2);
  const d = points.reduce((all, p) => (p.pulse === null ? all : all + mark.circle(paper.x(p.at), y(Math.max(40, Math.min(120, p.pulse))), 1.6)), "");
  return (
    <g>
      {[50, 100].map((v) => (
        <g key={v}>
          <line class="grid faint" x1={paper.left} x2={paper.right} y1={y(v)} y2={y(v)} />
          <text class="tick" x={paper.left - 6} y={y(v) + 4} text-anchor="end">{v}</text>
        </g>
      ))}
      <text class="limit-label" x={paper.right - 2} y={top + 4} text-anchor="end">{t.value.chart.pulse} {t.value.chart.pulseUnit}</text>
      <path class="pulse" d={d} />
    </g>
  );
}

/** One reading as a sentence. */
export function describePressure(p: Pressure): string {
  const c = t.value.chart;
  const notes = marksOf(p.reading).map((m) => word(t.value.reasons, m));
  if (p.uncertain) notes.push(c.uncertain);
  return [
    dateTime(p.at, now(), lang.value, zone.value), valueText(p.reading), p.pulse === null ? "" : `${c.pulse} ${p.pulse} ${c.pulseUnit}`,
    p.used ? "" : c.unused, notes.join(t.value.comma),
  ].filter(Boolean).join(" · ");
}

export function PressureChart({ points, targets, from, to, summary }: Props): JSX.Element {
  const c = t.value.chart;
  const size = points.length > 600 ? 1.6 : points.length > 200 ? 2.4 : 3.4;
  const highest = points.reduce((m, p) => Math.max(m, p.systolic), 180);
  const lowest = points.reduce((m, p) => Math.min(m, p.diastolic), 60);
  return (
    <>
      <Frame
        from={from} to={to} low={Math.floor((lowest - 5) / 20) * 20} high={Math.ceil((highest + 5) / 20) * 20} step={20} unit="mmHg" summary={summary} points={points} strip={STRIP}
        describe={(i) => (points[i] ? describePressure(points[i]) : "")} ring={(i, paper) => paper.y(points[i]?.systolic ?? 0)}
      >
        {(paper) => {
          const d = marks(points, paper, size);
          return (
            <>
              <Bands paper={paper} targets={targets} />
              <path class={points.length > 250 ? "bar dense" : "bar"} d={d.bar} />
              <path class="bar out" d={d.barOut} />
              <path class="dot morning" d={d.morning} />
              <path class="dot evening" d={d.evening} />
              <path class="dot other" d={d.other} />
              <path class="dot out" d={d.out} />
              <path class="dot irregular" d={d.irregular} />
              <path class="bar uncertain" d={d.uncertain} />
              <BandLabels paper={paper} targets={targets} />
              <PulseStrip points={points} paper={paper} />
            </>
          );
        }}
      </Frame>
      <p class="legend">
        <Key kind="dot morning" d={mark.circle(8, 8, 4)}>{c.morning}</Key>
        <Key kind="dot evening" d={mark.diamond(8, 8, 5)}>{c.evening}</Key>
        <Key kind="dot other" d={mark.square(8, 8, 3.5)}>{c.otherTime}</Key>
        <Key kind="dot out" d={mark.circle(8, 8, 4)}>{c.excludedMark}</Key>
        {points.some((p) => p.irregular) && <Key kind="dot irregular" d={mark.up(8, 8, 4)}>{c.irregular}</Key>}
        {points.some((p) => p.uncertain) && <Key kind="bar uncertain" d={mark.across(8, 8, 6)}>{c.uncertain}</Key>}
      </p>
    </>
  );
}
