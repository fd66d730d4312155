// Readings as the charts need them: one canonical unit, one moment, used or left out and why. Pure.
import { hourOf, ms } from "../core/format";
import type { Plan, Reading } from "../core/types";

export interface Targets {
  systolic: number;
  diastolic: number;
  fastingLow: number;
  fastingHigh: number;
  postMealHigh: number;
  /** Members that the plan does not set. */
  defaults: ReadonlySet<string>;
}

/** The plan's targets; the usual ones at home where it is silent. */
export function targetsOf(plan: Plan | null | undefined): Targets {
  const t = plan?.targets ?? {};
  const standard = { homeSystolic: 135, homeDiastolic: 85, fastingLow: 4.4, fastingHigh: 7.0, postMealHigh: 10.0 };
  const has = (key: keyof typeof standard) => typeof t[key] === "number";
  const value = (key: keyof typeof standard) => t[key] ?? standard[key];
  return {
    systolic: value("homeSystolic"), diastolic: value("homeDiastolic"), fastingLow: value("fastingLow"), fastingHigh: value("fastingHigh"), postMealHigh: value("postMealHigh"),
    defaults: new Set((Object.keys(standard) as (keyof typeof standard)[]).filter((k) => !has(k))),
  };
}

interface Base {
  reading: Reading;
  at: number;
  /** Counts in means. */
  used: boolean;
  /** The time is that of receipt. */
  uncertain: boolean;
}

export interface Pressure extends Base {
  systolic: number;
  diastolic: number;
  pulse: number | null;
  part: "morning" | "evening" | "other";
  irregular: boolean;
}

export interface Glucose extends Base {
  /** mmol/L; null beyond the meter's range. */
  value: number | null;
  beyond: "HI" | "LO" | null;
  slot: "fasting" | "post" | "other";
}

const KPA = 7.50062;
const MG = 18.0156;

/** Why a reading is left out: its marks, or the plain word. */
export function marksOf(r: Reading): string[] {
  const marks = [...new Set([...(r.status ?? []), ...(r.flags ?? [])])];
  return marks.length === 0 && r.result && r.result !== "stored" ? [r.result] : marks;
}

const base = (r: Reading, at: number): Base => ({ reading: r, at, used: (r.result ?? "stored") === "stored", uncertain: r.timeQuality === "received" });

/** Blood pressure in mmHg, ascending. */
export function pressures(readings: readonly Reading[], zone: string): Pressure[] {
  const out: Pressure[] = [];
  for (const r of readings) {
    const at = ms(r.measuredAt);
    if (r.kind !== "blood_pressure" || typeof r.systolic !== "number" || typeof r.diastolic !== "number" || Number.isNaN(at)) continue;
    const factor = r.unit === "kPa" ? KPA : 1;
    const hour = hourOf(at, zone);
    out.push({
      ...base(r, at), systolic: r.systolic * factor, diastolic: r.diastolic * factor, pulse: r.pulse ?? null,
      part: hour >= 4 && hour < 12 ? "morning" : hour >= 16 ? "evening" : "other", irregular: r.status?.includes("irregular_pulse") ?? false,
    });
  }
  return out.sort((a, b) => a.at - b.at);
}

/** Glucose in mmol/L, ascending. HI and LO are used: the rules see them. */
export function glucoses(readings: readonly Reading[]): Glucose[] {
  const out: Glucose[] = [];
  for (const r of readings) {
    const at = ms(r.measuredAt);
    const beyond = r.glucose === "HI" || r.glucose === "LO" ? r.glucose : null;
    if (r.kind !== "blood_glucose" || (beyond === null && typeof r.glucose !== "number") || Number.isNaN(at)) continue;
    const value = typeof r.glucose === "number" ? (r.unit === "mg/dL" ? r.glucose / MG : r.glucose) : null;
    const slot = r.meal === "fasting" ? "fasting" : r.meal === "after_meal" ? "post" : "other";
    const b = base(r, at);
    out.push({ ...b, used: b.used || (beyond !== null && r.result !== "excluded"), value, beyond, slot });
  }
  return out.sort((a, b) => a.at - b.at);
}

export const mean = (xs: readonly number[]): number => xs.reduce((a, b) => a + b, 0) / xs.length;

/** Standard deviation of a sample; 0 for fewer than two. */
export function deviation(xs: readonly number[]): number {
  if (xs.length < 2) return 0;
  const m = mean(xs);
  return Math.sqrt(xs.reduce((a, x) => a + (x - m) ** 2, 0) / (xs.length - 1));
}

/** How many were left out for which reason, most first. */
export function leftOut(points: readonly Base[]): [string, number][] {
  const counts = new Map<string, number>();
  // A doubt leaves nothing out.
  const why = (r: Reading) => marksOf(r).filter((mark) => mark !== "personal_outlier");
  for (const p of points) if (!p.used) for (const mark of why(p.reading)) counts.set(mark, (counts.get(mark) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1]);
}

/** A reading's value as text, in the unit that was measured. */
export function valueText(r: Partial<Reading>): string {
  if (r.kind === "blood_pressure" || typeof r.systolic === "number") return `${r.systolic ?? "–"}/${r.diastolic ?? "–"} ${r.unit ?? "mmHg"}`;
  const digits = typeof r.glucose === "number" && r.unit !== "mg/dL" ? r.glucose.toFixed(1) : String(r.glucose ?? "–");
  return `${digits} ${r.unit ?? "mmol/L"}`;
}
