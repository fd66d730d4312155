// Glucose: one mark per reading, by meal; the fasting band, the after-meal and the low line; HI and LO at the edge;
// left-out readings hollow. No curve through a few readings a day.
import type { JSX } from "preact";
import { now, zone } from "../core/clock";
import { dateTime } from "../core/format";
import { lang, t, word } from "../i18n";
import { Frame, Key, type Paper } from "./Frame";
import { type Glucose, marksOf, type Targets, valueText } from "./readings";
import { mark } from "./scale";

interface Props {
  points: readonly Glucose[];
  targets: Targets;
  from: number;
  to: number;
  summary: string;
}

const LOW = 3.9;

const heightOf = (p: Glucose, paper: Paper) => (p.beyond === "HI" ? paper.top + 6 : p.beyond === "LO" ? paper.bottom - 6 : paper.y(p.value ?? 0));

function marks(points: readonly Glucose[], paper: Paper, size: number) {
  const d = { fasting: "", post: "", other: "", out: "", beyond: "", uncertain: "" };
  for (const p of points) {
    const [x, y] = [paper.x(p.at), heightOf(p, paper)];
    if (p.beyond) {
      d.beyond += (p.beyond === "HI" ? mark.up : mark.down)(x, y, size + 1.5);
    } else {
      const draw = p.slot === "fasting" ? mark.circle : p.slot === "post" ? mark.diamond : mark.square;
      d[p.used ? p.slot : "out"] += draw(x, y, p.slot === "post" ? size * 1.2 : size);
    }
    if (p.uncertain) d.uncertain += mark.across(x, y, size + 4);
  }
  return d;
}

function Lines({ paper, targets }: { paper: Paper; targets: Targets }): JSX.Element {
  const line = (kind: string, value: number) => <line class={`limit ${kind}`} x1={paper.left} x2={paper.right} y1={paper.y(value)} y2={paper.y(value)} />;
  return (
    <g>
      <rect class="band sys" x={paper.left} width={paper.right - paper.left} y={paper.y(targets.fastingHigh)} height={Math.max(0, paper.y(targets.fastingLow) - paper.y(targets.fastingHigh))} />
      {line("sys", targets.fastingHigh)}
      {line("dia", targets.postMealHigh)}
      {line("low", LOW)}
    </g>
  );
}

function Labels({ paper, targets }: { paper: Paper; targets: Targets }): JSX.Element {
  const c = t.value.chart;
  const label = (value: number, text: string, below = false) => <text class="limit-label" x={paper.right - 2} y={paper.y(value) + (below ? 12 : -4)} text-anchor="end">{text}</text>;
  return (
    <g>
      {label(targets.fastingHigh, `${c.fastingMark} ${targets.fastingLow.toFixed(1)}–${targets.fastingHigh.toFixed(1)}`)}
      {label(targets.postMealHigh, `${c.postMark} ${targets.postMealHigh.toFixed(1)}`)}
      {label(LOW, c.low, true)}
    </g>
  );
}

/** One reading as a sentence. */
export function describeGlucose(p: Glucose): string {
  const c = t.value.chart;
  const notes = marksOf(p.reading).map((m) => word(t.value.reasons, m));
  if (p.uncertain) notes.push(c.uncertain);
  return [dateTime(p.at, now(), lang.value, zone.value), valueText(p.reading), word(t.value.meals, p.reading.meal), p.used ? "" : c.unused, notes.join(t.value.comma)]
    .filter(Boolean).join(" · ");
}

export function GlucoseChart({ points, targets, from, to, summary }: Props): JSX.Element {
  const c = t.value.chart;
  const size = points.length > 600 ? 1.8 : points.length > 200 ? 2.6 : 3.8;
  const highest = points.reduce((m, p) => Math.max(m, p.value ?? 0), 14);
  return (
    <>
      <Frame
        from={from} to={to} low={0} high={Math.ceil((highest + 1) / 4) * 4} step={highest > 20 ? 4 : 2} unit="mmol/L" summary={summary} points={points}
        describe={(i) => (points[i] ? describeGlucose(points[i]) : "")} ring={(i, paper) => (points[i] ? heightOf(points[i], paper) : 0)}
      >
        {(paper) => {
          const d = marks(points, paper, size);
          return (
            <>
              <Lines paper={paper} targets={targets} />
              <path class="dot morning" d={d.fasting} />
              <path class="dot evening" d={d.post} />
              <path class="dot other" d={d.other} />
              <path class="dot out" d={d.out} />
              <path class="dot beyond" d={d.beyond} />
              <path class="bar uncertain" d={d.uncertain} />
              <Labels paper={paper} targets={targets} />
            </>
          );
        }}
      </Frame>
      <p class="legend">
        <Key kind="dot morning" d={mark.circle(8, 8, 4)}>{c.fastingMark}</Key>
        <Key kind="dot evening" d={mark.diamond(8, 8, 5)}>{c.postMark}</Key>
        <Key kind="dot other" d={mark.square(8, 8, 3.5)}>{c.otherMeal}</Key>
        <Key kind="dot out" d={mark.circle(8, 8, 4)}>{c.excludedMark}</Key>
        {points.some((p) => p.beyond) && <Key kind="dot beyond" d={mark.up(8, 8, 4)}>HI / LO</Key>}
        {points.some((p) => p.uncertain) && <Key kind="bar uncertain" d={mark.across(8, 8, 6)}>{c.uncertain}</Key>}
      </p>
    </>
  );
}
