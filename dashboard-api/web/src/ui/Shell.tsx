// The frame around every page but the login: product, navigation, language, log out, how fresh the data are, footer.
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { logout, session, unreachable } from "../core/api";
import { dataAsOf, evaluatedAt, evaluationLag, zone } from "../core/clock";
import { clockTime, ms } from "../core/format";
import { stream } from "../core/live";
import { place, setQuery } from "../core/router";
import type { Role } from "../core/types";
import { lang, t, word } from "../i18n";
import { Link, Voice } from "./basics";
import { OneTimePassword } from "./Password";

/** Rules that have not moved for this long are said loudly. */
const STALE = 10 * 60_000;
const READY_EVERY = 60_000;

/** Which pages a role has. */
export function pagesOf(roles: readonly Role[]): ("worklist" | "alerts" | "rules" | "me" | "ops")[] {
  const clinical = roles.some((r) => r !== "patient" && r !== "ops" && r !== "auditor");
  return [
    ...(clinical ? (["worklist", "alerts"] as const) : []),
    ...(clinical || roles.includes("ops") ? (["rules"] as const) : []),
    ...(roles.includes("patient") ? (["me"] as const) : []),
    ...(roles.includes("ops") ? (["ops"] as const) : []),
  ];
}

/** Where a role begins. */
export function homeOf(roles: readonly Role[]): string {
  const first = pagesOf(roles).find((page) => page !== "rules");
  return first === "me" ? "/me" : first === "ops" ? "/ops" : "/";
}

export function LanguageSwitch(): JSX.Element {
  const choose = (to: string) => () => setQuery("lang", to);
  return (
    <div class="languages" role="group" aria-label={t.value.language}>
      <button type="button" lang="zh-CN" aria-pressed={lang.value === "zh-CN"} onClick={choose("zh-CN")}>中文</button>
      <button type="button" lang="en" aria-pressed={lang.value === "en"} onClick={choose("en")}>English</button>
    </div>
  );
}

/** Names of the readiness checks that fail, asked once a minute: silence must not look like health. */
function useUnwell(): string[] {
  const [names, setNames] = useState<string[]>([]);
  useEffect(() => {
    const ask = async () => {
      if (document.hidden) return;
      try {
        const answer = await fetch("/readyz?verbose", { credentials: "same-origin", cache: "no-store", headers: { accept: "application/json" } });
        unreachable.value = false;
        const { checks } = (await answer.json()) as { checks?: { name: string; ok: boolean }[] };
        const failing = (checks ?? []).filter((c) => !c.ok).map((c) => c.name);
        setNames(answer.ok ? [] : failing.length > 0 ? failing : [String(answer.status)]);
      } catch (error) {
        if (error instanceof TypeError) unreachable.value = true;
      }
    };
    void ask();
    const timer = setInterval(() => void ask(), READY_EVERY);
    return () => clearInterval(timer);
  }, []);
  return names;
}

function Freshness(): JSX.Element {
  const b = t.value.banner;
  const stale = evaluationLag.value > STALE;
  const unwell = useUnwell();
  const at = (text: string | null) => clockTime(ms(text), lang.value, zone.value);
  return (
    <div class="freshness">
      <p>
        {stream.value === "live" && <span class="dot-live" title={b.live}><span aria-hidden="true">●</span> {b.live}</span>}
        {dataAsOf.value && <span>{b.asOf(at(dataAsOf.value))}</span>}
        {evaluatedAt.value && !stale && <span>{b.evaluated(at(evaluatedAt.value))}</span>}
        <span>{b.zone(zone.value)}</span>
      </p>
      <div role="alert">
        {unreachable.value && <p class="note bad">{b.offline}</p>}
        {stale && <p class="note bad">{b.stale(at(evaluatedAt.value))}</p>}
        {unwell.length > 0 && <p class="note bad">{b.unwell(unwell.join(t.value.comma))}</p>}
      </div>
      <div role="status">{stream.value === "lost" && !unreachable.value && <p class="note warn">{b.lost}</p>}</div>
    </div>
  );
}

function Header(): JSX.Element {
  const user = session.value?.user;
  const path = place.value.path;
  const pages = pagesOf(user?.roles ?? []);
  const here = (test: boolean) => (test ? ("page" as const) : undefined);
  const m = t.value;
  return (
    <header class="top">
      <a class="skip" href="#main">{m.skip}</a>
      <Link to={homeOf(user?.roles ?? [])} class="brand"><Mark /> {m.product}</Link>
      <nav aria-label={m.nav.label}>
        {pages.includes("worklist") && <Link to="/" aria-current={here(path === "/" || path.startsWith("/patients"))}>{m.nav.worklist}</Link>}
        {pages.includes("alerts") && <Link to="/alerts" aria-current={here(path.startsWith("/alerts"))}>{m.nav.alerts}</Link>}
        {pages.includes("rules") && <Link to="/rules" aria-current={here(path.startsWith("/rules"))}>{m.nav.rules}</Link>}
        {pages.includes("me") && <Link to="/me" aria-current={here(path === "/me")}>{m.nav.me}</Link>}
        {pages.includes("ops") && <Link to="/ops" aria-current={here(path === "/ops")}>{m.nav.ops}</Link>}
      </nav>
      <div class="who">
        {user && (
          <span class="user" aria-label={m.account(user.name ?? user.username)}>
            {user.name ?? user.username} <small>{user.roles.map((r) => word(m.roles, r)).join(" · ")}</small>
          </span>
        )}
        <LanguageSwitch />
        {user && <button type="button" onClick={() => void logout()}>{m.logout}</button>}
      </div>
    </header>
  );
}

/** The product's mark: a house with a pulse. */
export const Mark = (): JSX.Element => (
  <svg class="mark" width="24" height="24" viewBox="0 0 32 32" aria-hidden="true">
    <path class="mark-house" d="M4 15 16 4l12 11v11a2 2 0 0 1-2 2H6a2 2 0 0 1-2-2z" />
    <path class="mark-pulse" d="M7 19h5l2-5 4 9 2-4h5" />
  </svg>
);

export function Shell({ children }: { children: ComponentChildren }): JSX.Element {
  return (
    <>
      <Header />
      <main id="main" tabIndex={-1}>
        <Freshness />
        {session.value?.user.mustChangePassword && <OneTimePassword />}
        {children}
      </main>
      <footer><p>{t.value.footer}</p></footer>
      <Voice />
    </>
  );
}
