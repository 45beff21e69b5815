"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const figures = read("figures");
  const settings = read("settings");
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const tokens = ["ink", "muted", "grid", "rule", "paper", "front", "feasible", "bad", "good", "star", "purple", "shade"];

  // The page is compressed: plotly is unpacked by the browser itself, nothing is fetched.
  async function unpack(id) {
    const packed = atob(document.getElementById(id).textContent.trim());
    const bytes = Uint8Array.from(packed, (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  async function loadPlotly() {
    const script = document.createElement("script");
    script.textContent = await unpack("plotly-gzip");
    document.head.append(script);
  }

  function coloured(node, palette) {
    if (typeof node === "string") return palette[node] || node;
    if (Array.isArray(node)) return typeof node[0] === "number" ? node : node.map((item) => coloured(item, palette));
    if (node === null || typeof node !== "object") return node;
    return Object.fromEntries(Object.entries(node).map(([key, item]) => [key, coloured(item, palette)]));
  }

  function axis(given, palette, narrow) {
    const plain = { gridcolor: palette["@grid"], linecolor: palette["@muted"], zeroline: false, showline: true, automargin: true, minexponent: 6 };
    const title = { ...(given.title || {}), standoff: 12, font: { size: narrow ? 12 : 14 } };
    return { ...plain, ...given, title };
  }

  function dressed(figure, width, palette) {
    const narrow = width < 560;
    const { data, layout } = coloured(figure, palette);
    const axes = Object.fromEntries(
      Object.entries(layout).filter(([key]) => /^[xy]axis/.test(key)).map(([key, given]) => [key, axis(given, palette, narrow)]));
    const synthetic = {
      text: "<b>SYNTHETIC DATA</b>", xref: "paper", yref: "paper", x: 1, y: 0, xanchor: "right", yanchor: "top",
      yshift: narrow ? -50 : -36, showarrow: false, font: { color: palette["@bad"], size: 11 } };
    return [data, {
      ...layout, ...axes,
      font: { family: "system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif", size: narrow ? 11 : 13, color: palette["@ink"] },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 12, r: 14, t: narrow && layout.showlegend ? 64 : 40, b: narrow ? 70 : 56 },
      legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", xanchor: "left", ...(layout.legend || {}) },
      hoverlabel: { bgcolor: palette["@paper"], bordercolor: palette["@rule"], font: { color: palette["@ink"] }, align: "left" },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: palette["@muted"], activecolor: palette["@front"] },
      hovermode: "closest", dragmode: narrow ? false : "zoom",
      annotations: [...(layout.annotations || []), ...(settings.synthetic ? [synthetic] : [])],
      width,
    }];
  }

  const config = {
    displaylogo: false, responsive: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
    toImageButtonOptions: { format: "svg", filename: settings.name },
  };

  function draw(name, width) {
    const box = document.getElementById("plot-" + name);
    if (!box) return;
    const palette = Object.fromEntries(tokens.map((token) => ["@" + token, css(token)]));
    const [data, layout] = dressed(figures[name], width || box.clientWidth, palette);
    const first = !box.classList.contains("drawn");
    if (first) { box.replaceChildren(); box.classList.add("drawn"); box.classList.remove("static"); }
    Plotly.react(box, data, layout, { ...config, displayModeBar: layout.dragmode ? "hover" : false });
    if (first) box.on("plotly_click", (event) => {
      const trial = event.points[0].customdata;
      if (trial !== undefined) location.hash = "trial-" + trial;
    });
  }

  const drawAll = (width) => Object.keys(figures).forEach((name) => draw(name, width));

  async function start() {
    if (!Object.keys(figures).length) return;
    try {
      await loadPlotly();
    } catch (error) {
      document.querySelectorAll(".waiting").forEach((note) => {
        note.textContent = "This browser cannot unpack the interactive figures; the tables below hold the same numbers.";
      });
      return;
    }
    drawAll();
    document.body.classList.add("interactive");
    let timer = 0;
    let width = window.innerWidth;
    addEventListener("resize", () => {
      if (window.innerWidth === width) return;
      width = window.innerWidth;
      clearTimeout(timer);
      timer = setTimeout(() => drawAll(), 150);
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll());
    // Paper is white whatever the screen was.
    const onPaper = (paper) => { document.documentElement.classList.toggle("paper", paper); drawAll(paper ? 680 : 0); };
    addEventListener("beforeprint", () => onPaper(true));
    addEventListener("afterprint", () => onPaper(false));
  }

  function sortBy(head) {
    const table = head.closest("table");
    const column = [...head.parentNode.children].indexOf(head);
    const up = head.getAttribute("aria-sort") !== "ascending";
    table.querySelectorAll("th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = (row) => { const cell = row.children[column]; return cell.dataset.sort ?? cell.textContent.trim(); };
    const order = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const both = Number(x) - Number(y);
      return (up ? 1 : -1) * (Number.isNaN(both) ? x.localeCompare(y) : both);
    };
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort(order));
  }

  document.querySelectorAll("table.sortable thead th").forEach((head) => {
    // A real button is not repeated on the later pages of a printed table.
    const button = document.createElement("span");
    button.setAttribute("role", "button");
    button.tabIndex = 0;
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sortBy(head));
    button.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sortBy(head); }
    });
  });
  start();
})();
