// What both charts share: the paper's width, axes, the pointer or arrow keys that pick one reading, and the summary that
// a screen reader hears instead of the drawing.
import type { ComponentChildren, JSX } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { zone } from "../core/clock";
import { lang, t } from "../i18n";
import { linear, nearest, timeTicks, valueTicks } from "./scale";

export interface Paper {
  x: (at: number) => number;
  y: (value: number) => number;
  left: number;
  right: number;
  top: number;
  bottom: number;
}

interface Props {
  from: number;
  to: number;
  low: number;
  high: number;
  step: number;
  unit: string;
  summary: string;
  points: readonly { at: number }[];
  /** Height kept free below the plot, for a strip. */
  strip?: number;
  describe: (index: number) => string;
  children: (paper: Paper) => ComponentChildren;
  /** Where the picked point's ring goes. */
  ring: (index: number, paper: Paper) => number;
}

const HEIGHT = 270;

export function Frame(props: Props): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(640);
  const [picked, setPicked] = useState(-1);
  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const measure = () => setWidth(Math.max(260, Math.floor(element.clientWidth)));
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  const strip = props.strip ?? 0;
  const height = HEIGHT + strip;
  const paper: Paper = { left: 40, right: width - 12, top: 14, bottom: HEIGHT - 26, x: linear(props.from, props.to, 48, width - 20), y: linear(props.low, props.high, HEIGHT - 26, 14) };
  const last = props.points.length - 1;
  const index = Math.min(picked, last);
  const point = props.points[index];

  const pick = (event: PointerEvent) => {
    const place = (event.currentTarget as Element).getBoundingClientRect();
    const at = linear(48, width - 20, props.from, props.to)(((event.clientX - place.left) * width) / place.width);
    setPicked(nearest(props.points, at));
  };
  const keys = (event: KeyboardEvent) => {
    const next: Record<string, number> = { ArrowLeft: (index < 0 ? last + 1 : index) - 1, ArrowRight: index + 1, Home: 0, End: last };
    const to = next[event.key];
    if (to === undefined || last < 0) return;
    event.preventDefault();
    setPicked(Math.max(0, Math.min(last, to)));
  };

  return (
    <div class="chart" ref={box}>
      <div
        class="chart-browse" tabIndex={last < 0 ? -1 : 0} role="slider" aria-label={t.value.chart.browse} aria-orientation="horizontal"
        aria-valuemin={0} aria-valuemax={Math.max(0, last)} aria-valuenow={Math.max(0, index)} aria-valuetext={index < 0 ? props.summary : props.describe(index)}
        onKeyDown={keys} onPointerMove={pick} onPointerDown={pick} onPointerLeave={(e) => e.pointerType === "mouse" && setPicked(-1)}
      >
        <svg viewBox={`0 0 ${width} ${height}`} width={width} height={height} role="img" aria-label={props.summary}>
          {valueTicks(props.low, props.high, props.step).map((v) => (
            <g key={v}>
              <line class="grid" x1={paper.left} x2={paper.right} y1={paper.y(v)} y2={paper.y(v)} />
              <text class="tick" x={paper.left - 6} y={paper.y(v) + 4} text-anchor="end">{v}</text>
            </g>
          ))}
          {timeTicks(props.from, props.to, width - 60, lang.value, zone.value).map((tick) => (
            <g key={tick.at}>
              <line class="grid faint" x1={paper.x(tick.at)} x2={paper.x(tick.at)} y1={paper.top} y2={HEIGHT - 26 + strip} />
              <text class="tick" x={Math.min(paper.x(tick.at), paper.right - 18)} y={height - 8} text-anchor="middle">{tick.label}</text>
            </g>
          ))}
          {props.children(paper)}
          {point && (
            <g class="picked">
              <line x1={paper.x(point.at)} x2={paper.x(point.at)} y1={paper.top} y2={HEIGHT - 26 + strip} />
              <circle cx={paper.x(point.at)} cy={props.ring(index, paper)} r="7" />
            </g>
          )}
        </svg>
      </div>
      <p class="chart-readout" aria-hidden="true">{point ? props.describe(index) : " "}</p>
    </div>
  );
}

/** A legend's entry: the mark as drawn, and its word. */
export function Key({ d, kind, children }: { d: string; kind: string; children: ComponentChildren }): JSX.Element {
  return (
    <span class="key">
      <svg width="16" height="16" viewBox="0 0 16 16" aria-hidden="true"><path class={kind} d={d} /></svg>
      {children}
    </span>
  );
}
