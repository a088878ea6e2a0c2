// Draws a page's Plotly figures in its theme; clicking a bar or point opens its layer or key.

const SERIES = ["--accent", "--heat", "--cool", "--third", "--fourth", "--muted"];

let webgl;

/** Whether WebGL works here; asked only for figures that use it, as an answer takes the browser long. */
function hasWebgl() {
  return (webgl ??= Boolean(document.createElement("canvas").getContext("webgl")));
}

/** The value of a design token, as Plotly takes it. */
function token(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}

/** The traces of a figure, with design tokens as colours and the theme's scale for heat maps. */
function coloured(data) {
  const scale = ["--cool", "--sheet", "--heat"].map((name, step) => [step / 2, token(name)]);
  return data.map((trace) => {
    if (trace.type === "heatmap") return { ...trace, colorscale: scale };
    return trace.meta?.colour ? { ...trace, marker: { ...trace.marker, color: token(trace.meta.colour) } } : trace;
  });
}

/** The layout of a figure in the current theme. */
function themed(layout) {
  const [ink, muted, line, sheet, edge] = ["--ink", "--muted", "--line", "--sheet", "--edge"].map(token);
  const axis = (own) => ({
    ...own,
    title: { ...own?.title, font: { size: 12 }, standoff: 6 },
    gridcolor: line,
    zerolinecolor: line,
    linecolor: line,
    automargin: true,
  });
  return {
    ...layout,
    template: null,
    autosize: true,
    colorway: SERIES.map(token),
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: muted },
    margin: { l: 8, r: 8, t: 26, b: 8 },
    hoverlabel: { bgcolor: sheet, bordercolor: edge, font: { color: ink, family: "monospace", size: 12 } },
    legend: { orientation: "h", x: 0, y: 1, xanchor: "left", yanchor: "bottom", font: { color: ink } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: muted, activecolor: ink },
    xaxis: axis(layout.xaxis),
    yaxis: axis(layout.yaxis),
  };
}

/** The address of a bar or point: that of the first layer or key with its number in place of the final 0. */
function target(chart, number) {
  const address = new URL(chart.dataset.open, location.href);
  address.pathname = address.pathname.replace(/0$/, number);
  return address;
}

async function draw(chart) {
  const answer = await fetch(chart.dataset.figure, { headers: { Accept: "application/json" } });
  if (!answer.ok) throw new Error((await answer.json()).detail);
  const figure = await answer.json();
  for (const trace of figure.data) if (trace.type === "scattergl" && !hasWebgl()) trace.type = "scatter";
  const config = {
    responsive: true,
    displaylogo: false,
    // A corpus may be private: offer no way to upload a chart.
    plotlyServerURL: "",
    modeBarButtonsToRemove: ["sendChartToCloud", "autoScale2d", ...(chart.dataset.choose ? [] : ["select2d", "lasso2d"])],
    modeBarButtonsToAdd: [{ name: "svg", title: "Download as SVG", icon: Plotly.Icons.disk, click: download }],
    toImageButtonOptions: { filename: document.title },
  };
  chart.replaceChildren();
  await Plotly.newPlot(chart, coloured(figure.data), themed(figure.layout), config);
  if (chart.dataset.open) chart.on("plotly_click", ({ points: [point] }) => location.assign(target(chart, point.customdata)));
  if (chart.dataset.choose) offer(chart, document.getElementById(chart.dataset.choose));
  document.documentElement.addEventListener("themechange", () => Plotly.react(chart, coloured(figure.data), themed(figure.layout), config));
}

/** Puts the keys selected on a map into a form, shown while any are selected. */
function offer(chart, form) {
  const choose = (points) => {
    form.elements.keys.value = points.map(({ customdata }) => form.dataset.prefix + customdata).join(" ");
    form.querySelector("output").value = points.length === 1 ? "1 key" : `${points.length.toLocaleString("en")} keys`;
    form.hidden = !points.length;
  };
  chart.on("plotly_selected", (selected) => choose(selected?.points ?? []));
  chart.on("plotly_deselect", () => choose([]));
}

function download(chart) {
  Plotly.downloadImage(chart, { format: "svg", filename: document.title });
}

function complain(chart, error) {
  const note = document.createElement("p");
  note.className = "wait";
  note.textContent = `The chart could not be drawn: ${error.message}`;
  chart.replaceChildren(note);
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
  document.documentElement.dispatchEvent(new Event("themechange")),
);
for (const chart of document.querySelectorAll("[data-figure]")) draw(chart).catch((error) => complain(chart, error));
