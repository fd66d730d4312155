// Entry: which page an address shows, and who must log in first.
import { effect } from "@preact/signals";
import { type JSX, render } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { loadSession, session } from "./core/api";
import { zone } from "./core/clock";
import { place } from "./core/router";
import { t } from "./i18n";
import { Alert } from "./pages/Alert";
import { Inbox } from "./pages/Inbox";
import { Login } from "./pages/Login";
import { Me } from "./pages/Me";
import { Ops } from "./pages/Ops";
import { Patient } from "./pages/Patient";
import { Rule } from "./pages/Rule";
import { Rules } from "./pages/Rules";
import { Worklist } from "./pages/Worklist";
import "./style/base.css";
import "./style/parts.css";
import "./style/chart.css";
import { Link, Loading } from "./ui/basics";
import { homeOf, pagesOf, Shell } from "./ui/Shell";

function NotFound(): JSX.Element {
  return (
    <>
      <h1>{t.value.notFoundTitle}</h1>
      <p>{t.value.notFoundText}</p>
      <p><Link to="/">{t.value.backHome}</Link></p>
    </>
  );
}

/** The page of an address and its title. */
function pageOf(path: string): [string, JSX.Element] {
  const m = t.value;
  const [first, second, more] = path.split("/").filter(Boolean);
  if (more === undefined) {
    if (first === undefined) {
      const roles = session.value?.user.roles ?? [];
      if (pagesOf(roles).includes("worklist") || roles.length === 0) return [m.worklist.title, <Worklist />];
      return homeOf(roles) === "/me" ? [m.me.title, <Me />] : [m.ops.title, <Ops />];
    }
    if (first === "alerts") return second ? [m.alert.title, <Alert key={second} id={second} />] : [m.inbox.title, <Inbox />];
    if (first === "patients" && second) return [m.patient.title, <Patient key={second} id={second} />];
    if (first === "me" && !second) return [m.me.title, <Me />];
    if (first === "rules") return second ? [m.rules.one, <Rule key={second} id={second} />] : [m.rules.title, <Rules />];
    if (first === "ops" && !second) return [m.ops.title, <Ops />];
  }
  return [m.notFoundTitle, <NotFound />];
}

function App(): JSX.Element {
  const path = place.value.path;
  const shown = useRef(path);
  useEffect(() => {
    if (shown.current === path) return;
    shown.current = path;
    document.getElementById("main")?.focus({ preventScroll: true }); // a screen reader begins at the new page
  }, [path]);
  if (path === "/login") {
    document.title = `${t.value.login.title} · Hearthbeat`;
    return <Login />;
  }
  if (!session.value) return <main class="login" id="main"><Loading /></main>;
  const [title, page] = pageOf(path);
  document.title = `${title} · Hearthbeat`;
  return <Shell>{page}</Shell>;
}

effect(() => {
  const given = session.value?.timeZone;
  if (given) zone.value = given;
});

void loadSession();
const root = document.getElementById("app");
if (root) render(<App />, root);
