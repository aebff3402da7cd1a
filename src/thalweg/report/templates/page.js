// What every page does: follow the theme, copy commands, and reload while its run goes on.
(() => {
  "use strict";
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");

  // --- copy buttons
  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Some browsers keep the clipboard from pages opened as files; a selection they all copy.
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  }
  for (const button of document.querySelectorAll(".copy")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await copy(button.parentElement.querySelector("code").textContent);
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    });
  }

  // --- Plotly figures in the colours of the page
  function inTheme(layout) {
    const style = getComputedStyle(root);
    const colour = (name) => style.getPropertyValue(name).trim();
    const axis = { linecolor: colour("--quiet"), gridcolor: colour("--line"), tickcolor: colour("--quiet"), zerolinecolor: colour("--line") };
    const template = layout.template || {};
    const house = template.layout || {};
    const axes = (names, from) => Object.fromEntries(names.map((name) => [name, { ...(from || {})[name], ...axis }]));
    const ours = (house.colorway || [])[0] === "#0072b2"; // the house palette; any other is the author's choice
    const themed = {
      ...house,
      ...(ours && { colorway: [0, 1, 2, 3, 4, 5].map((i) => colour(`--c${i}`)) }),
      ...axes(["xaxis", "yaxis"], house),
      scene: { ...house.scene, ...axes(["xaxis", "yaxis", "zaxis"], house.scene) },
      font: { ...house.font, color: colour("--ink") },
      hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--line"), font: { color: colour("--ink") } },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
    };
    return { ...layout, template: { ...template, layout: themed } };
  }
  function drawPlotly() {
    for (const figure of document.querySelectorAll("figure.plotly")) {
      const { data, layout } = JSON.parse(figure.querySelector("script").textContent);
      const config = { responsive: true, displaylogo: false, displayModeBar: "hover", modeBarButtonsToRemove: ["lasso2d", "select2d"] };
      window.Plotly.react(figure.querySelector(".plot"), data, inTheme(layout), config);
    }
  }
  if (window.Plotly) {
    drawPlotly();
    dark.addEventListener("change", drawPlotly);
    // Paper is light, whatever the screen was; Plotly writes its colours into the figure.
    addEventListener("beforeprint", () => { root.classList.add("printing"); drawPlotly(); });
    addEventListener("afterprint", () => { root.classList.remove("printing"); drawPlotly(); });
  }

  // --- a running page reloads itself and comes back to the same place
  const seconds = Number(root.dataset.reload);
  if (!seconds) return;
  const store = {
    get: (key) => { try { return sessionStorage.getItem(key); } catch { return null; } },
    set: (key, value) => { try { sessionStorage.setItem(key, value); } catch { /* private windows may refuse; then nothing is kept */ } },
  };
  const key = "thalweg:" + location.pathname;
  const kept = JSON.parse(store.get(key) || "null");
  if (kept) addEventListener("load", () => {
    document.querySelectorAll(".controls input").forEach((input, i) => {
      if (kept.sliders[i] === undefined) return;
      input.value = kept.sliders[i];
      input.dispatchEvent(new Event("input"));
    });
    scrollTo(0, kept.scroll);
  });
  let touched = 0;
  for (const kind of ["pointerdown", "pointermove", "keydown", "input"]) {
    addEventListener(kind, (event) => { if (kind !== "pointermove" || event.buttons) touched = Date.now(); }, { passive: true });
  }
  function reload() {
    // Never under the reader's hand, and not in a tab that nobody looks at.
    if (document.hidden || Date.now() - touched < 2000) return;
    const sliders = [...document.querySelectorAll(".controls input")].map((input) => input.value);
    store.set(key, JSON.stringify({ scroll: scrollY, sliders }));
    location.reload();
  }
  setTimeout(() => { reload(); setInterval(reload, 1000); }, seconds * 1000);

  const age = Math.round(Date.now() / 1000 - Number(root.dataset.written));
  const stale = document.querySelector(".stale");
  if (stale && age > 30) {
    stale.hidden = false;
    stale.textContent = age < 600 ? `Last news ${age} s ago.` : "No news for more than ten minutes: the run may have been stopped.";
  }
})();
