// Numbers, times and ages in the reader's language and the site's zone. Pure: time comes in as an argument.
import type { Lang } from "../i18n";

const formats = new Map<string, Intl.DateTimeFormat>();

function format(lang: Lang, zone: string, key: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const name = `${lang} ${zone} ${key}`;
  let found = formats.get(name);
  if (!found) {
    found = new Intl.DateTimeFormat(lang === "en" ? "en-GB" : "zh-CN", { timeZone: zone, hourCycle: "h23", ...options });
    formats.set(name, found);
  }
  return found;
}

const DAY = 86_400_000;

/** Milliseconds of RFC 3339 text, NaN when it is none. */
export const ms = (text: string | null | undefined): number => (text ? Date.parse(text) : Number.NaN);

/** Day and minute; with the year when it is not that of `now`. */
export function dateTime(at: number, now: number, lang: Lang, zone: string): string {
  if (Number.isNaN(at)) return "–";
  const far = Math.abs(now - at) > 180 * DAY;
  return format(lang, zone, far ? "ydm" : "dm", { ...(far ? { year: "numeric" } : {}), month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" }).format(at);
}

/** The whole time with seconds, for tables and evidence. */
export function exact(at: number, lang: Lang, zone: string): string {
  if (Number.isNaN(at)) return "–";
  return format(lang, zone, "exact", { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit" }).format(at);
}

/** Hour, minute, second. */
export const clockTime = (at: number, lang: Lang, zone: string): string =>
  Number.isNaN(at) ? "–" : format(lang, zone, "hms", { hour: "2-digit", minute: "2-digit", second: "2-digit" }).format(at);

/** A day; with the year where asked. */
export const day = (at: number, lang: Lang, zone: string, year = false): string =>
  format(lang, zone, year ? "yd" : "d", { ...(year ? { year: "numeric" } : {}), month: "short", day: "numeric" }).format(at);

/** A month of a year. */
export const month = (at: number, lang: Lang, zone: string): string => format(lang, zone, "ym", { year: "numeric", month: "short" }).format(at);

/** A weekday's short name. */
export const weekday = (at: number, lang: Lang, zone: string): string => format(lang, zone, "wd", { weekday: "short" }).format(at);

/** How long ago, in the largest fitting unit. */
export function age(at: number, now: number, lang: Lang): string {
  if (Number.isNaN(at)) return "–";
  const seconds = Math.round((at - now) / 1000);
  const size = Math.abs(seconds);
  const relative = new Intl.RelativeTimeFormat(lang, { numeric: "auto", style: "short" });
  if (size < 60) return relative.format(0, "minute");
  if (size < 3600) return relative.format(Math.trunc(seconds / 60), "minute");
  if (size < 48 * 3600) return relative.format(Math.trunc(seconds / 3600), "hour");
  return relative.format(Math.trunc(seconds / 86_400), "day");
}

/** A duration as `9:41` or `2:09:41`; days beyond two of them. */
export function duration(millis: number, lang: Lang): string {
  const s = Math.max(0, Math.floor(Math.abs(millis) / 1000));
  if (s >= 172_800) return lang === "en" ? `${Math.floor(s / 86_400)} days` : `${Math.floor(s / 86_400)} 天`;
  const pad = (n: number) => String(n).padStart(2, "0");
  const [h, m, sec] = [Math.floor(s / 3600), Math.floor((s % 3600) / 60), s % 60];
  return h > 0 ? `${h}:${pad(m)}:${pad(sec)}` : `${m}:${pad(sec)}`;
}

/** Whole years between a day of birth and now. */
export function years(birth: string | null | undefined, now: number): number | null {
  const at = ms(birth);
  if (Number.isNaN(at)) return null;
  const [a, b] = [new Date(at), new Date(now)];
  const before = b.getUTCMonth() < a.getUTCMonth() || (b.getUTCMonth() === a.getUTCMonth() && b.getUTCDate() < a.getUTCDate());
  return b.getUTCFullYear() - a.getUTCFullYear() - (before ? 1 : 0);
}

/** Hides the middle of a phone number. */
export function masked(phone: string): string {
  if (phone.length < 7) return "*".repeat(phone.length);
  return `${phone.slice(0, 3)}****${phone.slice(-4)}`;
}

/** Minutes that a zone is ahead of UTC at a moment. */
export function offsetMinutes(at: number, zone: string): number {
  const key = `${zone} ${Math.floor(at / 3_600_000)}`; // zones change on the hour
  let found = offsets.get(key);
  if (found === undefined) {
    if (offsets.size > 20_000) offsets.clear();
    found = readOffset(at, zone);
    offsets.set(key, found);
  }
  return found;
}

const offsets = new Map<string, number>();

function readOffset(at: number, zone: string): number {
  const parts = format("en", zone, "offset", { year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric" }).formatToParts(at);
  const n = (type: string) => Number(parts.find((p) => p.type === type)?.value ?? 0);
  const local = Date.UTC(n("year"), n("month") - 1, n("day"), n("hour"), n("minute"), n("second"));
  return Math.round((local - Math.floor(at / 1000) * 1000) / 60_000);
}

/** Local hour of the day, 0 to 23. */
export function hourOf(at: number, zone: string): number {
  return new Date(at + offsetMinutes(at, zone) * 60_000).getUTCHours();
}

/** The local day as `2026-03-02`. */
export const dayOf = (at: number, zone: string): string => new Date(at + offsetMinutes(at, zone) * 60_000).toISOString().slice(0, 10);

/** The local midnight at or before a moment. */
export function midnight(at: number, zone: string): number {
  const shift = offsetMinutes(at, zone) * 60_000;
  const start = Math.floor((at + shift) / DAY) * DAY;
  return start - offsetMinutes(start - shift, zone) * 60_000;
}
