// Small parts that every page uses: links, severity tags, waiting and failing, the voice of the live region.
import { signal } from "@preact/signals";
import type { ComponentChildren, JSX } from "preact";
import { Problem } from "../core/api";
import { isForbidden, isMissing } from "../core/load";
import { go, href } from "../core/router";
import type { Severity } from "../core/types";
import { t } from "../i18n";

/** A link within the site; other clicks than a plain one stay the browser's. */
export function Link({ to, children, ...rest }: { to: string; children: ComponentChildren; class?: string; "aria-current"?: "page" | undefined; "aria-label"?: string }): JSX.Element {
  const click = (event: MouseEvent) => {
    if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go(to);
  };
  return <a {...rest} href={href(to)} onClick={click}>{children}</a>;
}

/** Drawn, not typed: fonts miss some of these. */
const SHAPES = {
  critical: "M6 1 11.5 11H.5z", urgent: "M6 .5 11.5 6 6 11.5.5 6z", routine: "M1 6a5 5 0 1 0 10 0a5 5 0 1 0-10 0", info: "M1.5 6a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0",
  none: "M2 6h8", nodata: "M2.5 1h7L6 6l3.5 5h-7L6 6z", clock: "M1.5 6a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0M6 3v3l2 1.5",
} as const;
type Shape = keyof typeof SHAPES;
export type Level = Exclude<Shape, "clock">;

export const Sign = ({ shape }: { shape: Shape }): JSX.Element => (
  <svg class={`sign ${shape}`} width="12" height="12" viewBox="0 0 12 12" aria-hidden="true"><path d={SHAPES[shape]} /></svg>
);

/** Severity as shape and word; colour comes last. */
export function Tag({ level }: { level: Level }): JSX.Element {
  return (
    <span class={`tag ${level}`}>
      <Sign shape={level} /> {t.value.severity[level]}
    </span>
  );
}

/** The level of a severity's text; unknown ones are information. */
export const levelOf = (severity: string | null | undefined): Level => (severity === "critical" || severity === "urgent" || severity === "routine" ? severity : "info");

export const rank: Record<Severity, number> = { critical: 3, urgent: 2, routine: 1, info: 0 };

export const Loading = (): JSX.Element => <p class="quiet" role="status">{t.value.loading}</p>;

/** What went wrong, and a way on. */
export function Failed({ error, again }: { error: unknown; again?: () => void }): JSX.Element {
  const text = isMissing(error) ? t.value.notFoundText : isForbidden(error) ? t.value.forbidden : reason(error);
  return (
    <div class="note bad" role="alert">
      <p>{text}</p>
      {again && !isMissing(error) && !isForbidden(error) && <button type="button" onClick={again}>{t.value.again}</button>}
    </div>
  );
}

/** An error as a sentence. */
export function reason(error: unknown): string {
  if (error instanceof Problem && (error.detail || error.title)) return t.value.failed(error.detail || error.title);
  return t.value.failedPlain;
}

const spoken = signal("");

/** Says something through the page's live region, and shows it for a while. */
export function announce(text: string): void {
  spoken.value = "";
  setTimeout(() => (spoken.value = text), 30);
  const said = text;
  setTimeout(() => {
    if (spoken.value === said) spoken.value = "";
  }, 6000);
}

/** The live region; one on every page. */
export const Voice = (): JSX.Element => <div class={spoken.value ? "voice shown" : "voice"} role="status" aria-live="polite">{spoken.value}</div>;

/** A titled section. */
export function Card({ title, children, id, region, class: kind }: { title: string; children: ComponentChildren; id: string; region?: boolean; class?: string }): JSX.Element {
  return (
    <section class={`card ${kind ?? ""}`} {...(region === false ? {} : { "aria-labelledby": id })}>
      <h2 id={id}>{title}</h2>
      {children}
    </section>
  );
}
