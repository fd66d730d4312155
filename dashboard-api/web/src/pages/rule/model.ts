// What the pages about rules read, and what they put into words.
import { dateTime, ms } from "../../core/format";
import { now, zone } from "../../core/clock";
import { lang, t, word } from "../../i18n";

export interface Both { "zh-CN": string; en: string }
export interface Parameter { name: string; unit: string; default: number; min: number; max: number; owner: "platform" | "station" | "patient"; source: string }
export interface Card { id: string; version: number; parameter: Parameter[]; [slot: string]: unknown }
export interface Scope { organisationId: string | null; organisation: string | null; tag: string | null }
export interface Content { card?: Card; parameters?: Record<string, number> }

export interface Edit {
  scope: Scope;
  version: number | null;
  state: "draft" | "approved" | "withdrawn";
  content: Content | null;
  note: string;
  author: string | null;
  draftedAt: string;
  proposedFrom: string | null;
  approver: string | null;
  approvedAt: string | null;
  effectiveFrom: string | null;
  rollback: boolean;
  own: boolean;
  mayApprove: boolean;
  mayWithdraw: boolean;
  mayUndo: boolean;
}

export interface RuleView {
  id: string;
  version: number;
  revision: number;
  kind: string;
  guideline: string;
  from: string;
  title: Both;
  text: Both;
  clears: Both;
  parameters: Parameter[];
  card: Card;
  values: Edit[];
  drafts: Edit[];
  scheduled: Edit[];
  history?: Edit[];
  may: { draft: boolean; approve: boolean; places: { organisationId: string; name: string }[] };
}

export interface Counts { findings: number; told: number; patients: number; perWeek: number; perPatientMonth: number; critical: number; urgent: number; routine: number }
export interface Report {
  patients: { inScope: number; judged: number; complete: boolean };
  rules: { ruleId: string; proposed: boolean; did: Counts; would: Counts; same: number; changed: number; new: number; gone: number }[];
  weeks: { week: string; did: number; would: number }[];
  examples: { change: string; ruleId: string; patientId: string; effectiveAt: string; did: string | null; would: string | null; evidence: { limit?: string; numbers?: Record<string, number> } }[];
  says: Both;
}

/** A text in the reader's language. */
export const inWords = (text: Both): string => text[lang.value === "en" ? "en" : "zh-CN"];

/** What a number of a card is called. */
export function nameOf(rule: string, name: string): string {
  const words = t.value.rules.parameters;
  return words[`${rule}.${name}`] ?? words[name] ?? name;
}

export const isTechnical = (p: Parameter): boolean => p.owner === "platform";

/** A number with its unit; hours that are whole days are said as days. */
export function amount(value: number, unit: string): string {
  if (unit === "ratio") return String(Math.round(value * 100) / 100);
  if (unit === "h" && value >= 48 && value % 24 === 0) return `${value / 24} ${word(t.value.units, "d")}`;
  const name = unit === "per_min" ? t.value.chart.pulseUnit : unit === "mmHg2" ? "mmHg²" : word(t.value.units, unit);
  return `${Math.round(value * 100) / 100} ${name}`.trim();
}

export const moment = (text: string | null): string => (text ? dateTime(ms(text), now(), lang.value, zone.value) : "–");

/** For whom an edit holds. */
export function forWhom(scope: Scope): string {
  const m = t.value.rules;
  const place = scope.organisation ?? scope.organisationId;
  if (scope.tag) return place ? m.tagAt(scope.tag, place) : m.tag(scope.tag);
  return place ? m.place(place) : m.everybody;
}

/** What an edit says that is not in force, each in a line. */
export function differences(rule: RuleView, edit: Edit): string[] {
  const m = t.value.rules;
  const content = edit.content;
  if (!content) return [m.installed];
  const own = rule.values.find((v) => v.scope.organisationId === edit.scope.organisationId && v.scope.tag === edit.scope.tag)?.content?.parameters;
  const line = (name: string, value: number): string[] => {
    const p = rule.parameters.find((q) => q.name === name);
    const before = own?.[name] ?? p?.default;
    return before === value || !p ? [] : [m.changes(nameOf(rule.id, name), before === undefined ? "–" : amount(before, p.unit), amount(value, p.unit))];
  };
  const numbers = content.card ? content.card.parameter.map((p) => [p.name, p.default] as const) : Object.entries(content.parameters ?? {});
  const lines = numbers.flatMap(([name, value]) => line(name, value));
  const card = content.card;
  const retold = card && ["title", "text", "clears", "guideline"].some((slot) => JSON.stringify(card[slot]) !== JSON.stringify(rule.card[slot]));
  if (retold) lines.push(m.textChanged);
  return lines.length > 0 ? lines : [m.nothingChanged];
}
