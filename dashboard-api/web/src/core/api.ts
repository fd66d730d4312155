// The one door to /api/v1: same origin, the session in an HttpOnly cookie, problems as errors. Stores nothing.
import { signal } from "@preact/signals";
import { clockKnown, noteRead, noteTimes } from "./clock";
import { go, place } from "./router";
import type { Page, Session } from "./types";

/** Who is logged in: undefined while asking, null when nobody is. */
export const session = signal<Session | null | undefined>(undefined);
/** The last call did not reach the service. */
export const unreachable = signal(false);

/** An answer that is not a success (RFC 9457). */
export class Problem extends Error {
  constructor(readonly status: number, readonly title: string, readonly detail: string, readonly state?: string) {
    super(detail || title || String(status));
  }
}

interface Options {
  signal?: AbortSignal;
  /** For actions on alerts: a repeat with the same key has no second effect. */
  key?: string;
  /** Another kind of answer than JSON. */
  accept?: string;
  /** The version that the caller saw: a later one refuses. */
  match?: string;
  /** 401 is an answer here, not the end of the session. */
  login?: boolean;
}

/** A key for one intent of the user. */
export function newKey(): string {
  if (typeof crypto.randomUUID === "function") return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
}

/** Leads to the login page, and from there back to where one was. */
export function toLogin(): void {
  session.value = null;
  if (place.value.path === "/login") return;
  const { path, query } = place.value;
  const back = new URLSearchParams(query);
  back.delete("lang");
  const text = back.size > 0 ? `${path}?${back}` : path;
  go(text === "/" ? "/login" : `/login?next=${encodeURIComponent(text)}`, { replace: true });
}

async function send(method: string, path: string, body: unknown, options: Options): Promise<Response> {
  const headers: Record<string, string> = { accept: options.accept ?? "application/json" };
  if (body !== undefined) headers["content-type"] = "application/json";
  if (options.key) headers["idempotency-key"] = options.key;
  if (options.match) headers["if-match"] = options.match;
  try {
    const answer = await fetch(`/api/v1${path}`, {
      method,
      headers,
      credentials: "same-origin",
      cache: "no-store",
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(options.signal ? { signal: options.signal } : {}),
    });
    unreachable.value = false;
    return answer;
  } catch (error) {
    if (!options.signal?.aborted) unreachable.value = true;
    throw error;
  }
}

/** One call; a 401 leads to the login page. */
export async function call<T>(method: string, path: string, body?: unknown, options: Options = {}): Promise<T> {
  const answer = await send(method, path, body, options);
  const text = await answer.text();
  let json: unknown = null;
  try {
    json = text ? JSON.parse(text) : null;
  } catch {
    json = null;
  }
  if (answer.ok) {
    noteTimes(json);
    return json as T;
  }
  if (answer.status === 401 && !options.login) toLogin();
  const problem = (json ?? {}) as { title?: string; detail?: string; state?: string };
  throw new Problem(answer.status, problem.title ?? "", problem.detail ?? "", problem.state);
}

/** A long piece of work that tells how far it is: every line of the answer as it comes. */
export async function follow<T>(path: string, body: unknown, signal: AbortSignal, line: (told: T) => void): Promise<void> {
  const answer = await send("POST", path, body, { signal, accept: "application/x-ndjson" });
  if (!answer.ok || !answer.body) {
    if (answer.status === 401) toLogin();
    const problem = (await answer.json().catch(() => ({}))) as { title?: string; detail?: string };
    throw new Problem(answer.status, problem.title ?? "", problem.detail ?? "");
  }
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (held + value).split("\n");
    held = lines.pop() ?? "";
    lines.filter(Boolean).forEach((text) => line(JSON.parse(text) as T));
  }
}

/** Reads. */
export const get = <T>(path: string, signal?: AbortSignal): Promise<T> => call<T>("GET", path, undefined, signal ? { signal } : {});

/** Reads a list's page. */
export async function getPage<T>(path: string, signal?: AbortSignal): Promise<Page<T>> {
  const page = await get<Page<T>>(path, signal);
  if (!page.asOf) noteRead();
  return { ...page, items: page.items ?? [] };
}

/** Reads a list to its end, or to `cap` items. */
export async function getAll<T>(path: string, cap: number, signal?: AbortSignal): Promise<T[]> {
  const items: T[] = [];
  let cursor: string | null | undefined = null;
  do {
    const page: Page<T> = await getPage<T>(cursor ? `${path}&cursor=${encodeURIComponent(cursor)}` : path, signal);
    items.push(...page.items);
    cursor = page.nextCursor;
  } while (cursor && items.length < cap);
  return items;
}

/** Acts. A press that the network swallowed is sent once more under the same key, so that it counts once. */
export async function act<T>(path: string, body: unknown): Promise<T> {
  const key = newKey();
  try {
    return await call<T>("POST", path, body, { key });
  } catch (error) {
    if (error instanceof Problem) throw error;
    return call<T>("POST", path, body, { key });
  }
}

/** Asks who is logged in. */
export async function loadSession(): Promise<void> {
  try {
    const found = normalise(await call<Session>("GET", "/session", undefined, { login: true }));
    await askTime(found);
    session.value = found;
  } catch (error) {
    if (error instanceof Problem && error.status === 401) toLogin();
    else setTimeout(() => void loadSession(), 3000);
  }
}

/** Logs in; a {@link Problem} with 401 or 429 says why not. */
export async function login(username: string, password: string): Promise<Session> {
  const found = normalise(await call<Session>("POST", "/session", { username, password }, { login: true }));
  await askTime(found);
  session.value = found;
  return found;
}

/** The service's time before the first page is drawn: charts and ages follow it, not this computer's clock. */
async function askTime(found: Session): Promise<void> {
  if (clockKnown.value || found.user.roles.every((r) => r === "ops" || r === "auditor")) return;
  await call("GET", "/patients?limit=1").catch(() => undefined);
}

/** Changes one's own password. */
export async function changePassword(current: string, next: string): Promise<void> {
  await call("POST", "/session/password", { current, new: next });
  const now = session.value;
  if (now) session.value = { ...now, user: { ...now.user, mustChangePassword: false } };
}

/** Logs out here, even when the service cannot be told. */
export async function logout(): Promise<void> {
  try {
    await call("DELETE", "/session", undefined, { login: true });
  } finally {
    session.value = null;
    go("/login");
  }
}

/** `{user: {...}}`, or the user's members at the top. The token is not kept: the cookie is enough. */
function normalise(found: Session & Partial<Session["user"]>): Session {
  const user = found.user ?? (found as unknown as Session["user"]);
  return { user: { ...user, roles: user.roles ?? [] }, ...(found.expiresAt ? { expiresAt: found.expiresAt } : {}), ...(found.timeZone ? { timeZone: found.timeZone } : {}) };
}
