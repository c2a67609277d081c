// Copies the few third-party files the pages need from node_modules to
// vendor/, which is embedded in the binary and never committed. Run by
// `npm run build`, after `npm ci`.
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const here = import.meta.dirname;
const vendor = join(here, "vendor");
const kit = join(here, "node_modules", "bootstrap-italia");
const htmx = join(here, "node_modules", "htmx.org");

for (const name of readdirSync(vendor)) {
  if (name !== ".gitkeep") rmSync(join(vendor, name), { recursive: true });
}
mkdirSync(join(vendor, "fonts"), { recursive: true });

// The source map comment would make browsers ask for a file we do not ship. The
// video player's icon font is embedded as data:, which our content security
// policy does not load; no page of ours plays videos.
const css = readFileSync(join(kit, "dist", "css", "bootstrap-italia.min.css"), "utf8")
  .replace(/\/\*# sourceMappingURL=.*?\*\/\s*$/, "")
  .replace(/@font-face\s*\{[^}]*url\(["']?data:[^}]*\}/g, "");
if (css.includes("data:application/font")) throw new Error("a font is still embedded in the style sheet");
writeFileSync(join(vendor, "bootstrap-italia.min.css"), css);
cpSync(join(kit, "dist", "svg", "sprites.svg"), join(vendor, "sprites.svg"));
cpSync(join(kit, "LICENSE"), join(vendor, "bootstrap-italia.LICENSE.txt"));

for (const weight of ["regular", "600", "700"]) {
  const name = `titillium-web-v10-latin-ext_latin-${weight}.woff2`;
  cpSync(join(kit, "dist", "fonts", "Titillium_Web", name), join(vendor, "fonts", `titillium-${weight}.woff2`));
}
cpSync(join(kit, "dist", "fonts", "Titillium_Web", "OFL.txt"), join(vendor, "fonts", "OFL.txt"));

const js = readFileSync(join(htmx, "dist", "htmx.min.js"), "utf8");
writeFileSync(join(vendor, "htmx.min.js"), js.replace(/\/\/# sourceMappingURL=.*\s*$/, ""));
cpSync(join(htmx, "LICENSE"), join(vendor, "htmx.LICENSE.txt"));
