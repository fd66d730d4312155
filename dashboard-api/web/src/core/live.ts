// The live stream: one EventSource, `reading`, `alert`, `pipeline` and `resync` handed to whoever listens. Events carry
// ids, so a listener reads again what it shows. While the stream is down, listeners are asked to read every 30 s.
import { effect, signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { session } from "./api";
import { noteTimes } from "./clock";

export type LiveKind = "reading" | "alert" | "pipeline" | "resync";
export interface LiveEvent {
  kind: LiveKind;
  /** The alert's, reading's or nothing's id. */
  id?: string;
  patientId?: string;
}
type Listener = (event: LiveEvent) => void;

/** `live` while the stream is open, `lost` after it broke, `off` without a session. */
export const stream = signal<"off" | "live" | "lost">("off");

const listeners = new Set<Listener>();
const RETRY_FIRST = 1000;
const RETRY_MOST = 30_000;
const BURST = 60;
let source: EventSource | null = null;
let retry: ReturnType<typeof setTimeout> | undefined;
let wait = RETRY_FIRST;
let broke = false;

function tell(event: LiveEvent): void {
  for (const listener of [...listeners]) listener(event);
}

function parse(kind: LiveKind, data: string): LiveEvent {
  try {
    const json: unknown = JSON.parse(data);
    if (typeof json !== "object" || json === null) return { kind };
    noteTimes(json);
    const o = json as Record<string, unknown>;
    const text = (...keys: string[]) => keys.map((k) => o[k]).find((v): v is string => typeof v === "string");
    const id = text("id", "alertId", "readingId");
    const patientId = text("patientId", "patient");
    return { kind, ...(id ? { id } : {}), ...(patientId ? { patientId } : {}) };
  } catch {
    return { kind };
  }
}

function open(): void {
  source?.close();
  const opened = new EventSource("/api/v1/stream", { withCredentials: true });
  source = opened;
  for (const kind of ["reading", "alert", "pipeline", "resync"] as const) {
    opened.addEventListener(kind, (e) => tell(parse(kind, (e as MessageEvent<string>).data)));
  }
  opened.onopen = () => {
    stream.value = "live";
    wait = RETRY_FIRST;
    if (broke) tell({ kind: "resync" }); // something may have passed while it was down
    broke = false;
  };
  opened.onerror = () => {
    stream.value = "lost";
    broke = true;
    if (opened.readyState !== EventSource.CLOSED) return; // the browser tries again by itself, with Last-Event-ID
    retry = setTimeout(open, wait);
    wait = Math.min(wait * 2, RETRY_MOST);
  };
}

function close(): void {
  clearTimeout(retry);
  source?.close();
  source = null;
  stream.value = "off";
}

let listening: string | null = null;
effect(() => {
  const who = session.value?.user.id ?? null;
  if (who === listening) return;
  listening = who;
  if (who) open();
  else close();
});

setInterval(() => {
  if (stream.value === "lost") tell({ kind: "resync" });
}, 30_000);

/** Calls `handler` at every event while the component lives. */
export function useLive(handler: Listener): void {
  const latest = useRef(handler);
  latest.current = handler;
  useEffect(() => {
    const listener: Listener = (event) => latest.current(event);
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }, []);
}

/** Runs `work` shortly after a call, so that a burst counts as one, and at least `apart` ms after the last time. */
export function useGathered(work: () => void, apart = 1000): () => void {
  const latest = useRef(work);
  latest.current = work;
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const last = useRef(Number.NEGATIVE_INFINITY);
  useEffect(() => () => clearTimeout(timer.current), []);
  return () => {
    if (timer.current !== undefined) return;
    const wait = Math.max(BURST, last.current + apart - performance.now());
    timer.current = setTimeout(() => {
      timer.current = undefined;
      last.current = performance.now();
      latest.current();
    }, wait);
  };
}
