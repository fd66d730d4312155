// Axes: where a moment and a value lie on the paper, and where their ticks stand. Pure.
import { day, midnight, month } from "../core/format";
import type { Lang } from "../i18n";

export interface Tick {
  at: number;
  label: string;
}

const DAY = 86_400_000;
const STEPS = [1, 2, 3, 7, 14, 30, 61, 91, 182, 365, 730, 1826];

/** Ticks on local midnights, at most one for every `space` pixels. */
export function timeTicks(from: number, to: number, width: number, lang: Lang, zone: string, space = 78): Tick[] {
  const days = (to - from) / DAY;
  const most = Math.max(2, Math.floor(width / space));
  const step = STEPS.find((s) => days / s <= most) ?? 3652;
  const ticks: Tick[] = [];
  let at = midnight(from, zone);
  if (at < from) at = midnight(at + 1.5 * DAY, zone);
  while (at <= to && ticks.length < 60) {
    ticks.push({ at, label: step >= 61 ? month(at, lang, zone) : day(at, lang, zone) });
    at = midnight(at + (step + 0.5) * DAY, zone);
  }
  return ticks;
}

/** A function from one interval onto another. */
export function linear(from: number, to: number, a: number, b: number): (x: number) => number {
  const slope = to === from ? 0 : (b - a) / (to - from);
  return (x) => a + (x - from) * slope;
}

/** Multiples of `step` within an interval. */
export function valueTicks(low: number, high: number, step: number): number[] {
  const ticks: number[] = [];
  for (let v = Math.ceil(low / step) * step; v <= high + 1e-9; v += step) ticks.push(v);
  return ticks;
}

/** Index of the point nearest to a moment; points ascend. -1 when there is none. */
export function nearest(points: readonly { at: number }[], at: number): number {
  let low = 0;
  let high = points.length;
  while (low < high) {
    const mid = (low + high) >> 1;
    if ((points[mid]?.at ?? 0) < at) low = mid + 1;
    else high = mid;
  }
  const [before, after] = [points[low - 1], points[low]];
  if (!before) return after ? 0 : -1;
  return after && after.at - at < at - before.at ? low : low - 1;
}

const n = (x: number) => Math.round(x * 10) / 10;

/** Outlines to collect in one path: thousands of marks stay one element. */
export const mark = {
  line: (x: number, a: number, b: number) => `M${n(x)} ${n(a)}V${n(b)}`,
  circle: (x: number, y: number, r: number) => `M${n(x - r)} ${n(y)}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`,
  diamond: (x: number, y: number, r: number) => `M${n(x)} ${n(y - r)}l${r} ${r}l${-r} ${r}l${-r} ${-r}z`,
  square: (x: number, y: number, r: number) => `M${n(x - r)} ${n(y - r)}h${2 * r}v${2 * r}h${-2 * r}z`,
  up: (x: number, y: number, r: number) => `M${n(x)} ${n(y - r)}l${r} ${2 * r}h${-2 * r}z`,
  down: (x: number, y: number, r: number) => `M${n(x)} ${n(y + r)}l${r} ${-2 * r}h${-2 * r}z`,
  across: (x: number, y: number, r: number) => `M${n(x - r)} ${n(y)}h${2 * r}`,
};
