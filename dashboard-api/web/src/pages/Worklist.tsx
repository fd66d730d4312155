// The worklist: who needs a person first, why in one line, and how old the last reading is. The server sorts by risk.
import type { JSX } from "preact";
import { useRef, useState } from "preact/hooks";
import { valueText } from "../charts/readings";
import { Spark } from "../charts/Spark";
import { getPage } from "../core/api";
import { now, tick } from "../core/clock";
import { age, ms, years } from "../core/format";
import { useLive, useGathered } from "../core/live";
import { useLoad } from "../core/load";
import { place, setQuery } from "../core/router";
import type { Page, Severity, WorklistRow } from "../core/types";
import { lang, t, word } from "../i18n";
import { announce, Failed, type Level, levelOf, Link, Loading, rank, reason, Tag } from "../ui/basics";

const PAGE = 50;
const MOST = 200;
const DAY = 86_400_000;
const SILENT_DAYS = 7;

function silentDays(row: WorklistRow): number {
  const last = ms(row.lastReadingAt ?? row.latest?.measuredAt);
  return Number.isNaN(last) ? Number.POSITIVE_INFINITY : Math.floor((now() - last) / DAY);
}

const openCount = (row: WorklistRow): number => (Array.isArray(row.openAlerts) ? row.openAlerts.length : (row.openAlerts ?? 0));

/** The worst of a row's open alerts, else silence, else nothing. */
function levelOfRow(row: WorklistRow): Level {
  const of = Array.isArray(row.openAlerts) ? row.openAlerts.map((a) => a.severity) : [];
  const why = typeof row.why === "object" ? row.why?.severity : undefined;
  const all = [row.severity, why, ...of].filter((s): s is Severity => typeof s === "string" && s in rank);
  const worst = all.sort((a, b) => rank[b] - rank[a])[0];
  if (worst && (openCount(row) > 0 || worst !== "info")) return levelOf(worst);
  if (openCount(row) > 0) return "info";
  return silentDays(row) >= SILENT_DAYS ? "nodata" : "none";
}

/** Why in one line: the server's codes in words. */
function whyText(row: WorklistRow): string {
  const why = row.why;
  const silent = silentDays(row);
  const quiet = silent === Number.POSITIVE_INFINITY ? t.value.worklist.never : silent >= SILENT_DAYS ? t.value.worklist.silent(silent) : "";
  if (!why) return quiet || t.value.worklist.noWhy;
  if (typeof why === "string") return word(t.value.concepts, why);
  const code = why.concept ?? why["code"];
  const text = typeof code === "string" ? word(t.value.concepts, code) : (why.text ?? "");
  return [text, numbersText(why.numbers), why.ruleId].filter(Boolean).join(" · ");
}

/** The numbers that a finding rests on, in a few characters. */
function numbersText(numbers: Record<string, unknown> | undefined): string {
  const n = (key: string) => (typeof numbers?.[key] === "number" ? (numbers[key] as number) : null);
  const pair = (s: number | null, d: number | null) => (s === null ? "" : `${Math.round(s)}${d === null ? "" : `/${Math.round(d)}`} mmHg`);
  const [glucose, hours] = [n("glucose"), n("hours")];
  if (n("week2Systolic") !== null) return t.value.worklist.weekMean(pair(n("week2Systolic"), n("week2Diastolic")));
  if (n("systolic") !== null) return pair(n("systolic"), n("diastolic"));
  if (glucose !== null) return `${glucose.toFixed(1)} mmol/L`;
  return hours === null ? "" : t.value.worklist.silent(Math.floor(hours / 24));
}

function Row({ row }: { row: WorklistRow }): JSX.Element {
  void tick.value;
  const m = t.value.worklist;
  const old = years(row.birthDate, now());
  const last = ms(row.lastReadingAt ?? row.latest?.measuredAt);
  const open = openCount(row);
  return (
    <tr>
      <td data-label={m.severity}><Tag level={levelOfRow(row)} /></td>
      <th scope="row" data-label={m.name}><Link to={`/patients/${encodeURIComponent(row.id)}`} class="strong">{row.name}</Link></th>
      <td data-label={m.who} class="nowrap">{[word(t.value.sex, row.sex), old === null ? "" : t.value.years(old)].filter(Boolean).join(" ") || "–"}</td>
      <td data-label={m.why} class={row.why ? "why" : "why quiet"}>{whyText(row)}</td>
      <td data-label={m.last} class="num">
        {row.latest ? <strong>{valueText(row.latest)}</strong> : "–"}
        {!Number.isNaN(last) && <small>{age(last, now(), lang.value)}</small>}
      </td>
      <td data-label={m.trend}><Spark spark={row.spark} /></td>
      <td data-label={m.open} class={open > 0 ? "num" : "num zero"}>{open > 0 ? m.alerts(open) : "–"}</td>
    </tr>
  );
}

