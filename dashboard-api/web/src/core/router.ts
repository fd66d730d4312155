// Addresses: history routing without a library. `?lang=` stays in the address while one moves about, because the
// address alone decides the language that the reader asked for; nothing is stored.
import { signal } from "@preact/signals";

export interface Place {
  path: string;
  query: URLSearchParams;
}

const read = (): Place => ({ path: location.pathname, query: new URLSearchParams(location.search) });

/** Where we are. */
export const place = signal<Place>(read());

/** `to` with the reader's `lang` carried on. */
export function href(to: string): string {
  const lang = place.value.query.get("lang");
  const url = new URL(to, location.origin);
  if (lang && !url.searchParams.has("lang")) url.searchParams.set("lang", lang);
  return url.pathname + url.search;
}

/** Goes to an address of this site. */
export function go(to: string, options: { replace?: boolean } = {}): void {
  const target = href(to);
  if (options.replace) history.replaceState(null, "", target);
  else history.pushState(null, "", target);
  place.value = read();
  if (!options.replace) scrollTo(0, 0);
}

/** Replaces one parameter of the present address, without a step in the history. */
export function setQuery(key: string, value: string | null): void {
  const url = new URL(location.href);
  if (value === null || value === "") url.searchParams.delete(key);
  else url.searchParams.set(key, value);
  history.replaceState(null, "", url.pathname + url.search);
  place.value = read();
}

/** An address of this site, or "/" for anything else: `next` must never lead away. */
export function ownAddress(text: string | null): string | null {
  if (!text?.startsWith("/") || text.startsWith("//") || text.includes("\\")) return null;
  return new URL(text, location.origin).origin === location.origin ? text : null;
}

addEventListener("popstate", () => {
  place.value = read();
});
