// One alert: who, how urgent, what it rests on, what happened so far, and what one can do about it now.
import type { JSX } from "preact";
import { get, session } from "../core/api";
import { now, zone } from "../core/clock";
import { dateTime, exact, masked, ms } from "../core/format";
import { useGathered, useLive } from "../core/live";
import { useLoad } from "../core/load";
import { patientName, userName } from "../core/names";
import type { AlertDetail, Delivery, Patient, TimelineEvent } from "../core/types";
import { lang, t, word } from "../i18n";
import { Card, Failed, levelOf, Link, Loading, Tag } from "../ui/basics";
import { Actions } from "./alert/Actions";
import { EvidenceCard } from "./alert/Evidence";
import { plain } from "./alert/plain";
import { Clock } from "./Inbox";

const who = (id: string | null | undefined, given?: string | null): string | null =>
  id && id === session.value?.user.id ? t.value.alert.you : (userName(id, given) ?? (id ? id.slice(0, 8) : null));

function Head({ alert, patient }: { alert: AlertDetail; patient: Patient | null }): JSX.Element {
  const m = t.value.alert;
  const phone = patient?.phone ?? alert.patientPhone ?? null;
  const name = patient?.name ?? patientName(alert.patientId, alert.patientName) ?? "…";
  const at = (text: string | null | undefined) => dateTime(ms(text), now(), lang.value, zone.value);
  const facts: [string, string | JSX.Element][] = [
    [t.value.inbox.state, t.value.state[alert.state] ?? alert.state],
    [m.owner, who(alert.owner, alert.ownerName) ?? m.unowned],
    [m.raised, at(alert.raisedAt)],
    [m.level, String(alert.level ?? "–")],
    ...((alert.cycle ?? 1) > 1 ? ([[m.cycle, String(alert.cycle)]] as [string, string][]) : []),
    [m.count, String(alert.count ?? "–")],
  ];
  return (
    <section class={`card alert-head ${levelOf(alert.severity)}`} aria-labelledby="alert-title">
      <p class="row"><Tag level={levelOf(alert.severity)} /> <strong>{word(t.value.concepts, alert.concept)}</strong> <Clock alert={alert} /></p>
      <h1 id="alert-title" tabIndex={-1}><Link to={`/patients/${encodeURIComponent(alert.patientId)}`}>{name}</Link></h1>
      <p class="row">
        {phone ? <a class="phone" href={`tel:${phone.replace(/[^+\d]/g, "")}`} aria-label={`${m.call} ${phone}`}>☎ {phone}</a> : <span class="quiet">{m.noPhone}</span>}
        <Link to={`/patients/${encodeURIComponent(alert.patientId)}`}>{m.openChart}</Link>
        {alert.previousId && <Link to={`/alerts/${encodeURIComponent(alert.previousId)}`}>{m.previous}</Link>}
      </p>
      <dl class="facts">{facts.map(([k, v]) => <div key={k}><dt>{k}</dt><dd>{v}</dd></div>)}</dl>
      {alert.exhausted && (alert.state === "open" || alert.state === "notified") && <p class="note bad">{m.exhausted}</p>}
      {(alert.doubtful ?? 0) > 0 && <p class="note warn">{m.doubtful(alert.doubtful ?? 0)}</p>}
      {alert.snoozedUntil && <p class="note">{m.snoozed(at(alert.snoozedUntil))}</p>}
      {alert.heldUntil && <p class="note">{m.held(at(alert.heldUntil))}</p>}
      {alert.inhibitedBy && <p class="note"><Link to={`/alerts/${encodeURIComponent(alert.inhibitedBy)}`}>{m.inhibited}</Link></p>}
    </section>
  );
}