function Filters({ tags }: { tags: string[] }): JSX.Element {
  const m = t.value.worklist;
  const query = place.value.query;
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const type = (text: string) => {
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setQuery("q", text.trim()), 250);
  };
  return (
    <form class="filters" role="search" onSubmit={(e) => e.preventDefault()}>
      <label>
        <span>{m.search}</span>
        <input type="search" defaultValue={query.get("q") ?? ""} onInput={(e) => type(e.currentTarget.value)} />
      </label>
      <label>
        <span>{m.tag}</span>
        <select value={query.get("tag") ?? ""} onChange={(e) => setQuery("tag", e.currentTarget.value)}>
          <option value="">{m.allTags}</option>
          {tags.map((tag) => <option key={tag} value={tag}>{word(t.value.conditions, tag)}</option>)}
        </select>
      </label>
      <label class="check">
        <input type="checkbox" checked={query.get("silent") === "1"} onChange={(e) => setQuery("silent", e.currentTarget.checked ? "1" : null)} />
        <span>{m.noData}</span>
      </label>
    </form>
  );
}

export function Worklist(): JSX.Element {
  const m = t.value.worklist;
  const query = place.value.query;
  const wanted = new URLSearchParams({ sort: "risk" });
  for (const key of ["q", "tag", "team"]) {
    const value = query.get(key);
    if (value) wanted.set(key, value);
  }
  const silent = query.get("silent") === "1";
  const shown = useRef(PAGE);
  const page = (limit: number, cursor?: string | null, signal?: AbortSignal): Promise<Page<WorklistRow>> =>
    getPage<WorklistRow>(`/patients?${wanted}&limit=${limit}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`, signal);
  const list = useLoad(wanted.toString(), async (signal) => {
    let all = await page(Math.min(shown.current, MOST), null, signal);
    while (all.nextCursor && all.items.length < shown.current) {
      const next = await page(MOST, all.nextCursor, signal);
      all = { ...next, items: [...all.items, ...next.items] };
    }
    return all;
  });
  const [busy, setBusy] = useState(false);
  const refresh = useGathered(list.reload, 2000);
  useLive((event) => event.kind !== "pipeline" && refresh());

  const seen = useRef(new Set<string>());
  for (const row of list.data?.items ?? []) for (const tag of row.tags ?? []) seen.current.add(tag);
  const chosen = query.get("tag");
  if (chosen) seen.current.add(chosen);

  const more = async () => {
    const data = list.data;
    if (!data?.nextCursor || busy) return;
    setBusy(true);
    try {
      const next = await page(PAGE, data.nextCursor);
      const known = new Set(data.items.map((r) => r.id));
      const items = [...data.items, ...next.items.filter((r) => !known.has(r.id))];
      shown.current = items.length;
      list.set({ ...next, items });
    } catch (error) {
      announce(reason(error));
    } finally {
      setBusy(false);
    }
  };

  const rows = (list.data?.items ?? []).filter((r) => !silent || silentDays(r) >= SILENT_DAYS);
  return (
    <>
      <div class="title">
        <h1>{m.title}</h1>
        <p class="quiet" role="status">{list.data ? `${m.count(rows.length, Boolean(list.data.nextCursor))} · ${m.sort}` : ""}</p>
      </div>
      <Filters tags={[...seen.current].sort()} />
      {list.error ? <Failed error={list.error} again={list.reload} /> : null}
      {!list.data && list.loading && <Loading />}
      {list.data && (
        <div class="card flush">
          <table class="rows worklist" aria-label={m.title}>
            <thead>
              <tr>{[m.severity, m.name, m.who, m.why, m.last, m.trend, m.open].map((h) => <th key={h} scope="col">{h}</th>)}</tr>
            </thead>
            <tbody>
              {rows.map((row) => <Row key={row.id} row={row} />)}
            </tbody>
          </table>
          {rows.length === 0 && <p class="quiet pad">{m.empty}</p>}
          {list.data.nextCursor && <p class="pad"><button type="button" aria-disabled={busy} onClick={() => void more()}>{t.value.more}</button></p>}
        </div>
      )}
    </>
  );
}
