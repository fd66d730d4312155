// Whoever was given a one-time password is asked to choose an own one.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { changePassword } from "../core/api";
import { t } from "../i18n";
import { announce, reason } from "./basics";
import { Dialog } from "./Dialog";

const SHORTEST = 8;

export function OneTimePassword(): JSX.Element {
  const m = t.value.password;
  const [open, setOpen] = useState(false);
  const [busy, setBusy] = useState(false);
  const [current, setCurrent] = useState("");
  const [next, setNext] = useState("");
  const [error, setError] = useState("");

  const save = async () => {
    if (next.length < SHORTEST) return setError(m.short);
    setBusy(true);
    setError("");
    try {
      await changePassword(current, next);
      announce(m.done);
    } catch (e) {
      setError(reason(e));
    } finally {
      setBusy(false);
    }
  };
  return (
    <div class="note warn row">
      <span>{m.must}</span>
      <button type="button" onClick={() => setOpen(true)}>{m.change}</button>
      {open && (
        <Dialog title={m.change} submit={m.change} busy={busy} onClose={() => setOpen(false)} onSubmit={() => void save()}>
          <label><span>{m.current}</span><input type="password" autocomplete="current-password" required value={current} onInput={(e) => setCurrent(e.currentTarget.value)} /></label>
          <label><span>{m.next}</span><input type="password" autocomplete="new-password" required value={next} onInput={(e) => setNext(e.currentTarget.value)} /></label>
          <div role="alert">{error && <p class="note bad">{error}</p>}</div>
        </Dialog>
      )}
    </div>
  );
}
