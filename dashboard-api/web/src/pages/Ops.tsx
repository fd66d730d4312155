// Operations: what goes in and out of every stage, how far behind it is, and whether the day's books balance. No patient data.
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { get } from "../core/api";
import { noteRead } from "../core/clock";
import { useGathered, useLive } from "../core/live";
import { useLoad } from "../core/load";
import type { Books, Pipeline } from "../core/types";
import { t, word } from "../i18n";
import { Card, Failed, Loading } from "../ui/basics";

const COLUMNS = ["accepted", "stored", "duplicate", "quarantined", "rejected"] as const;
const EVERY = 5000;

interface Stage {
  name: string;
  in: string;
  out: string;
  lag: string;
  errors: string;
}

function show(value: unknown): string {
  if (typeof value === "number") return Number.isInteger(value) ? value.toLocaleString("en") : String(Math.round(value * 1000) / 1000);
  return typeof value === "string" ? value : "–";
}

/** A list of stages, or a map by name; lag under its name with a unit too. */
function stagesOf(stages: unknown): Stage[] {
  if (typeof stages !== "object" || stages === null) return [];
  const named: [string, unknown][] = Array.isArray(stages)
    ? stages.map((s: unknown) => [String((s as Record<string, unknown>)["stage"] ?? (s as Record<string, unknown>)["name"] ?? ""), s])
    : Object.entries(stages);
  return named.map(([name, value]) => {
    const o = (typeof value === "object" && value !== null ? value : {}) as Record<string, unknown>;
    const lagKey = Object.keys(o).find((k) => k.startsWith("lag"));
    const unit = lagKey && /seconds$/i.test(lagKey) ? " s" : lagKey && /(millis|ms)$/i.test(lagKey) ? " ms" : "";
    const lag = lagKey ? show(o[lagKey]) : "–";
    return { name, in: show(o["in"]), out: show(o["out"]), lag: lag === "–" ? lag : lag + unit, errors: show(o["errors"]) };
  });
}

function Stages({ pipeline }: { pipeline: Pipeline }): JSX.Element {
  const m = t.value.ops;
  const stages = stagesOf(pipeline.stages);
  return (
    <section class="card flush" aria-label={m.pipeline}>
      <h2>{m.pipeline} <small class="quiet">{m.refresh}</small></h2>
      <div class="scroll">
        <table class="rows plain numbers" aria-label={m.pipeline}>
          <thead><tr>{[m.stage, m.in, m.out, m.lag, m.errors].map((h) => <th key={h} scope="col">{h}</th>)}</tr></thead>
          <tbody>
            {stages.map((s) => (
              <tr key={s.name}>
                <th scope="row">{word(m.stages, s.name)}</th><td>{s.in}</td><td>{s.out}</td><td>{s.lag}</td><td class={s.errors !== "0" && s.errors !== "–" ? "bad-cell" : ""}>{s.errors}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {stages.length === 0 && <p class="quiet pad">{m.noStages}</p>}
    </section>
  );
}

function BookRow({ label, books }: { label: string; books: Partial<Books> }): JSX.Element {
  return <tr><th scope="row">{label}</th>{COLUMNS.map((c) => <td key={c}>{(books[c] ?? 0).toLocaleString("en")}</td>)}</tr>;
}

function Accounting({ accounting }: { accounting: NonNullable<Pipeline["accounting"]> }): JSX.Element {
  const m = t.value.ops;
  const total = accounting.total ?? {};
  const off = (total.accepted ?? 0) - (total.stored ?? 0) - (total.duplicate ?? 0) - (total.quarantined ?? 0) - (total.rejected ?? 0);
  const devices = accounting.devices ?? [];
  return (
    <section class="card flush" aria-label={m.accounting}>
      <h2>{m.accounting} {accounting.day && <small class="quiet">{m.day(accounting.day)}</small>}</h2>
      <p class={off === 0 ? "note good" : "note bad"} role="status"><span aria-hidden="true">{off === 0 ? "✓" : "✗"}</span> {off === 0 ? m.balanced : m.unbalanced(off)}</p>
      <div class="scroll">
        <table class="rows plain numbers" aria-label={m.accounting}>
          <thead><tr><th scope="col">{m.device}</th>{COLUMNS.map((c) => <th key={c} scope="col">{m[c]}</th>)}</tr></thead>
          <tbody>
            <BookRow label={m.total} books={total} />
            {devices.slice(0, 200).map((d) => <BookRow key={d.device ?? ""} label={d.device ?? "–"} books={d} />)}
          </tbody>
        </table>
      </div>
    </section>
  );
}

export function Ops(): JSX.Element {
  const m = t.value.ops;
  const pipeline = useLoad("pipeline", async (signal) => {
    const found = await get<Pipeline>("/ops/pipeline", signal);
    if (!found.asOf) noteRead();
    return found;
  });
  const refresh = useGathered(pipeline.reload);
  useLive((event) => (event.kind === "pipeline" || event.kind === "resync") && refresh());
  useEffect(() => {
    const timer = setInterval(() => !document.hidden && refresh(), EVERY);
    return () => clearInterval(timer);
  }, []);
  return (
    <>
      <div class="title"><h1>{m.title}</h1></div>
      {pipeline.error ? <Failed error={pipeline.error} again={pipeline.reload} /> : null}
      {!pipeline.data && pipeline.loading && <Loading />}
      {pipeline.data && <Stages pipeline={pipeline.data} />}
      {pipeline.data?.accounting && <Accounting accounting={pipeline.data.accounting} />}
      {pipeline.data && <Health />}
    </>
  );
}

interface Ready { checks?: { name: string; ok: boolean; reason?: string }[] }

/** The readiness checks, as `/readyz?verbose` gives them. */
function Health(): JSX.Element | null {
  const m = t.value.ops;
  const ready = useLoad("readyz", async (signal) => {
    const answer = await fetch("/readyz?verbose", { signal, credentials: "same-origin", headers: { accept: "application/json" } });
    return (await answer.json().catch(() => null)) as Ready | null;
  });
  useEffect(() => {
    const timer = setInterval(() => !document.hidden && ready.reload(), EVERY);
    return () => clearInterval(timer);
  }, []);
  const checks = ready.data?.checks ?? [];
  if (checks.length === 0) return null;
  return (
    <Card title={m.health} id="health">
      <ul class="bare">{checks.map((c) => <li key={c.name}><span class={c.ok ? "good-text" : "bad-text"}>{c.ok ? "✓" : "✗"} {word(m.checks, c.name)}</span> <small>{c.reason ? word(c.name === "upstream" ? m.upstream : {}, c.reason) : c.ok ? m.ok : m.bad}</small></li>)}</ul>
    </Card>
  );
}
