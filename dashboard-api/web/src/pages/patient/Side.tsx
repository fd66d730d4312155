// Beside the charts: the plan with its targets, the patient's alerts, and what the rules concluded.
import type { JSX } from "preact";
import type { Targets } from "../../charts/readings";
import { getAll, getPage } from "../../core/api";
import { now, zone } from "../../core/clock";
import { dateTime, ms } from "../../core/format";
import { useGathered, useLive } from "../../core/live";
import { useLoad } from "../../core/load";
import type { Alert, Finding, Plan } from "../../core/types";
import { lang, t, word } from "../../i18n";
import { Card, levelOf, Link, Tag } from "../../ui/basics";
import { readable } from "../alert/plain";

/** Findings of half a year are looked at, the newest shown. */
const RECENT = 183 * 86_400_000;

const at = (text: string) => dateTime(ms(text), now(), lang.value, zone.value);

export function PlanCard({ plan, targets }: { plan: Plan | null; targets: Targets }): JSX.Element {
  const m = t.value.patient;
  const mark = (...keys: string[]) => (keys.every((k) => targets.defaults.has(k)) ? m.defaultMark : "");
  const { bloodPressurePerWeek: bp, glucosePerWeek: bg } = plan?.measuring ?? {};
  const own = Object.entries(plan?.parameters ?? {});
  return (
    <Card title={m.plan} id="plan">
      <h3>{m.targets}</h3>
      <ul class="bare">
        <li>{m.home(targets.systolic, targets.diastolic)}{mark("homeSystolic", "homeDiastolic")}</li>
        <li>{m.fasting(targets.fastingLow, targets.fastingHigh)}{mark("fastingLow", "fastingHigh")}</li>
        <li>{m.postMeal(targets.postMealHigh)}{mark("postMealHigh")}</li>
      </ul>
      {(bp || bg) && (
        <>
          <h3>{m.measuring}</h3>
          <ul class="bare">{bp ? <li>{m.perWeekBp(bp)}</li> : null}{bg ? <li>{m.perWeekBg(bg)}</li> : null}</ul>
        </>
      )}
      <h3>{m.medications}</h3>
      {(plan?.medications ?? []).length === 0 ? <p class="quiet">{m.noMedications}</p> : (
        <ul class="bare">
          {plan?.medications?.map((d) => (
            <li key={`${d.name}${d.from}`}>{d.name} <small>{[word(t.value.classes, d.class), d.from ? m.since(d.from) : "", d.to ? m.until(d.to) : ""].filter(Boolean).join(" · ")}</small></li>
          ))}
        </ul>
      )}
      {own.length > 0 && (
        <>
          <h3>{m.parameters}</h3>
          <ul class="bare">{own.map(([rule, values]) => <li key={rule}>{rule} <small>{Object.entries(values).map(([k, v]) => `${readable(k)} ${v}`).join(" · ")}</small></li>)}</ul>
        </>
      )}
    </Card>
  );
}

export function AlertsCard({ id }: { id: string }): JSX.Element {
  const m = t.value.patient;
  const list = useLoad(`alerts of ${id}`, (signal) => getPage<Alert>(`/alerts?state=all&patient=${encodeURIComponent(id)}&limit=20`, signal));
  const refresh = useGathered(list.reload);
  useLive((e) => (e.kind === "resync" || (e.kind === "alert" && (!e.patientId || e.patientId === id))) && refresh());
  const items = list.data?.items ?? [];
  return (
    <Card title={m.alerts} id="patient-alerts">
      {list.data && items.length === 0 && <p class="quiet">{m.noAlerts}</p>}
      <ul class="bare entries">
        {items.map((a) => (
          <li key={a.id}>
            <Tag level={levelOf(a.severity)} /> <Link to={`/alerts/${encodeURIComponent(a.id)}`}>{word(t.value.concepts, a.concept)}</Link>
            <small>{t.value.state[a.state] ?? a.state} · {at(a.raisedAt)}</small>
          </li>
        ))}
      </ul>
    </Card>
  );
}

export function FindingsCard({ id }: { id: string }): JSX.Element {
  const m = t.value.patient;
  const list = useLoad(`findings of ${id}`, async (signal) => {
    const from = new Date(now() - RECENT).toISOString();
    const all = await getAll<Finding>(`/patients/${encodeURIComponent(id)}/findings?limit=200&from=${from}`, 2000, signal);
    return all.sort((a, b) => ms(b.at) - ms(a.at)).slice(0, 12);
  });
  const refresh = useGathered(list.reload, 2000);
  useLive((e) => (e.kind === "resync" || (e.kind !== "pipeline" && (!e.patientId || e.patientId === id))) && refresh());
  const items = list.data ?? [];
  return (
    <Card title={m.findings} id="patient-findings">
      {list.data && items.length === 0 && <p class="quiet">{m.noFindings}</p>}
      <ul class="bare entries">
        {items.map((f) => (
          <li key={f.id} class={f.retractedAt ? "unused" : ""}>
            <Tag level={levelOf(f.severity)} /> {f.alertId ? <Link to={`/alerts/${encodeURIComponent(f.alertId)}`}>{word(t.value.concepts, f.concept)}</Link> : word(t.value.concepts, f.concept)}
            <small>{[f.ruleId, word(t.value.verdicts, f.verdict), f.retractedAt ? m.retracted : "", at(f.at)].filter(Boolean).join(" · ")}</small>
          </li>
        ))}
      </ul>
    </Card>
  );
}
