// One rule: what it says in a doctor's words, its numbers and where they come from, what is drafted, signed and former,
// and what other numbers would have done in the past.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { call, get } from "../core/api";
import { useLoad } from "../core/load";
import { t, word } from "../i18n";
import { announce, Card, Failed, Link, Loading, reason } from "../ui/basics";
import { Dialog } from "../ui/Dialog";
import { Change } from "./rule/Change";
import { amount, differences, type Edit, forWhom, inWords, isTechnical, moment, nameOf, type Parameter, type RuleView } from "./rule/model";
import { Rehearsal, type Trial } from "./rule/Rehearsal";

function Numbers({ rule }: { rule: RuleView }): JSX.Element | null {
  const m = t.value.rules;
  const row = (p: Parameter) => (
    <tr key={p.name}>
      <th scope="row">{nameOf(rule.id, p.name)}</th>
      <td class="strong nowrap">{amount(p.default, p.unit)}</td>
      <td class="nowrap">{amount(p.min, p.unit)} – {amount(p.max, p.unit)}</td>
      <td>{word(m.owners, p.owner)}</td>
      <td class="quiet">{p.source}</td>
    </tr>
  );
  const table = (rows: Parameter[], label: string) => (
    <div class="scroll">
      <table class="rows plain" aria-label={label}>
        <thead><tr><th scope="col">{m.numbers}</th><th scope="col">{m.number}</th><th scope="col">{m.bounds}</th><th scope="col">{m.owner}</th><th scope="col">{m.source}</th></tr></thead>
        <tbody>{rows.map(row)}</tbody>
      </table>
    </div>
  );
  const [plain, technical] = [rule.parameters.filter((p) => !isTechnical(p)), rule.parameters.filter(isTechnical)];
  if (rule.parameters.length === 0) return null;
  return (
    <section class="card flush" aria-label={m.numbers}>
      <h2>{m.numbers}</h2>
      {plain.length > 0 && table(plain, m.numbers)}
      {technical.length > 0 && <details class="pad"><summary>{m.technical}</summary>{table(technical, m.technical)}</details>}
      {rule.values.length > 0 && (
        <div class="pad">
          <h3>{m.values}</h3>
          <p class="quiet small">{m.valuesHint}</p>
          <ul class="bare">
            {rule.values.map((e) => (
              <li key={forWhom(e.scope)}>
                <strong>{forWhom(e.scope)}</strong>{" · "}
                {Object.entries(e.content?.parameters ?? {}).map(([name, value]) => `${nameOf(rule.id, name)} ${amount(value, rule.parameters.find((p) => p.name === name)?.unit ?? "")}`).join(t.value.comma)}
              </li>
            ))}
          </ul>
        </div>
      )}
    </section>
  );
}

type Act = (verb: "approve" | "withdraw" | "rollback", edit: Edit) => void;

function Entry({ rule, edit, act, attempt }: { rule: RuleView; edit: Edit; act: Act; attempt: (trial: Trial) => void }): JSX.Element {
  const m = t.value.rules;
  const draft = edit.state === "draft";
  const { card, parameters } = edit.content ?? {};
  return (
    <li>
      <div>
        <strong>{forWhom(edit.scope)}</strong> <span class="quiet small">{edit.version === null ? "" : `${m.version} ${edit.version}`}</span>
        <ul class="bare">{(edit.rollback ? [m.backTo] : differences(rule, edit)).map((line) => <li key={line}>{line}</li>)}</ul>
        {edit.note && <p>“{edit.note}”</p>}
        <p class="quiet small">
          {edit.rollback ? m.rolledBack(edit.author ?? "–", moment(edit.draftedAt)) : m.draftOf(edit.author ?? "–", moment(edit.draftedAt))}
          {edit.approver && !edit.rollback && `${t.value.comma}${m.approvedBy(edit.approver, moment(edit.approvedAt))}`}
          {t.value.comma}{edit.effectiveFrom ? m.fromAt(moment(edit.effectiveFrom)) : edit.proposedFrom ? m.fromAt(moment(edit.proposedFrom)) : m.fromApproval}
        </p>
      </div>
      <p class="row">
        {edit.mayApprove && <button type="button" class="primary" onClick={() => act("approve", edit)}>{m.approve}</button>}
        {draft && (card || parameters) && <button type="button" onClick={() => attempt({ body: card ? { card } : { parameters: { [rule.id]: parameters } }, scope: edit.scope })}>{m.tryDraft}</button>}
        {edit.mayWithdraw && <button type="button" onClick={() => act("withdraw", edit)}>{m.withdraw}</button>}
        {draft && edit.own && <span class="quiet small">{m.ownDraft}</span>}
      </p>
    </li>
  );
}

