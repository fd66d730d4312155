// The inbox: un-acknowledged criticals first (the server sorts), each with the time left before it goes further.
import type { JSX } from "preact";
import { getPage, session } from "../core/api";
import { now, tick, zone } from "../core/clock";
import { dateTime, duration, ms } from "../core/format";
import { useGathered, useLive } from "../core/live";
import { useLoad } from "../core/load";
import { patientName, userName } from "../core/names";
import { place, setQuery } from "../core/router";
import type { Alert } from "../core/types";
import { lang, t, word } from "../i18n";
import { Failed, levelOf, Link, Loading, Sign, Tag } from "../ui/basics";

const STATES = ["active", "notified", "acknowledged", "follow_up", "resolved", "auto_resolved", "all"] as const;
const SEVERITIES = ["critical", "urgent", "routine", "info"] as const;

export const waiting = (a: Alert): boolean => a.state === "open" || a.state === "notified";

/** The time left at the present step, or by how much it is overdue. */
export function Clock({ alert }: { alert: Alert }): JSX.Element | null {
  void tick.value;
  const at = ms(alert.nextAt);
  if (alert.exhausted && waiting(alert)) return <span class="due late">{t.value.inbox.exhausted}</span>;
  if (Number.isNaN(at) || !waiting(alert)) return null;
  const left = at - now();
  const text = duration(left, lang.value);
  const m = t.value.inbox;
  const words = left < 0 ? m.overdue : alert.level === 0 ? m.told : m.due;
  return <span class={left < 0 ? "due late" : left < 180_000 ? "due soon" : "due"}><Sign shape="clock" /> {words(text)}</span>;
}

function Row({ alert, self }: { alert: Alert; self: string | undefined }): JSX.Element {
  const m = t.value;
  const name = patientName(alert.patientId, alert.patientName) ?? "…";
  const owner = alert.owner === self && self ? m.alert.you : userName(alert.owner, alert.ownerName);
  return (
    <tr class={waiting(alert) && alert.severity === "critical" ? "urgent-row" : ""}>
      <td data-label={m.inbox.severity}><Tag level={levelOf(alert.severity)} /></td>
      <th scope="row" data-label={m.inbox.patient}><Link to={`/alerts/${encodeURIComponent(alert.id)}`} class="strong">{name}</Link></th>
      <td data-label={m.inbox.what} class="why">
        {word(m.concepts, alert.concept)}
        {(alert.count ?? 0) > 0 && <small>{m.inbox.readings(alert.count ?? 0)}</small>}
        {(alert.doubtful ?? 0) > 0 && <small>{m.inbox.doubtful(alert.doubtful ?? 0)}</small>}
      </td>
      <td data-label={m.inbox.state}>
        {m.state[alert.state] ?? alert.state}
        {(alert.level ?? 0) > 1 && waiting(alert) && <small>{m.inbox.level(alert.level ?? 0)}</small>}
      </td>
      <td data-label={m.inbox.clock}><Clock alert={alert} /></td>
      <td data-label={m.inbox.owner}>{owner ?? (alert.owner ? "…" : m.inbox.unowned)}</td>
      <td data-label={m.inbox.raised} class="nowrap">{dateTime(ms(alert.raisedAt), now(), lang.value, zone.value)}</td>
    </tr>
  );
}

/** The team's id where the session says it. */
function ownTeam(): string | null {
  const team = session.value?.user.teams?.[0];
  return team ? (typeof team === "string" ? team : team.id) : null;
}

function Filters(): JSX.Element {
  const m = t.value.inbox;
  const query = place.value.query;
  const scope = query.get("scope") ?? "team";
  const states = t.value.state as Record<string, string>;
  return (
    <div class="filters">
      <div class="tabs" role="group" aria-label={m.scope}>
        {(["mine", "team", "all"] as const).map((s) => (
          <button key={s} type="button" aria-pressed={scope === s} onClick={() => setQuery("scope", s === "team" ? null : s)}>{m[s]}</button>
        ))}
      </div>
      <label>
        <span>{m.state}</span>
        <select value={query.get("state") ?? "active"} onChange={(e) => setQuery("state", e.currentTarget.value === "active" ? null : e.currentTarget.value)}>
          {STATES.map((s) => <option key={s} value={s}>{s === "active" ? m.active : s === "all" ? m.allStates : states[s]}</option>)}
        </select>
      </label>
      <label>
        <span>{m.severity}</span>
        <select value={query.get("severity") ?? ""} onChange={(e) => setQuery("severity", e.currentTarget.value)}>
          <option value="">{m.anySeverity}</option>
          {SEVERITIES.map((s) => <option key={s} value={s}>{t.value.severity[s]}</option>)}
        </select>
      </label>
      <label class="check">
        <input type="checkbox" checked={query.get("doubtful") === "true"} onChange={(e) => setQuery("doubtful", e.currentTarget.checked ? "true" : null)} />
        <span>{m.onlyDoubtful}</span>
      </label>
    </div>
  );
}

export function Inbox(): JSX.Element {
  const m = t.value.inbox;
  const query = place.value.query;
  const wanted = new URLSearchParams({ limit: "100", state: query.get("state") ?? "active" });
  const severity = query.get("severity");
  if (severity) wanted.set("severity", severity);
  if (query.get("doubtful") === "true") wanted.set("doubtful", "true");
  const scope = query.get("scope") ?? "team";
  const team = ownTeam();
  if (scope === "mine") wanted.set("mine", "true");
  if (scope === "team" && team) wanted.set("team", team);
  const list = useLoad(wanted.toString(), (signal) => getPage<Alert>(`/alerts?${wanted}`, signal));
  const refresh = useGathered(list.reload);
  useLive((event) => (event.kind === "alert" || event.kind === "resync") && refresh());
  const self = session.value?.user.id;

  return (
    <>
      <div class="title"><h1>{m.title}</h1></div>
      <Filters />
      {list.error ? <Failed error={list.error} again={list.reload} /> : null}
      {!list.data && list.loading && <Loading />}
      {list.data && (
        <div class="card flush">
          <table class="rows inbox" aria-label={m.table}>
            <thead>
              <tr>{[m.severity, m.patient, m.what, m.state, m.clock, m.owner, m.raised].map((h) => <th key={h} scope="col">{h}</th>)}</tr>
            </thead>
            <tbody>{list.data.items.map((a) => <Row key={a.id} alert={a} self={self} />)}</tbody>
          </table>
          {list.data.items.length === 0 && <p class="quiet pad">{m.empty}</p>}
          {list.data.nextCursor && <More from={list.data.nextCursor} wanted={wanted} onMore={(items, nextCursor) => list.data && list.set({ ...list.data, items: [...list.data.items, ...items], nextCursor: nextCursor ?? null })} />}
        </div>
      )}
    </>
  );
}

function More({ from, wanted, onMore }: { from: string; wanted: URLSearchParams; onMore: (items: Alert[], next: string | null | undefined) => void }): JSX.Element {
  const more = () => void getPage<Alert>(`/alerts?${wanted}&cursor=${encodeURIComponent(from)}`).then((p) => onMore(p.items, p.nextCursor), () => undefined);
  return <p class="pad"><button type="button" onClick={more}>{t.value.more}</button></p>;
}
