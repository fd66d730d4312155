// Reading something for a page: what there is, what went wrong, and reading it again without blanking the page.
import { useEffect, useRef, useState } from "preact/hooks";
import { Problem } from "./api";

export interface Loaded<T> {
  data: T | null;
  error: unknown;
  loading: boolean;
  reload: () => void;
  set: (data: T) => void;
}

/** Runs `read` whenever `key` changes and on `reload`; an answer that a newer question overtook is dropped. */
export function useLoad<T>(key: string, read: (signal: AbortSignal) => Promise<T>): Loaded<T> {
  const [state, setState] = useState<{ key: string; data: T | null; error: unknown; loading: boolean }>({ key, data: null, error: null, loading: true });
  const latest = useRef(read);
  latest.current = read;
  const running = useRef<AbortController | null>(null);

  const run = () => {
    running.current?.abort();
    const control = new AbortController();
    running.current = control;
    setState((s) => (s.key === key ? { ...s, loading: true } : { key, data: null, error: null, loading: true }));
    latest.current(control.signal).then(
      (data) => !control.signal.aborted && setState({ key, data, error: null, loading: false }),
      (error: unknown) => !control.signal.aborted && setState((s) => ({ ...s, error, loading: false })),
    );
  };
  useEffect(() => {
    run();
    return () => running.current?.abort();
  }, [key]);

  const fresh = state.key === key;
  return {
    data: fresh ? state.data : null, error: fresh ? state.error : null, loading: state.loading || !fresh, reload: run,
    set: (data) => setState({ key, data, error: null, loading: false }),
  };
}

/** 403 or 404: this page is not for this caller. */
export const isForbidden = (error: unknown): boolean => error instanceof Problem && error.status === 403;
export const isMissing = (error: unknown): boolean => error instanceof Problem && error.status === 404;
