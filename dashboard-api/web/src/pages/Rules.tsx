// The rules in force, by what they look at: what each says, its version, and what waits for a signature.
import type { JSX } from "preact";
import { getAll } from "../core/api";
import { useLoad } from "../core/load";
import { t, word } from "../i18n";
import { Failed, Link, Loading } from "../ui/basics";
import { inWords, moment, type RuleView } from "./rule/model";

const KINDS = ["blood_pressure", "blood_glucose", "any"];

function state(rule: RuleView): string[] {
  const m = t.value.rules;
  return [
    ...(rule.drafts.length > 0 ? [m.waiting] : []),
    ...rule.scheduled.map((e) => m.planned(moment(e.effectiveFrom))),
    ...(rule.values.length > 0 ? [m.ownValues(rule.values.length)] : []),
  ];
}

function Row({ rule }: { rule: RuleView }): JSX.Element {
  return (
    <tr>
      <th scope="row"><Link to={`/rules/${encodeURIComponent(rule.id)}`}>{inWords(rule.title)}</Link><small class="quiet nowrap">{rule.id}</small></th>
      <td>{inWords(rule.text)}</td>
      <td class="num">{rule.version}</td>
      <td>{state(rule).map((text) => <span key={text} class="tag routine">{text}</span>)}</td>
    </tr>
  );
}

export function Rules(): JSX.Element {
  const m = t.value.rules;
  const rules = useLoad("rules", (signal) => getAll<RuleView>("/rules?limit=200", 200, signal));
  return (
    <>
      <div class="title"><h1>{m.title}</h1><p class="quiet">{m.intro}</p></div>
      {rules.error ? <Failed error={rules.error} again={rules.reload} /> : null}
      {!rules.data && rules.loading && <Loading />}
      {rules.data && KINDS.map((kind) => {
        const of = rules.data?.filter((r) => r.kind === kind) ?? [];
        return of.length > 0 && (
          <section key={kind} class="card flush" aria-label={word(m.groups, kind)}>
            <h2>{word(m.groups, kind)}</h2>
            <div class="scroll">
              <table class="rows plain rules" aria-label={word(m.groups, kind)}>
                <thead><tr><th scope="col">{m.one}</th><th scope="col">{m.says}</th><th scope="col">{m.version}</th><th scope="col">{m.state}</th></tr></thead>
                <tbody>{of.map((rule) => <Row key={rule.id} rule={rule} />)}</tbody>
              </table>
            </div>
          </section>
        );
      })}
    </>
  );
}
