// Open-ended JSON of the evidence as text: numbers short, pairs as "name: value", objects with a language in ours.
import type { Doubt } from "../../core/types";
import { lang, t, word } from "../../i18n";

/** Any JSON value in words. */
export function plain(value: unknown): string {
  if (value === null || value === undefined) return "–";
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : String(Math.round(value * 100) / 100);
  if (typeof value === "boolean") return value ? "✓" : "✗";
  if (typeof value === "string") return looksJson(value) ?? value;
  if (Array.isArray(value)) return value.map(plain).join(t.value.comma);
  const o = value as Record<string, unknown>;
  const own = o[lang.value] ?? (lang.value === "en" ? undefined : (o["zh"] ?? o["zh_cn"] ?? o["zhCn"]));
  if (typeof own === "string") return own;
  if ("text" in o && typeof o["text"] === "string") return o["text"];
  if ("value" in o) return [plain(o["value"]), typeof o["unit"] === "string" ? (t.value.units[o["unit"]] ?? o["unit"]) : ""].filter(Boolean).join(" ");
  return Object.entries(o).filter(([, v]) => v !== null).map(([k, v]) => `${readable(k)}: ${plain(v)}`).join(" · ");
}

function looksJson(text: string): string | null {
  if (!text.startsWith("{") && !text.startsWith("[")) return null;
  try {
    return plain(JSON.parse(text) as unknown);
  } catch {
    return null;
  }
}

/** A number's name in words; an unknown `homeSystolic` or `home_systolic` is taken apart. */
export const readable = (key: string): string => t.value.numbers[key] ?? key.replaceAll("_", " ").replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();

export interface Fact {
  name: string;
  value: string;
  source: string;
}

/** A map or a list of named values as rows: name, value with unit, where it came from. */
export function facts(value: unknown): Fact[] {
  if (typeof value !== "object" || value === null) return value === undefined || value === null ? [] : [{ name: "", value: plain(value), source: "" }];
  const text = (v: unknown) => (typeof v === "string" ? v : "");
  if (Array.isArray(value)) {
    return value.map((v: unknown) => {
      if (typeof v !== "object" || v === null) return { name: "", value: plain(v), source: "" };
      const o = v as Record<string, unknown>;
      return { name: readable(text(o["name"] ?? o["id"] ?? o["parameter"] ?? o["key"])), value: plain("value" in o ? v : (o["limit"] ?? o["text"] ?? v)), source: text(o["source"] ?? o["from"] ?? o["origin"]) };
    });
  }
  return Object.entries(value as Record<string, unknown>).map(([name, v]) => {
    const o = typeof v === "object" && v !== null ? (v as Record<string, unknown>) : {};
    return { name: readable(name), value: plain(v), source: text(o["source"] ?? o["from"] ?? o["origin"]) };
  });
}

/** What is doubted about a reading, with the numbers that it rests on. */
export function doubtText(d: Doubt): string {
  const places = d.quantity === "glucose" ? 1 : 0;
  return t.value.chart.doubt(word(t.value.numbers, d.quantity), d.mean.toFixed(places), d.distance.toFixed(1), d.readings);
}
