// Log in, then back to where one came from.
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { login, Problem, session } from "../core/api";
import { go, ownAddress, place } from "../core/router";
import { t } from "../i18n";
import { reason } from "../ui/basics";
import { homeOf, LanguageSwitch, Mark } from "../ui/Shell";

export function Login(): JSX.Element {
  const m = t.value.login;
  const [username, setUsername] = useState("");
  const [password, setPassword] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState("");

  const roles = session.value?.user.roles;
  useEffect(() => {
    if (roles) go(ownAddress(place.value.query.get("next")) ?? homeOf(roles), { replace: true });
  }, [roles]);

  const submit = async (event: Event) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    setError("");
    try {
      await login(username.trim(), password);
    } catch (e) {
      setPassword("");
      if (e instanceof Problem && e.status === 401) setError(m.wrong);
      else if (e instanceof Problem && e.status === 429) setError(m.tooMany(15));
      else setError(reason(e));
    } finally {
      setBusy(false);
    }
  };

  return (
    <main class="login" id="main">
      <form onSubmit={submit}>
        <p class="login-brand"><Mark /> <strong>Hearthbeat</strong></p>
        <p class="quiet">{m.intro}</p>
        <h1>{m.title}</h1>
        <label>
          {m.username}
          <input name="username" autocomplete="username" autocapitalize="none" spellcheck={false} required value={username} onInput={(e) => setUsername(e.currentTarget.value)} />
        </label>
        <label>
          {m.password}
          <input name="password" type="password" autocomplete="current-password" required value={password} onInput={(e) => setPassword(e.currentTarget.value)} />
        </label>
        <div role="alert">{error && <p class="note bad">{error}</p>}</div>
        <button type="submit" class="primary" aria-disabled={busy}>{m.submit}</button>
        <LanguageSwitch />
      </form>
      <p class="quiet small">{t.value.footer}</p>
    </main>
  );
}
