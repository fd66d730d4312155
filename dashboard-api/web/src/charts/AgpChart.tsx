// A sensor's day over a fortnight: the median, the middle half and 5 to 95 % of the values by the clock, with the range.
import type { JSX } from "preact";
import type { ProfilePiece } from "../core/summary";
import { t } from "../i18n";
import { linear, valueTicks } from "./scale";

const [WIDTH, HEIGHT] = [640, 220];
const RANGE = [3.9, 10] as const;
/** Fewer values in a half hour bear no percentiles. */
const ENOUGH = 5;

export function AgpChart({ pieces }: { pieces: readonly ProfilePiece[] }): JSX.Element | null {
  const m = t.value.summary;
  const used = pieces.filter((p) => p.count >= ENOUGH);
  if (used.length < 2) return null;
  const high = Math.max(16, ...used.map((p) => p.p95));
  const [x, y] = [linear(0, 24, 40, WIDTH - 12), linear(2, high, HEIGHT - 26, 12)];
  // Each run of half hours that follow one another is one shape: a gap is left open.
  const runs: ProfilePiece[][] = [];
  for (const p of used) {
    const run = runs.at(-1);
    const last = run?.at(-1);
    if (run && last && p.hour - last.hour <= 0.5) run.push(p);
    else runs.push([p]);
  }
  const at = (p: ProfilePiece, value: number) => `${x(p.hour + 0.25).toFixed(1)} ${y(value).toFixed(1)}`;
  const area = (low: (p: ProfilePiece) => number, up: (p: ProfilePiece) => number) =>
    runs.map((run) => `M${run.map((p) => at(p, up(p))).join("L")}L${[...run].reverse().map((p) => at(p, low(p))).join("L")}z`).join("");
  const middle = used[Math.floor(used.length / 2)];
  const values = used.map((p) => p.p50);
  const summary = m.agp(Math.min(...values).toFixed(1), Math.max(...values).toFixed(1), middle ? used.reduce((n, p) => n + p.count, 0) : 0);
  return (
    <div class="chart">
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} width={WIDTH} height={HEIGHT} role="img" aria-label={summary}>
        <rect class="band agp" x={40} width={WIDTH - 52} y={y(RANGE[1])} height={y(RANGE[0]) - y(RANGE[1])} />
        {valueTicks(2, high, 4).map((v) => (
          <g key={v}>
            <line class="grid" x1={40} x2={WIDTH - 12} y1={y(v)} y2={y(v)} />
            <text class="tick" x={34} y={y(v) + 4} text-anchor="end">{v}</text>
          </g>
        ))}
        {[0, 6, 12, 18, 24].map((h) => <text key={h} class="tick" x={x(h)} y={HEIGHT - 8} text-anchor={h === 24 ? "end" : "middle"}>{`${h}:00`}</text>)}
        <path class="agp-wide" d={area((p) => p.p5, (p) => p.p95)} />
        <path class="agp-half" d={area((p) => p.p25, (p) => p.p75)} />
        <path class="agp-median" d={runs.map((run) => `M${run.map((p) => at(p, p.p50)).join("L")}`).join("")} />
      </svg>
      <p class="honesty">{summary}</p>
    </div>
  );
}
