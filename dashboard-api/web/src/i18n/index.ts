// Which language: the address's `?lang=`, else the user's own, else the browser's, else Chinese.
import { computed, effect } from "@preact/signals";
import { session } from "../core/api";
import { place } from "../core/router";
import { en } from "./en";
import { type Messages, type Words, zh } from "./zh";

export type Lang = "zh-CN" | "en";

function known(text: string | null | undefined): Lang | null {
  const low = text?.toLowerCase() ?? "";
  if (low.startsWith("zh")) return "zh-CN";
  return low.startsWith("en") ? "en" : null;
}

/** The language of the pages. */
export const lang = computed<Lang>(() => {
  const asked = known(place.value.query.get("lang")) ?? known(session.value?.user.locale);
  return asked ?? navigator.languages.map(known).find((l) => l !== null) ?? "zh-CN";
});

/** The catalogue in force. */
export const t = computed<Messages>(() => (lang.value === "en" ? en : zh));

/** A code in words; one that nobody knows is shown as it is, readable. */
export function word(words: Words, code: string | null | undefined): string {
  if (!code) return "";
  return words[code] ?? code.replaceAll("_", " ");
}

effect(() => {
  document.documentElement.lang = lang.value;
});
