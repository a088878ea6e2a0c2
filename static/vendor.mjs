// Copies the third-party scripts that npm installed into static/vendor/, where the pages load them from.

import { copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { runInNewContext } from "node:vm";

const packages = fileURLToPath(new URL("../node_modules/", import.meta.url));
const vendor = fileURLToPath(new URL("vendor/", import.meta.url));

const FILES = {
  "htmx.min.js": "htmx.org/dist/htmx.min.js",
  "plotly.min.js": "plotly.js-strict-dist-min/plotly-strict.min.js",
  "swagger-ui.js": "swagger-ui-dist/swagger-ui-bundle.js",
  "swagger-ui.css": "swagger-ui-dist/swagger-ui.css",
  // The licences accompany every copy of the scripts.
  "htmx.LICENSE.txt": "htmx.org/LICENSE",
  "plotly.LICENSE.txt": "plotly.js-strict-dist-min/LICENSE",
  "swagger-ui.LICENSE.txt": "swagger-ui-dist/LICENSE",
  "swagger-ui.NOTICE.txt": "swagger-ui-dist/NOTICE",
};
const DEVELOPMENT_FILES = { "axe.min.js": "axe-core/axe.min.js" };

/** The style rules Plotly's bundle would inject, which the content security policy forbids, as a style sheet. */
function plotlyStyles(bundle) {
  const rules = bundle.match(/\{"X,X div":.*?\}(?=;for\()/s);
  if (rules === null) throw new Error("this version of Plotly keeps its style rules elsewhere: adapt static/vendor.mjs");
  return Object.entries(runInNewContext(`(${rules[0]})`))
    .map(([selector, style]) => {
      const place = selector.replaceAll("X", ".js-plotly-plot .plotly").replaceAll("Y", ".plotly-notifier");
      return `${place} { ${style} }\n`;
    })
    .join("");
}

async function copy(target, source) {
  await copyFile(packages + source, vendor + target);
}

await rm(vendor, { recursive: true, force: true });
await mkdir(vendor, { recursive: true });
await Promise.all(Object.entries(FILES).map(([target, source]) => copy(target, source)));
await Promise.all(Object.entries(DEVELOPMENT_FILES).map(([target, source]) => copy(target, source).catch(ignoreMissing)));
await writeFile(`${vendor}plotly.css`, plotlyStyles(await readFile(`${vendor}plotly.min.js`, "utf8")));

/** `npm ci --omit=dev` leaves the development files out. */
function ignoreMissing(error) {
  if (error.code !== "ENOENT") throw error;
}
