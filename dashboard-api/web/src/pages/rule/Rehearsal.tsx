// Other numbers on the past: what would have been told against what was, as a table, by week, with examples.
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { follow } from "../../core/api";
import { now, zone } from "../../core/clock";
import { dateTime, midnight, ms } from "../../core/format";
import { patientName } from "../../core/names";
import { lang, t, word } from "../../i18n";
import { Card, Link, levelOf, reason, Tag } from "../../ui/basics";
import { type Counts, inWords, type Report, type RuleView, type Scope } from "./model";

export interface Trial {
  body: object;
  scope: Scope;
}

type Told = { done?: number; of?: number; report?: Report; problem?: string };
const DAYS = [30, 90, 365];

export function Rehearsal({ rule, trial }: { rule: RuleView; trial: Trial | null }): JSX.Element | null {
  const m = t.value.rules;
  const [days, setDays] = useState(90);
  const [progress, setProgress] = useState<[number, number] | null>(null);
  const [report, setReport] = useState<Report | null>(null);
  const [error, setError] = useState("");
  const running = useRef<AbortController | null>(null);

  const run = async () => {
    if (!trial) return;
    running.current?.abort();
    const control = (running.current = new AbortController());
    setReport(null);
    setError("");
    setProgress([0, 0]);
    const to = now();
    const from = midnight(to, zone.value) - days * 86_400_000;
    const { organisationId, tag } = trial.scope;
    const scope = { ...(organisationId ? { organisationId } : {}), ...(tag ? { tag } : {}) };
    const body = { ...trial.body, from: new Date(from).toISOString(), to: new Date(to).toISOString(), scope };
    try {
      await follow<Told>("/rules:rehearse", body, control.signal, (told) => {
        if (told.report) setReport(told.report);
        else if (told.problem) setError(t.value.failed(told.problem));
        else setProgress([told.done ?? 0, told.of ?? 0]);
      });
    } catch (e) {
      setError(control.signal.aborted ? m.stopped : reason(e));
    } finally {
      if (running.current === control) setProgress(null);
    }
  };
  useEffect(() => {
    void run();
    return () => running.current?.abort();
  }, [trial]);

  if (!trial) return null;
  return (
    <Card title={m.rehearse} id="rehearsal">
      <p class="quiet small">{m.rehearseHint}</p>
      <p class="row">
        <label>{m.days} <select value={String(days)} onChange={(e) => setDays(Number(e.currentTarget.value))}>{DAYS.map((n) => <option key={n} value={String(n)}>{m.lastDays(n)}</option>)}</select></label>
        {progress ? <button type="button" onClick={() => running.current?.abort()}>{m.stop}</button> : <button type="button" onClick={() => void run()}>{m.run}</button>}
        <span role="status" class="quiet">{progress && m.progress(progress[0], progress[1])}</span>
      </p>
      <div role="alert">{error && <p class="note bad">{error}</p>}</div>
      {report && <Result rule={rule} report={report} />}
    </Card>
  );
}

function Result({ rule, report }: { rule: RuleView; report: Report }): JSX.Element {
  const m = t.value.rules;
  const mine = report.rules.find((r) => r.ruleId === rule.id);
  const others = report.rules.filter((r) => r.ruleId !== rule.id && r.new + r.gone + r.changed > 0);
  const row = (label: string, show: (c: Counts) => string | number) => mine && (
    <tr key={label}><th scope="row">{label}</th><td>{show(mine.did)}</td><td>{show(mine.would)}</td></tr>
  );
  const same = mine && mine.new + mine.gone + mine.changed === 0;
  return (
    <>
      <p class="note"><strong>{inWords(report.says)}</strong>{same && <> {m.same}</>}</p>
      {!report.patients.complete && <p class="note warn">{m.sample(report.patients.judged, report.patients.inScope)}</p>}
      {mine && (
        <div class="scroll">
          <table class="rows plain numbers" aria-label={m.rehearse}>
            <thead><tr><th scope="col" /><th scope="col">{m.did}</th><th scope="col">{m.would}</th></tr></thead>
            <tbody>
              {row(m.told, (c) => c.told)}
              {row(m.people, (c) => c.patients)}
              {row(m.perWeek, (c) => c.perWeek)}
              {row(m.perMonth, (c) => c.perPatientMonth)}
              {row(m.severities, (c) => `${c.critical} / ${c.urgent} / ${c.routine}`)}
            </tbody>
          </table>
        </div>
      )}
      <Weeks report={report} />
      {others.length > 0 && <p class="quiet small">{m.notOnly}：{others.map((r) => `${r.ruleId} (+${r.new} −${r.gone})`).join(t.value.comma)}</p>}
      {report.examples.length > 0 && <Examples report={report} />}
    </>
  );
}

/** Two bars a week: as it was, as it would have been. The same as a table for who cannot see it. */
function Weeks({ report }: { report: Report }): JSX.Element {
  const m = t.value.rules;
  const top = Math.max(1, ...report.weeks.flatMap((w) => [w.did, w.would]));
  const [width, height] = [Math.max(160, report.weeks.length * 26), 90];
  const bar = (n: number) => (n / top) * (height - 4);
  return (
    <figure class="weeks">
      <figcaption class="small quiet">{m.weekly} · <span class="key"><svg width="10" height="10" aria-hidden="true"><rect width="10" height="10" class="did" /></svg>{m.did}</span> <span class="key"><svg width="10" height="10" aria-hidden="true"><rect width="10" height="10" class="would" /></svg>{m.would}</span></figcaption>
      <div class="scroll">
        <svg width={width} height={height + 16} role="img" aria-label={m.weekly}>
          {report.weeks.map((w, i) => (
            <g key={w.week}>
              <title>{`${w.week}: ${w.did} → ${w.would}`}</title>
              <rect class="did" x={i * 26 + 2} width="9" y={height - bar(w.did)} height={Math.max(bar(w.did), .5)} />
              <rect class="would" x={i * 26 + 12} width="9" y={height - bar(w.would)} height={Math.max(bar(w.would), .5)} />
              {i % 4 === 0 && <text class="tick" x={i * 26 + 2} y={height + 13}>{w.week.slice(5)}</text>}
            </g>
          ))}
        </svg>
      </div>
    </figure>
  );
}

function Examples({ report }: { report: Report }): JSX.Element {
  const m = t.value.rules;
  const severity = (word: string | null) => (word ? <Tag level={levelOf(word)} /> : "–");
  return (
    <div class="scroll">
      <table class="rows plain" aria-label={m.examples}>
        <thead><tr><th scope="col">{m.examples}</th><th scope="col">{m.patient}</th><th scope="col">{m.when}</th><th scope="col">{m.did}</th><th scope="col">{m.would}</th><th scope="col">{m.numbersUsed}</th></tr></thead>
        <tbody>
          {report.examples.map((e) => (
            <tr key={`${e.patientId}${e.effectiveAt}${e.ruleId}${e.change}`}>
              <th scope="row">{word(m.change2, e.change)}</th>
              <td><Link to={`/patients/${encodeURIComponent(e.patientId)}`}>{patientName(e.patientId) ?? e.patientId}</Link></td>
              <td class="nowrap">{dateTime(ms(e.effectiveAt), now(), lang.value, zone.value)}</td>
              <td>{severity(e.did)}</td><td>{severity(e.would)}</td>
              <td class="small">{Object.entries(e.evidence.numbers ?? {}).slice(0, 4).map(([name, value]) => `${word(t.value.numbers, name)} ${value}`).join(t.value.comma)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
