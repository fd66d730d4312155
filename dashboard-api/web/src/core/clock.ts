// The server's time as the page knows it. Ages and countdowns follow the service's clock, not the one of a clinic's
// computer: every answer that says "as of" sets it, and between answers it runs on.
import { signal } from "@preact/signals";

/** When the data on this page were read, by the service's clock; null before the first answer. */
export const dataAsOf = signal<string | null>(null);
/** When patients were last evaluated, by the service's clock; null while unknown. */
export const evaluatedAt = signal<string | null>(null);
/** How far evaluation was behind when the service last spoke of both, in milliseconds. */
export const evaluationLag = signal(0);
/** Whether the service has told its time yet. */
export const clockKnown = signal(false);
/** The zone that every time is drawn in. */
export const zone = signal("Asia/Shanghai");
/** Changes every second so that countdowns run. */
export const tick = signal(0);

let base = Date.now();
let since = performance.now();

/** Notes what an answer says about time. */
export function noteTimes(answer: unknown): void {
  if (typeof answer !== "object" || answer === null) return;
  const { asOf, evaluatedAt: evaluated } = answer as { asOf?: unknown; evaluatedAt?: unknown };
  const at = typeof asOf === "string" ? Date.parse(asOf) : Number.NaN;
  if (!Number.isNaN(at)) {
    base = at;
    since = performance.now();
    dataAsOf.value = asOf as string;
    clockKnown.value = true;
  }
  if (typeof evaluated !== "string") return;
  evaluatedAt.value = evaluated;
  if (!Number.isNaN(at)) evaluationLag.value = at - Date.parse(evaluated);
}

/** A page's data were just read and the answer did not say when: the running clock stands in. */
export function noteRead(): void {
  dataAsOf.value = new Date(now()).toISOString();
}

/** Milliseconds since 1970 by the service's clock. */
export function now(): number {
  return base + (performance.now() - since);
}

setInterval(() => {
  if (!document.hidden) tick.value += 1;
}, 1000);
