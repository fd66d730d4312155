// What every test in a browser shares: checks that are named and counted, pictures where SCREENSHOTS names a folder, and
// the last line: "N passed, N failed", exit 1 on a failure.
import { mkdirSync } from "node:fs";
import { join } from "node:path";

const SHOTS = process.env.SCREENSHOTS;
const tally = { passed: 0, failed: 0, page: () => null };

/** Which page a failed check is pictured on. */
export function pictureOnFailure(page) {
  tally.page = page;
}

export async function check(name, work) {
  try {
    await work();
    tally.passed += 1;
    console.log(`ok    ${name}`);
  } catch (error) {
    fail(name, error);
    const page = tally.page();
    if (page) await shot(page, `failed-${tally.failed}`).catch(() => undefined);
  }
}

/** A failure that is no check's: the test could not go on. */
export function fail(name, error) {
  tally.failed += 1;
  console.log(`FAIL  ${name}\n      ${String(error.message ?? error).split("\n").slice(0, 12).join("\n      ")}`);
}

export function need(ok, text) {
  if (!ok) throw new Error(text);
}

export async function shot(page, name) {
  if (!SHOTS) return;
  mkdirSync(SHOTS, { recursive: true });
  await page.screenshot({ path: join(SHOTS, `${name}.png`), fullPage: true });
}

export const anyFailed = () => tally.failed > 0;

/** The last line. */
export function finish() {
  console.log(`${tally.passed} passed, ${tally.failed} failed`);
  process.exitCode = anyFailed() ? 1 : 0;
}