/** A detail's codes in words: people by name, ways and outcomes of the catalogue; what people wrote stays as it is. */
function detailOf(e: TimelineEvent): string {
  if (typeof e.detail !== "string") return plain(e.detail);
  const m = t.value;
  const [head = "", ...rest] = e.detail.split(": ");
  const tail = rest.join(": ");
  const say = (first: string) => (tail ? `${first}: ${tail}` : first);
  if (e.event === "follow_up") return say(word(m.alert.hows, head));
  if (e.event === "resolved") return say(word(m.alert.outcomes, head));
  if (e.event === "assigned") return who(e.detail) ?? e.detail;
  if (e.event === "comment") return e.detail;
  const level = /^level (\d+)$/.exec(head);
  const people = () => tail.split(", ").map((id) => userName(id) ?? id).join(m.comma);
  if (level) return [m.inbox.level(Number(level[1])), e.event === "notified" ? people() : word(m.details, tail)].filter(Boolean).join(" · ");
  const more = /^(\d+) more$/.exec(e.detail);
  if (more) return m.attachedMore(more[1] ?? "");
  if (tail) return `${head} · ${word(m.details, tail)}`;
  return head in m.details ? word(m.details, head) : e.detail.split(" ").map((w) => (m.severity as Record<string, string>)[w] ?? w).join(" ");
}

function Timeline({ events }: { events: TimelineEvent[] }): JSX.Element {
  return (
    <Card title={t.value.alert.timeline} id="timeline" class="history">
      <ol class="timeline">
        {[...events].sort((a, b) => ms(a.at) - ms(b.at)).map((e, i) => (
          <li key={i} class={e.event}>
            <time dateTime={e.at}>{exact(ms(e.at), lang.value, zone.value)}</time>
            <strong>{word(t.value.timeline, e.event)}</strong>
            <span class="quiet">{who(e.by, e.byName) ?? t.value.alert.bySystem}</span>
            {e.detail ? <span class="detail">{detailOf(e)}</span> : null}
          </li>
        ))}
      </ol>
    </Card>
  );
}

function Deliveries({ all }: { all: Delivery[] }): JSX.Element {
  const m = t.value.alert;
  return (
    <Card title={m.deliveries} id="deliveries">
      {all.length === 0 ? <p class="quiet">{m.noDeliveries}</p> : (
        <div class="scroll">
          <table class="rows plain" aria-labelledby="deliveries">
            <thead><tr>{[m.to, m.message, m.channel, m.level, m.attempts, m.result].map((h) => <th key={h} scope="col">{h}</th>)}</tr></thead>
            <tbody>
              {all.map((d) => (
                <tr key={d.id}>
                  <td>{userName(d.userId, d.userName) ?? (d.address ? (/^\+?\d{7,}$/.test(d.address) ? masked(d.address) : d.address) : "–")}</td>
                  <td>{word(t.value.messages, d.type) || "–"}</td>
                  <td>{d.channel}</td><td class="num">{d.level ?? "–"}</td><td class="num">{d.attempts ?? 0}</td><td>{word(t.value.delivery, d.state)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Card>
  );
}

export function Alert({ id }: { id: string }): JSX.Element {
  const address = `/alerts/${encodeURIComponent(id)}`;
  const alert = useLoad(address, (signal) => get<AlertDetail>(address, signal));
  const patientId = alert.data?.patientId ?? "";
  const patient = useLoad(`patient ${patientId}`, async (signal) => {
    if (!patientId) return null;
    return get<Patient>(`/patients/${encodeURIComponent(patientId)}`, signal).catch(() => null);
  });
  const refresh = useGathered(alert.reload);
  useLive((event) => {
    const mine = event.kind === "alert" && (!event.id || event.id === id || event.patientId === patientId);
    if (mine || event.kind === "resync") refresh();
  });

  if (!alert.data) return alert.error ? <Failed error={alert.error} again={alert.reload} /> : <Loading />;
  const a = alert.data;
  return (
    <>
      <p class="back"><Link to="/alerts">← {t.value.alert.listOpen}</Link></p>
      {alert.error ? <Failed error={alert.error} again={alert.reload} /> : null}
      <div class="columns alert">
        <div class="column">
          <Head alert={a} patient={a.patient?.name ? a.patient : patient.data} />
          <Actions alert={a} show={alert.set} reload={alert.reload} />
          <Timeline events={a.timeline ?? []} />
        </div>
        <div class="column">
          <EvidenceCard alert={a} />
          <Deliveries all={a.deliveries ?? []} />
        </div>
      </div>
    </>
  );
}
