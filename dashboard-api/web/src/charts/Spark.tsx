// The worklist's small trend: systolic or glucose over two weeks with the target as a line. It says how many points it has.
import type { JSX } from "preact";
import type { SparkPoint } from "../core/types";
import { t } from "../i18n";
import { linear, mark } from "./scale";

const [W, H] = [112, 28];
const GAP = 86_400_000 * 2;

interface Dot {
  at: number;
  value: number;
}

/** Bare numbers stand at equal distances; points with a time stand at it. */
function dots(spark: readonly SparkPoint[]): Dot[] {
  const out: Dot[] = [];
  spark.forEach((p, i) => {
    if (typeof p === "number") out.push({ at: i, value: p });
    else if (p) {
      const value = p.value ?? p.systolic ?? (typeof p.glucose === "number" ? p.glucose : null);
      const at = p.at ? Date.parse(p.at) : i;
      if (typeof value === "number") out.push({ at, value });
    }
  });
  return out;
}

export function Spark({ spark }: { spark: readonly SparkPoint[] | undefined }): JSX.Element | null {
  const all = dots(spark ?? []);
  const [first, last] = [all[0], all[all.length - 1]];
  if (!first || !last) return null;
  const timed = first.at > 1e9;
  const target = last.value > 40 ? 135 : 7;
  const values = [...all.map((d) => d.value), target];
  const x = linear(first.at, last.at === first.at ? first.at + 1 : last.at, 4, W - 6);
  const y = linear(Math.min(...values), Math.max(...values), H - 4, 4);
  let d = "";
  all.forEach((p, i) => {
    const before = all[i - 1];
    const gap = !before || (timed && p.at - before.at > GAP) || (!timed && p.at - before.at > 1);
    d += `${gap ? "M" : "L"}${x(p.at).toFixed(1)} ${y(p.value).toFixed(1)}`;
  });
  return (
    <svg class="spark" width={W} height={H} viewBox={`0 0 ${W} ${H}`} role="img" aria-label={t.value.worklist.spark(all.length)}>
      <line class="limit sys" x1="0" x2={W} y1={y(target)} y2={y(target)} />
      <path class="spark-line" d={d} />
      <path class="dot morning" d={mark.circle(x(last.at), y(last.value), 2.6)} />
    </svg>
  );
}
