// The evidence beside the alert: the readings it rests on, those it left out and why, the rule with its numbers and
// where each came from, the guideline, and what would clear it.
import type { JSX } from "preact";
import { marksOf, valueText } from "../../charts/readings";
import { get, getAll } from "../../core/api";
import { zone } from "../../core/clock";
import { exact, ms } from "../../core/format";
import { useLoad } from "../../core/load";
import type { AlertDetail, Evidence, Reading } from "../../core/types";
import { lang, t, word } from "../../i18n";
import { Card } from "../../ui/basics";
import { doubtText, type Fact, facts, plain } from "./plain";

interface Line {
  id: string;
  reading: Partial<Reading> | null;
  reason: string;
}

/** Evidence may name readings by id or carry them. */
function lines(all: Evidence["readings"] | Evidence["excluded"], known: ReadonlyMap<string, Reading>): Line[] {
  return (all ?? []).map((entry) => {
    if (typeof entry === "string") return { id: entry, reading: known.get(entry) ?? null, reason: "" };
    const o = entry as Partial<Reading> & { readingId?: string; reason?: string; reading?: Reading };
    const id = o.readingId ?? o.id ?? o.reading?.id ?? "";
    const carried = o.reading ?? (o.measuredAt ? o : null);
    return { id, reading: carried ?? known.get(id) ?? null, reason: o.reason ?? "" };
  });
}

/** Reads what the evidence only names: the patient's readings of the days before the alert. */
function useKnown(alert: AlertDetail): ReadonlyMap<string, Reading> {
  const e = alert.evidence;
  const missing = [...(e?.readings ?? []), ...(e?.excluded ?? [])].some((x) => typeof x === "string" || !("measuredAt" in x || "reading" in x));
  const raised = ms(alert.raisedAt);
  const loaded = useLoad(`known ${alert.id} ${missing}`, async (signal) => {
    if (!missing || Number.isNaN(raised)) return new Map<string, Reading>();
    const day = 86_400_000;
    const span = new URLSearchParams({ from: new Date(raised - 30 * day).toISOString(), to: new Date(raised + 2 * day).toISOString(), limit: "200" });
    const found = await getAll<Reading>(`/patients/${encodeURIComponent(alert.patientId)}/readings?${span}`, 2000, signal).catch(() => []);
    return new Map(found.map((r) => [r.id, r]));
  });
  return loaded.data ?? new Map();
}

function Readings({ title, all, used, id }: { title: string; all: Line[]; used: boolean; id: string }): JSX.Element | null {
  const m = t.value.alert;
  if (all.length === 0) return null;
  return (
    <>
      <h3 id={id}>{title} ({all.length})</h3>
      <ul class={used ? "readings used" : "readings"} aria-labelledby={id}>
        {all.map((l) => (
          <li key={l.id}>
            <span class="tick-mark" role="img" aria-label={used ? m.usedMark : m.excluded}>{used ? "✓" : "–"}</span>
            <strong>{l.reading ? valueText(l.reading) : l.id}</strong>
            {l.reading?.pulse ? <span class="quiet">{t.value.chart.pulse} {l.reading.pulse}</span> : null}
            {l.reading?.meal ? <span class="quiet">{word(t.value.meals, l.reading.meal)}</span> : null}
            {l.reading?.measuredAt && <time dateTime={l.reading.measuredAt}>{exact(ms(l.reading.measuredAt), lang.value, zone.value)}</time>}
            {l.reading?.doubt && <span class="detail">{doubtText(l.reading.doubt)}</span>}
            {!used && <span class="detail">{l.reason ? word(t.value.reasons, l.reason) : l.reading ? marksOf(l.reading as Reading).map((x) => word(t.value.reasons, x)).join(t.value.comma) : "–"}</span>}
          </li>
        ))}
      </ul>
    </>
  );
}

function Facts({ title, all, id }: { title: string; all: Fact[]; id: string }): JSX.Element | null {
  const m = t.value.alert;
  if (all.length === 0) return null;
  const sourced = all.some((f) => f.source);
  return (
    <>
      <h3 id={id}>{title}</h3>
      <div class="scroll">
        <table class="rows plain" aria-labelledby={id}>
          <thead><tr><th scope="col">{m.name}</th><th scope="col">{m.value}</th>{sourced && <th scope="col">{m.source}</th>}</tr></thead>
          <tbody>{all.map((f, i) => <tr key={i}><th scope="row">{f.name || "–"}</th><td>{f.value}</td>{sourced && <td>{word(t.value.sources, f.source)}</td>}</tr>)}</tbody>
        </table>
      </div>
    </>
  );
}

/** One limit as a line, several as a table. */
function Limits({ value }: { value: unknown }): JSX.Element | null {
  if (typeof value === "string") return value ? <p class="after-table"><strong>{t.value.alert.limits}</strong> {value}</p> : null;
  return <Facts title={t.value.alert.limits} all={facts(value)} id="evidence-limits" />;
}

interface RuleCard { id?: string; text?: unknown; guideline?: unknown; source?: unknown }

export function EvidenceCard({ alert }: { alert: AlertDetail }): JSX.Element {
  const m = t.value.alert;
  const known = useKnown(alert);
  const told = alert.evidence?.["text"] !== undefined;
  const card = useLoad(`rule ${alert.ruleId} ${told}`, async (signal) => told ? null : get<RuleCard>(`/rules/${encodeURIComponent(alert.ruleId)}`, signal).catch(() => null));
  const e = alert.evidence ?? {};
  const version = plain(e["ruleVersion"] ?? e["version"] ?? alert.ruleVersion ?? null);
  const spoken = (key: string): unknown => (lang.value === "en" ? e[key] : (e[`${key}Zh`] ?? e[key]));
  const guideline = e["guideline"] ?? card.data?.guideline ?? card.data?.source;
  const clears = spoken("clears") ?? alert.clears;
  const text = spoken("text") ?? card.data?.text;
  return (
    <Card title={m.evidence} id="evidence">
      <p><strong>{m.rule} {alert.ruleId}</strong>{version !== "–" && <span class="quiet"> · {m.version(version)}</span>}{text ? <span class="detail">{plain(text)}</span> : null}</p>
      {!alert.evidence && <p class="quiet">{m.noEvidence}</p>}
      <Readings title={m.used} all={lines(e.readings, known)} used id="evidence-used" />
      <Readings title={m.excluded} all={lines(e.excluded, known)} used={false} id="evidence-excluded" />
      {typeof e["readingsOfOthers"] === "number" && <p class="quiet">{m.ofOthers(e["readingsOfOthers"])}</p>}
      <Facts title={m.numbers} all={facts(e["numbers"])} id="evidence-numbers" />
      <Limits value={e["limits"] ?? e["limit"]} />
      <Facts title={m.parameters} all={facts(e["parameters"])} id="evidence-parameters" />
      {guideline ? <p class="after-table"><strong>{m.guideline}</strong> {plain(guideline)}</p> : null}
      {clears ? <p><strong>{m.clears}</strong> {plain(clears)}</p> : null}
    </Card>
  );
}
