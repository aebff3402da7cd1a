// The runs as a table, one run, or several side by side; the address behind # says which.
(() => {
  "use strict";
  const view = document.getElementById("view"), notice = document.getElementById("notice"), news = document.getElementById("news");
  const picked = new Set(), curves = new Map(), facts = new Map(), gone = new Map();
  let told = null, source = null, shown = "", states = new Map();

  const h = (name, attributes = {}, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (value === true) node.setAttribute(key, "");
      else if (value !== false && value != null) node.setAttribute(key, value);
    }
    node.append(...children.flat().filter((child) => child != null && child !== false));
    return node;
  };
  const say = (text) => { notice.textContent = text; notice.hidden = !text; };
  const place = () => {
    const [kind, names = ""] = decodeURIComponent(location.hash.slice(1)).split("/");
    return { kind: kind || "list", names: names.split(",").filter(Boolean) };
  };
  const to = (kind, names) => `#${kind}/${names.map(encodeURIComponent).join(",")}`;

  const lasting = (seconds) => seconds < 100 ? `${seconds.toFixed(1)} s` : seconds < 5940 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
  const worked = (run) => lasting(run.status === "running" ? run.now?.seconds ?? run.seconds : run.seconds);
  const begun = (text) => { const when = new Date(text); return isNaN(when) ? "" : when.toLocaleString([], { dateStyle: "medium", timeStyle: "short" }); };
  const short = (value) => typeof value !== "number" || Number.isInteger(value) ? String(value ?? "–") : Number(value.toPrecision(5)).toString();

  async function ask(address, method = "GET") {
    try {
      const answer = await fetch(address, { method });
      const body = await answer.json();
      if (answer.ok) return body;
      say(body.error);
    } catch { say("The page's server does not answer: is `thalweg ui` still running?"); }
    return null;
  }
  async function act(run, what) {
    say("");
    const answer = await ask(`runs/${encodeURIComponent(run)}/${what}`, "POST");
    if (answer) news.textContent = `${run}: ${answer.said}`;
  }

  const state = (run) => h("span", { class: `state ${run.status}` }, run.status);
  // Before a five-hundredth of the steps is done, compilation makes most of the time.
  function progress(run) {
    if (run.status !== "running" || !run.now?.step) return null;
    const { step, seconds, ...more } = run.now;
    const words = Object.entries(more).slice(0, 3).map(([name, value]) => `${name} ${short(value)}`).join(", ");
    const of = run.steps ? ` of ${run.steps.toLocaleString("en")}` : "";
    const bar = run.steps && h("progress", { max: run.steps, value: Math.min(step, run.steps), "aria-label": `progress of ${run.id}` });
    const left = run.steps && step < run.steps && step >= run.steps / 500 ? `, about ${lasting(((run.steps - step) * seconds) / step)} left` : "";
    return h("div", {}, bar, h("span", { class: "quiet" }, `step ${step.toLocaleString("en")}${of}${left}${words ? ` · ${words}` : ""}`));
  }
  function deeds(run) {
    const stopped = ["cancelled", "interrupted", "failed"].includes(run.status) && run.command;
    return [
      run.report && h("a", { class: "button", href: `runs/${encodeURIComponent(run.id)}/report`, target: "_blank", rel: "noopener", "aria-label": `report of ${run.id}` }, "Report"),
      run.status === "running" && h("button", { "data-deed": `cancel ${run.id}`, "aria-label": `cancel ${run.id}`, onclick: () => act(run.id, "cancel") }, "Cancel"),
      stopped && h("button", { "data-deed": `resume ${run.id}`, "aria-label": `resume ${run.id}`, onclick: () => act(run.id, "resume") }, "Resume"),
    ].flatMap((node) => node ? [node, " "] : []);
  }

  function list() {
    const { runs, said } = told;
    for (const name of [...picked]) if (!runs.some((run) => run.id === name)) picked.delete(name);
    const going = runs.filter((run) => run.status === "running").length;
    const compare = h("button", { class: "main", disabled: picked.size < 2, id: "compare", onclick: () => { location.hash = to("compare", [...picked]); } },
      picked.size < 2 ? "Compare: choose two" : `Compare ${picked.size} runs`);
    const pick = (run) => (event) => { picked[event.target.checked ? "add" : "delete"](run.id); draw(); };
    const row = (run) => h("tr", { class: picked.has(run.id) ? "picked" : null, "data-run": run.id, "data-status": run.status },
      h("td", { class: "pick" }, h("input", { type: "checkbox", id: `pick-${run.id}`, checked: picked.has(run.id), disabled: run.status === "broken",
        "aria-label": `compare ${run.id}`, onchange: pick(run) })),
      h("td", { class: "what" }, run.status === "broken" ? h("span", { class: "name" }, run.id) : h("a", { class: "name", id: `open-${run.id}`, href: to("run", [run.id]) }, run.id),
        h("div", {}, h("code", {}, run.command ? `thalweg ${run.command}` : ""))),
      h("td", {}, state(run), progress(run), run.status !== "done" && run.outcome && h("div", { class: "quiet" }, run.outcome),
        said[run.id] && h("div", { class: "said" }, said[run.id])),
      h("td", {}, h("span", { class: "quiet" }, `${begun(run.started)}${run.started ? ", " : ""}${worked(run)}`)),
      h("td", {}, deeds(run)));
    return [
      h("h1", {}, "Runs"),
      told.error && h("p", { class: "said" }, told.error),
      h("div", { class: "bar" }, h("span", { class: "quiet" }, `${runs.length} ${runs.length === 1 ? "run" : "runs"}, ${going} under way`), compare),
      runs.length === 0
        ? h("p", { class: "placeholder" }, "There is no run yet. Start one in a shell, for example ", h("code", {}, "thalweg learning symmetry"), ": it will appear here.")
        : h("table", { class: "runs" }, h("thead", {}, h("tr", {}, ["", "Run", "State", "Begun, worked", ""].map((text) => h("th", { scope: "col" }, text || h("span", { class: "unseen" }, "actions"))))),
          h("tbody", {}, runs.map(row))),
    ];
  }

  function plots(names) {
    const metrics = [...new Set(names.flatMap((name) => Object.keys(curves.get(name) ?? {})))];
    const panels = metrics.map((metric) => plot(metric, names)).filter(Boolean);
    if (panels.length) return h("div", { class: "plots" }, panels);
    return h("p", { class: "quiet" }, "No metrics were written: what came out stands in the results and in the report.");
  }
  function plot(metric, names) {
    const lines = names.map((name, index) => {
      const curve = curves.get(name)?.[metric];
      const points = curve ? curve.step.map((step, i) => [step, curve.value[i]]).filter(([, value]) => value !== null) : [];
      return { name, index, points };
    }).filter((line) => line.points.length);
    if (!lines.length) return null;
    const x = thalweg.extent(lines.map((line) => line.points.map((point) => point[0])));
    const y = thalweg.extent(lines.map((line) => line.points.map((point) => point[1])));
    const svg = thalweg.node(null, "svg", { role: "img", "aria-label": `${metric} over the steps` });
    const { X, Y, layer } = thalweg.axes(svg, { width: 400, height: 240, x: x[0] === x[1] ? [x[0] - 1, x[1] + 1] : x, y: thalweg.padded(y), xLabel: "step", yLabel: metric });
    for (const { index, points } of lines) {
      const [last, value] = points.at(-1);
      thalweg.node(layer, "path", { class: `line s${index % 6}`, d: thalweg.path(points.map((p) => p[0]), points.map((p) => p[1]), X, Y) });
      thalweg.node(layer, "circle", { class: `end s${index % 6}`, cx: X(last), cy: Y(value), r: 4 });
    }
    return h("figure", { "data-metric": metric }, svg);
  }

  const pairs = (title, table) => h("section", { class: "chapter-small" }, h("h2", {}, title), h("dl", { class: "provenance" },
    Object.entries(table).filter(([, value]) => value != null && value !== "").map(([key, value]) => h("div", {}, h("dt", {}, key), h("dd", {}, short(value))))));
  const back = () => h("p", {}, h("a", { href: "#" }, "← All runs"));

  function one(name) {
    const run = told.runs.find((each) => each.id === name), known = facts.get(name);
    if (!run) return [back(), h("p", { class: "placeholder" }, gone.get(name) ?? `There is no run ${name}: it may have been removed.`)];
    return [
      back(), h("h1", { class: "id" }, name), known && h("p", {}, h("code", {}, known.command.join(" "))),
      h("div", { class: "bar head" }, state(run), h("span", { class: "quiet" }, `${begun(run.started)}, ${worked(run)}`), deeds(run), progress(run)),
      run.outcome && h("p", {}, run.outcome), told.said[name] && h("p", { class: "said" }, told.said[name]),
      plots([name]),
      known && Object.keys(known.result).length > 0 && pairs("Results", known.result),
      known && pairs("Options", known.config), known && pairs("Made with", known.made),
      known && h("p", { class: "quiet" }, `Kept in ${known.path}`),
    ];
  }

  function together(names) {
    const here = names.filter((name) => told.runs.some((run) => run.id === name));
    const mark = (index) => { const svg = thalweg.node(null, "svg", { viewBox: "0 0 32 12", "aria-hidden": "true" }); thalweg.node(svg, "line", { class: `line s${index % 6}`, x1: 0, x2: 32, y1: 6, y2: 6 }); return svg; };
    const table = (title, part, always) => {
      const known = here.map((name) => facts.get(name)?.[part] ?? {});
      const keys = [...new Set(known.flatMap(Object.keys))].filter((key) => always || new Set(known.map((each) => JSON.stringify(each[key]))).size > 1);
      return h("section", { class: "chapter-small" }, h("h2", {}, title), keys.length === 0 ? h("p", { class: "quiet" }, "None differ.")
        : h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title }, h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, ""), here.map((name) => h("th", { scope: "col", class: "pair" }, name)))),
          h("tbody", {}, keys.map((key) => h("tr", {}, h("th", { scope: "row" }, key), known.map((each) => h("td", { class: "pair" }, short(each[key])))))))));
    };
    return [
      back(), h("h1", {}, "Side by side"),
      h("ul", { class: "keys" }, here.map((name, index) => h("li", {}, mark(index), h("a", { href: to("run", [name]) }, name), " ", state(told.runs.find((run) => run.id === name))))),
      here.length < names.length && h("p", { class: "said" }, "Some of these runs have been removed."),
      plots(here), table("Options that differ", "config", false), table("Results", "result", true), table("Made with, where it differs", "made", false),
    ];
  }

  // A redraw keeps the keyboard's place: the same thing has the same id or deed.
  function draw() {
    if (!told) return;
    const { kind, names } = place(), focus = document.activeElement;
    const key = focus?.id ? `#${CSS.escape(focus.id)}` : focus?.dataset?.deed ? `[data-deed="${CSS.escape(focus.dataset.deed)}"]` : null;
    view.replaceChildren(...(kind === "run" ? one(names[0]) : kind === "compare" ? together(names) : list()).filter(Boolean));
    if (key) view.querySelector(key)?.focus({ preventScroll: true });
    if (shown !== location.hash) {
      shown = location.hash;
      const title = view.querySelector("h1");
      if (kind !== "list" && title) { title.tabIndex = -1; title.focus({ preventScroll: true }); }
      window.scrollTo(0, 0);
    }
    document.title = `${view.querySelector("h1")?.textContent ?? "Runs"} · thalweg`;
  }

  async function learn(names) {
    for (const name of names) if (told.runs.some((run) => run.id === name && run.status !== "broken")) {
      const answer = await ask(`runs/${encodeURIComponent(name)}`);
      if (answer) facts.set(name, answer);
    }
    draw();
  }
  function changed(runs) {
    for (const run of runs) {
      const before = states.get(run.id);
      if (states.size && before !== run.status) {
        news.textContent = `${run.id} is ${run.status}.`;
        if (place().names.includes(run.id)) learn([run.id]);
      }
    }
    states = new Map(runs.map((run) => [run.id, run.status]));
  }

  function listen() {
    source?.close();
    say("");
    const { names } = place(), link = document.getElementById("link");
    source = new EventSource(`events?runs=${names.map(encodeURIComponent).join(",")}`);
    let first = true;
    source.addEventListener("runs", (event) => {
      told = JSON.parse(event.data);
      changed(told.runs);
      link.textContent = "Live: this page follows the runs as they are written.";
      draw();
      if (first) { first = false; learn(names); }
    });
    source.addEventListener("metrics", (event) => { const { run, curves: found } = JSON.parse(event.data); curves.set(run, found); draw(); });
    source.addEventListener("gone", (event) => { const { run, error } = JSON.parse(event.data); gone.set(run, error); draw(); });
    source.addEventListener("error", () => { link.textContent = "Not connected: `thalweg ui` has ended, or is starting again. What is shown may be old."; });
  }

  window.addEventListener("hashchange", () => { draw(); listen(); });
  listen();
})();
