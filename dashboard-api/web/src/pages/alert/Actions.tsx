// What one can do about an alert. Every press carries its own key; a refusal is said with the present state.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { act, Problem } from "../../core/api";
import { now, zone } from "../../core/clock";
import { ms, offsetMinutes } from "../../core/format";
import type { AlertDetail } from "../../core/types";
import { t, word } from "../../i18n";
import { announce, Card, reason } from "../../ui/basics";
import { Dialog } from "../../ui/Dialog";

const OUTCOMES = ["treated", "referred", "false_reading", "unreachable", "other"] as const;
const HOWS = ["phone", "visit", "clinic", "message"] as const;

/** Which actions an alert's state allows; the server has the last word. */
function allowed({ state, severity }: AlertDetail): { ack: boolean; contact: boolean; resolve: boolean } {
  const waiting = state === "open" || state === "notified";
  const active = waiting || state === "acknowledged" || state === "follow_up";
  return { ack: waiting, contact: active, resolve: active && !(waiting && severity === "critical") };
}

interface Props {
  alert: AlertDetail;
  /** Shows what an action's answer says. */
  show: (alert: AlertDetail) => void;
  reload: () => void;
}

/** Text of a `datetime-local` field, read in the site's zone like every time on the page; none when empty. */
function moment(text: string): string | undefined {
  const local = ms(text && `${text}Z`);
  return Number.isNaN(local) ? undefined : new Date(local - offsetMinutes(local, zone.value) * 60_000).toISOString();
}

export function Actions({ alert, show, reload }: Props): JSX.Element {
  const m = t.value.alert;
  const [busy, setBusy] = useState(false);
  const [dialog, setDialog] = useState<"resolve" | "snooze" | "comment" | null>(null);
  const [error, setError] = useState("");
  const can = allowed(alert);

  const run = async (verb: string, body: object, done: string): Promise<boolean> => {
    if (busy) return false;
    setBusy(true);
    setError("");
    try {
      const after = await act<AlertDetail | null>(`/alerts/${encodeURIComponent(alert.id)}/${verb}`, body);
      if (after?.timeline) show(after);
      else reload();
      announce(done);
      setDialog(null);
      return true;
    } catch (e) {
      const state = e instanceof Problem && e.status === 409 ? (e.state ?? alert.state) : null;
      const text = state ? m.conflict((t.value.state as Record<string, string>)[state] ?? state) : reason(e);
      setError(text);
      setDialog(null);
      reload();
      return false;
    } finally {
      setBusy(false);
      if (document.activeElement === document.body) document.getElementById("alert-title")?.focus({ preventScroll: true });
    }
  };

  return (
    <Card title={m.actions} id="actions" class="actions">
      <div role="alert">{error && <p class="note bad">{error}</p>}</div>
      <div class="action">
        <button type="button" class="primary big" disabled={!can.ack || busy} onClick={() => void run("ack", {}, m.done.ack)}>{m.ack}</button>
        <p class="quiet small">{can.ack ? m.ackHint : m.disabledAck}</p>
      </div>
      <Contact enabled={can.contact && !busy} hint={can.ack ? m.contactAcks : can.contact ? "" : m.disabledContact} onSave={(body) => run("follow-up", body, m.done.followUp)} />
      <div class="action row">
        <button type="button" class="big" disabled={!can.resolve || busy} onClick={() => setDialog("resolve")}>{m.resolve}</button>
        <button type="button" disabled={!can.contact || busy} onClick={() => setDialog("snooze")}>{m.snooze}</button>
        <button type="button" disabled={busy} onClick={() => setDialog("comment")}>{m.comment}</button>
      </div>
      {dialog === "resolve" && <Resolve busy={busy} onClose={() => setDialog(null)} onSave={(body) => void run("resolve", body, m.done.resolve)} />}
      {dialog === "snooze" && <Snooze busy={busy} critical={alert.severity === "critical"} onClose={() => setDialog(null)} onSave={(minutes) => void run("snooze", { minutes }, m.done.snooze)} />}
      {dialog === "comment" && <Comment busy={busy} onClose={() => setDialog(null)} onSave={(text) => void run("comment", { text }, m.done.comment)} />}
    </Card>
  );
}

