// Puts the third-party scripts that npm installed into static/vendor/, where the pages load them from.

import { copyFile, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { brotliCompress, constants, gzip } from "node:zlib";
import { build } from "esbuild";

const root = fileURLToPath(new URL("../", import.meta.url));
const packages = `${root}node_modules/`;
const vendor = `${root}static/vendor/`;

const FILES = {
  "htmx.min.js": "htmx.org/dist/htmx.min.js",
  // The style rules that the bundle would inject, which the content security policy forbids.
  "plotly.css": "plotly.js/dist/plotly.css",
  "swagger-ui.js": "swagger-ui-dist/swagger-ui-bundle.js",
  "swagger-ui.css": "swagger-ui-dist/swagger-ui.css",
  // The licences accompany every copy of the scripts.
  "htmx.LICENSE.txt": "htmx.org/LICENSE",
  "swagger-ui.LICENSE.txt": "swagger-ui-dist/LICENSE",
  "swagger-ui.NOTICE.txt": "swagger-ui-dist/NOTICE",
};

// Plotly with the kinds of traces that the figures use; `scatter` is in its core. The strict variant of `scattergl` has
// its shaders' code written out, because the content security policy forbids making code at run time.
const PLOTLY = `
  const Plotly = require("plotly.js/lib/core");
  Plotly.register([
    require("plotly.js/lib/bar"),
    require("plotly.js/lib/heatmap"),
    require("plotly.js/src/traces/scattergl/strict"),
  ]);
  module.exports = Plotly;
`;

/** Bundles Plotly, and writes the licences of the packages that went into the bundle beside it. */
async function bundlePlotly() {
  const { metafile } = await build({
    stdin: { contents: PLOTLY, resolveDir: root },
    outfile: `${vendor}plotly.min.js`,
    absWorkingDir: root,
    bundle: true,
    minify: true,
    format: "iife",
    globalName: "Plotly",
    target: "es2020",
    // As Plotly's own build has it: one WebGL library, and browsers' names.
    alias: { regl: "@plotly/regl" },
    define: { global: "window", "define.amd": "false" },
    // The style sheet of maps, which the bundle leaves out.
    loader: { ".css": "empty" },
    legalComments: "none",
    metafile: true,
  });
  const inputs = Object.values(metafile.outputs).flatMap((output) => Object.keys(output.inputs));
  const names = inputs.map((input) => input.match(/.*node_modules\/((?:@[^/]+\/)?[^/]+)/)?.[0]).filter(Boolean);
  const licences = await Promise.all([...new Set(names)].sort().map(licence));
  await writeFile(`${vendor}plotly.LICENSE.txt`, licences.join("\n\n"));
}

/** The name of a package and the text of its licence, or the licence's name where the package has no text. */
async function licence(folder) {
  const { name, version, license } = JSON.parse(await readFile(`${root}${folder}/package.json`, "utf8"));
  const files = (await readdir(root + folder)).filter((file) => /^(licen[cs]e|notice)/i.test(file));
  const texts = await Promise.all(files.map((file) => readFile(`${root}${folder}/${file}`, "utf8")));
  return [`${name} ${version}`, ...(texts.length ? texts : [license])].map((text) => text.trim()).join("\n\n");
}

/** Writes a compressed copy of a file for every encoding that the server knows. */
async function compress(file) {
  const content = await readFile(vendor + file);
  await writeFile(`${vendor}${file}.gz`, await promisify(gzip)(content, { level: constants.Z_BEST_COMPRESSION }));
  await writeFile(`${vendor}${file}.br`, await promisify(brotliCompress)(content));
}

await rm(vendor, { recursive: true, force: true });
await mkdir(vendor, { recursive: true });
await Promise.all([
  bundlePlotly(),
  ...Object.entries(FILES).map(([target, source]) => copyFile(packages + source, vendor + target)),
]);
await Promise.all((await readdir(vendor)).filter((file) => /\.(js|css)$/.test(file)).map(compress));
