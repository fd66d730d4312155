// Builds src/ into dist/: index.html and assets/ with content hashes in their names. Same input, same output:
// nothing here depends on time, on the machine or on the order of a directory listing.
import { build } from "esbuild";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const here = dirname(fileURLToPath(import.meta.url));
const dist = join(here, "dist");
const assets = join(dist, "assets");
const BUDGET = { js: 60_000, css: 12_000 }; // bytes after gzip -9

const { outputFiles } = await build({
  absWorkingDir: here,
  entryPoints: ["src/main.tsx"],
  outdir: "out",
  bundle: true,
  write: false,
  minify: true,
  format: "esm",
  target: ["es2022", "chrome100", "firefox100", "safari15.4"],
  charset: "utf8",
  legalComments: "none",
  define: { "process.env.NODE_ENV": '"production"' },
});

rmSync(dist, { recursive: true, force: true });
mkdirSync(assets, { recursive: true });

/** Writes bytes under a name that carries their hash; answers the address. */
function emit(name, extension, bytes) {
  const hash = createHash("sha256").update(bytes).digest("hex").slice(0, 10);
  writeFileSync(join(assets, `${name}-${hash}.${extension}`), bytes);
  return `/assets/${name}-${hash}.${extension}`;
}

const place = {};
let over = false;
for (const [extension, budget] of Object.entries(BUDGET)) {
  const bytes = outputFiles.find((f) => f.path.endsWith(`.${extension}`)).contents;
  place[extension] = emit("app", extension, bytes);
  const size = gzipSync(bytes, { level: 9 }).length;
  over ||= size > budget;
  console.log(`${place[extension]}  ${bytes.length} bytes, ${size} gzipped (at most ${budget})`);
}
place.icon = emit("icon", "svg", readFileSync(join(here, "src/icon.svg")));

const html = readFileSync(join(here, "src/index.html"), "utf8").replace(/\{\{(\w+)\}\}/g, (_, key) => place[key]);
writeFileSync(join(dist, "index.html"), html);
if (over) {
  console.error("a bundle is over its budget");
  process.exit(1);
}