/** The logged contact: one press with a phone call as the usual way; the rest is optional. */
function Contact({ enabled, hint, onSave }: { enabled: boolean; hint: string; onSave: (body: object) => Promise<boolean> }): JSX.Element {
  const m = t.value.alert;
  const [how, setHow] = useState<string>("phone");
  const [note, setNote] = useState("");
  const [due, setDue] = useState("");
  const submit = async (event: Event) => {
    event.preventDefault();
    if (!enabled) return;
    const dueAt = moment(due);
    const body = { contactedAt: new Date(now()).toISOString(), how, ...(note.trim() ? { note: note.trim() } : {}), ...(dueAt ? { dueAt } : {}) };
    if (await onSave(body)) {
      setNote("");
      setDue("");
    }
  };
  return (
    <form class="action contact" onSubmit={(e) => void submit(e)}>
      <fieldset disabled={!enabled}>
        <legend>{m.contactTitle}</legend>
        <label><span>{m.how}</span>
          <select value={how} onChange={(e) => setHow(e.currentTarget.value)}>{HOWS.map((h) => <option key={h} value={h}>{word(m.hows, h)}</option>)}</select>
        </label>
        <label><span>{m.due}</span><input type="datetime-local" value={due} onInput={(e) => setDue(e.currentTarget.value)} /></label>
        <label class="wide"><span>{m.note}</span><input maxLength={500} value={note} onInput={(e) => setNote(e.currentTarget.value)} /></label>
      </fieldset>
      <button type="submit" class="big" disabled={!enabled}>{m.contact}</button>
      {hint && <p class="quiet small">{hint}</p>}
    </form>
  );
}

function Resolve({ busy, onSave, onClose }: { busy: boolean; onSave: (body: object) => void; onClose: () => void }): JSX.Element {
  const m = t.value.alert;
  const [outcome, setOutcome] = useState<string>("treated");
  const [note, setNote] = useState("");
  return (
    <Dialog title={m.resolveTitle} submit={m.save} busy={busy} onClose={onClose} onSubmit={() => onSave({ outcome, ...(note.trim() ? { note: note.trim() } : {}) })}>
      <label><span>{m.outcome}</span>
        <select value={outcome} onChange={(e) => setOutcome(e.currentTarget.value)}>{OUTCOMES.map((o) => <option key={o} value={o}>{word(m.outcomes, o)}</option>)}</select>
      </label>
      <label><span>{m.note}</span><textarea rows={3} maxLength={1000} value={note} onInput={(e) => setNote(e.currentTarget.value)} /></label>
    </Dialog>
  );
}

function Snooze({ busy, critical, onSave, onClose }: { busy: boolean; critical: boolean; onSave: (minutes: number) => void; onClose: () => void }): JSX.Element {
  const m = t.value.alert;
  const [minutes, setMinutes] = useState(30);
  const choices = critical ? [15, 30, 60] : [30, 60, 240, 1440];
  return (
    <Dialog title={m.snooze} submit={m.snooze} busy={busy} onClose={onClose} onSubmit={() => onSave(minutes)}>
      <label><span>{m.snoozeFor}</span>
        <select value={minutes} onChange={(e) => setMinutes(Number(e.currentTarget.value))}>{choices.map((n) => <option key={n} value={n}>{m.minutes(n)}</option>)}</select>
      </label>
    </Dialog>
  );
}

function Comment({ busy, onSave, onClose }: { busy: boolean; onSave: (text: string) => void; onClose: () => void }): JSX.Element {
  const m = t.value.alert;
  const [text, setText] = useState("");
  return (
    <Dialog title={m.comment} submit={m.comment} busy={busy} onClose={onClose} onSubmit={() => text.trim() && onSave(text.trim())}>
      <label><span>{m.commentText}</span><textarea rows={4} maxLength={2000} required value={text} onInput={(e) => setText(e.currentTarget.value)} /></label>
    </Dialog>
  );
}