/** The edits that hold now and may be undone, one a scope. */
function undoable(rule: RuleView): Edit[] {
  const history = rule.history ?? [];
  return history.filter((e, i) => e.mayUndo && e.content && history.findIndex((f) => f.scope.organisationId === e.scope.organisationId && f.scope.tag === e.scope.tag) === i);
}

function Versions({ rule, act, attempt }: { rule: RuleView; act: Act; attempt: (trial: Trial) => void }): JSX.Element {
  const m = t.value.rules;
  const list = (edits: Edit[]) => <ul class="entries timeline-free">{edits.map((e) => <Entry key={`${e.draftedAt}${e.version}`} rule={rule} edit={e} act={act} attempt={attempt} />)}</ul>;
  return (
    <>
      <Card title={m.drafts} id="drafts">
        {rule.drafts.length > 0 ? list(rule.drafts) : <p class="quiet">{m.noDrafts}</p>}
        {rule.scheduled.length > 0 && <><h3>{m.scheduled}</h3>{list(rule.scheduled)}</>}
      </Card>
      <Card title={m.history} id="history">
        {(rule.history?.length ?? 0) > 0 ? list(rule.history ?? []) : <p class="quiet">{m.asInstalled}</p>}
        {undoable(rule).map((e) => <p key={forWhom(e.scope)}><button type="button" onClick={() => act("rollback", e)}>{m.rollback}</button> <span class="quiet small">{forWhom(e.scope)}</span></p>)}
      </Card>
    </>
  );
}

export function Rule({ id }: { id: string }): JSX.Element {
  const m = t.value.rules;
  const path = `/rules/${encodeURIComponent(id)}`;
  const rule = useLoad(path, (signal) => get<RuleView>(path, signal));
  const [asked, setAsked] = useState<{ verb: "approve" | "rollback"; edit: Edit } | null>(null);
  const [trial, setTrial] = useState<Trial | null>(null);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState("");

  const change = async (method: string, tail: string, body: object, done: string): Promise<boolean> => {
    if (busy || !rule.data) return false;
    setBusy(true);
    setError("");
    try {
      rule.set(await call<RuleView>(method, path + tail, body, { match: `"${rule.data.revision}"` }));
      announce(done);
      return true;
    } catch (e) {
      setError(reason(e));
      rule.reload();
      return false;
    } finally {
      setBusy(false);
      setAsked(null);
    }
  };
  const scopeOf = (e: Edit) => ({ ...(e.scope.organisationId ? { organisationId: e.scope.organisationId } : {}), ...(e.scope.tag ? { tag: e.scope.tag } : {}) });
  const act: Act = (verb, edit) => (verb === "withdraw" ? void change("POST", "/withdraw", { scope: scopeOf(edit) }, m.done.withdraw) : setAsked({ verb, edit }));

  if (!rule.data) return rule.error ? <Failed error={rule.error} again={rule.reload} /> : <Loading />;
  const data = rule.data;
  return (
    <>
      <p class="back"><Link to="/rules">← {m.title}</Link></p>
      <div class="title"><h1>{inWords(data.title)}</h1><p class="quiet">{data.id} · {m.version} {data.version}</p></div>
      <div role="alert">{error && <p class="note bad">{error}</p>}</div>
      <Card title={m.what} id="what">
        <p>{inWords(data.text)}</p>
        <h3>{m.clears}</h3>
        <p>{inWords(data.clears)}</p>
        <p class="quiet small">{m.guideline}：{data.guideline}</p>
      </Card>
      <Numbers rule={data} />
      <Change rule={data} busy={busy} attempt={setTrial} save={(body) => change("PUT", "", body, m.saved)} />
      <Rehearsal rule={data} trial={trial} />
      <Versions rule={data} act={act} attempt={setTrial} />
      {asked && (
        <Dialog
          title={asked.verb === "approve" ? m.confirmApprove : m.confirmRollback} submit={asked.verb === "approve" ? m.approve : m.rollback} busy={busy} onClose={() => setAsked(null)}
          onSubmit={() => void change("POST", `/${asked.verb}`, { scope: scopeOf(asked.edit) }, m.done[asked.verb])}
        >
          <p><strong>{forWhom(asked.edit.scope)}</strong></p>
          {asked.verb === "approve" && <ul class="bare">{differences(data, asked.edit).map((line) => <li key={line}>{line}</li>)}</ul>}
          <p>{asked.verb === "approve" ? m.confirmApproveText : m.confirmRollbackText}</p>
        </Dialog>
      )}
    </>
  );
}
