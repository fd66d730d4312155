// Other numbers for a rule: to be tried on the past, and saved as a draft that somebody else signs.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { zone } from "../../core/clock";
import { ms, offsetMinutes } from "../../core/format";
import { t, word } from "../../i18n";
import { Card } from "../../ui/basics";
import { isTechnical, nameOf, type Parameter, type RuleView } from "./model";
import type { Trial } from "./Rehearsal";

interface Props {
  rule: RuleView;
  busy: boolean;
  attempt: (trial: Trial) => void;
  save: (body: object) => Promise<boolean>;
}

/** Text of a `datetime-local` field in the site's zone; none when empty. */
function moment(text: string): string | undefined {
  const local = ms(text && `${text}Z`);
  return Number.isNaN(local) ? undefined : new Date(local - offsetMinutes(local, zone.value) * 60_000).toISOString();
}

export function Change({ rule, busy, attempt, save }: Props): JSX.Element {
  const m = t.value.rules;
  const { may } = rule;
  const [place, setPlace] = useState(may.draft ? "" : (may.places[0]?.organisationId ?? ""));
  const [tag, setTag] = useState("");
  const [from, setFrom] = useState("");
  const [note, setNote] = useState("");
  const [changed, setChanged] = useState<Record<string, string>>({});
  const scoped = place !== "" || tag !== "";
  const drafts = may.draft || may.places.length > 0;

  const own = rule.values.find((e) => (e.scope.organisationId ?? "") === place && (e.scope.tag ?? "") === tag)?.content?.parameters ?? {};
  const present = (p: Parameter): number => own[p.name] ?? p.default;
  const open = rule.parameters.filter((p) => !scoped || p.owner !== "platform");
  const values: Record<string, number> = {};
  for (const p of open) {
    const text = changed[p.name];
    const value = text === undefined || text === "" ? present(p) : Number(text);
    if (value !== present(p) || (scoped && p.name in own)) values[p.name] = value;
  }
  const some = open.some((p) => values[p.name] !== undefined && values[p.name] !== present(p));
  const scope = { ...(place ? { organisationId: place } : {}), ...(tag ? { tag } : {}) };

  const field = (p: Parameter) => (
    <label key={p.name}>
      {nameOf(rule.id, p.name)} <span class="small">({[word(t.value.units, p.unit), `${p.min}–${p.max}`].filter(Boolean).join(" ")})</span>
      <input type="number" step="any" min={p.min} max={p.max} value={changed[p.name] ?? String(Math.round(present(p) * 1000) / 1000)} onInput={(e) => setChanged({ ...changed, [p.name]: e.currentTarget.value })} />
    </label>
  );
  const [plain, technical] = [open.filter((p) => !isTechnical(p)), open.filter(isTechnical)];
  if (rule.parameters.length === 0) return <></>;
  return (
    <Card title={m.change} id="change">
      <p class="quiet small">{drafts ? m.changeHint : m.mayNot}</p>
      <form onSubmit={(e) => {
        e.preventDefault();
        const at = moment(from);
        void save({ parameters: values, note, ...(scoped ? { scope } : {}), ...(at ? { effectiveFrom: at } : {}) }).then((done) => done && setChanged({}));
      }}>
        {drafts && (
          <div class="filters">
            <label>{m.forWhom}
              <select value={place} onChange={(e) => setPlace(e.currentTarget.value)}>
                {may.draft && <option value="">{m.everybody}</option>}
                {may.places.map((p) => <option key={p.organisationId} value={p.organisationId}>{p.name}</option>)}
              </select>
            </label>
            <label>{m.tagLabel}<input value={tag} maxLength={100} onInput={(e) => setTag(e.currentTarget.value.trim())} /></label>
          </div>
        )}
        <div class="filters">{plain.map(field)}</div>
        {technical.length > 0 && <details><summary>{m.technical}</summary><div class="filters">{technical.map(field)}</div></details>}
        {open.length === 0 && <p class="quiet">{m.nothingHere}</p>}
        {drafts && (
          <div class="filters">
            <label>{m.from}<input type="datetime-local" value={from} onInput={(e) => setFrom(e.currentTarget.value)} /></label>
            <label class="grow">{m.note}<input value={note} maxLength={2000} onInput={(e) => setNote(e.currentTarget.value)} /></label>
          </div>
        )}
        <p class="row">
          <button type="button" onClick={() => attempt({ body: { parameters: { [rule.id]: values } }, scope: { organisationId: place || null, organisation: null, tag: tag || null } })}>{m.rehearse}</button>
          {drafts && <button type="submit" class="primary" disabled={busy || !some}>{m.saveDraft}</button>}
          {!some && <span class="quiet small">{m.noChange}</span>}
        </p>
      </form>
    </Card>
  );
}
