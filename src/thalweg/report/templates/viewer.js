// Atoms in space, drawn by 3Dmol.js: turned by hand or with the arrow keys, played frame by frame.
(() => {
  "use strict";
  const FRAMES_PER_SECOND = 25, TURN = 10;
  const AWAY = "This picture is drawn by WebGL, which this browser does not offer here. The frames lie beside this page.";

  function element(parent, name, attributes = {}, text) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    parent.append(made);
    return made;
  }

  function offered() {
    try {
      const canvas = document.createElement("canvas");
      return Boolean(window.$3Dmol && (canvas.getContext("webgl2") || canvas.getContext("webgl")));
    } catch {
      return false;
    }
  }

  // 3Dmol finds bonds by distance in each frame, so that one that breaks is seen to break.
  function text(data, frames) {
    const values = thalweg.decode(frames), [count, atoms] = frames.shape, lines = [];
    for (let frame = 0; frame < count; frame++) {
      lines.push(atoms, "frame");
      for (let i = 0; i < atoms; i++) {
        const at = 3 * (frame * atoms + i);
        lines.push(`${data.symbols[i]} ${values[at]} ${values[at + 1]} ${values[at + 2]}`);
      }
    }
    return lines.join("\n");
  }

  function box(view, cell, corner, colour) {
    const at = (a, b, c) => [0, 1, 2].map((k) => corner[k] + a * cell[0][k] + b * cell[1][k] + c * cell[2][k]);
    const point = ([x, y, z]) => ({ x, y, z });
    for (const [a, b] of [[0, 0], [0, 1], [1, 0], [1, 1]]) {
      for (const ends of [[[0, a, b], [1, a, b]], [[a, 0, b], [a, 1, b]], [[a, b, 0], [a, b, 1]]]) {
        view.addLine({ start: point(at(...ends[0])), end: point(at(...ends[1])), color: colour });
      }
    }
  }

  function made(holder, data) {
    const view = window.$3Dmol.createViewer(holder, { antialias: true, disableFog: true });
    if (!view) throw new Error("no viewer");
    const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    view.addModelsAsFrames(text(data, data.frames), "xyz");
    view.setStyle({}, { stick: { radius: 0.11, color: "#8a939b" }, sphere: { scale: 0.24 } });
    const dressed = () => {
      view.setBackgroundColor(colour("--card"), 1);
      if (!data.cell) return;
      view.removeAllShapes();
      box(view, data.cell, data.corner, colour("--quiet"));
    };
    dressed();
    view.zoomTo();
    view.zoom(data.cell ? 1.1 : 1.7);
    view.render();
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", () => { dressed(); view.render(); });
    return view;
  }

  function turning(holder, view) {
    const axes = { ArrowLeft: ["y", -TURN], ArrowRight: ["y", TURN], ArrowUp: ["x", -TURN], ArrowDown: ["x", TURN] };
    holder.addEventListener("keydown", (event) => {
      const zoom = { "+": 1.15, "=": 1.15, "-": 1 / 1.15 }[event.key];
      if (!axes[event.key] && !zoom) return;
      event.preventDefault();
      if (zoom) view.zoom(zoom);
      else view.rotate(axes[event.key][1], axes[event.key][0]);
    });
  }

  function playing(controls, data, show) {
    const last = data.labels.length - 1;
    const button = element(controls, "button", { type: "button", "aria-label": `Play ${data.title}` }, "Play");
    const input = element(controls, "input", { type: "range", min: 0, max: last, step: 1, value: 0, "aria-label": `${data.title}: frame` });
    const output = element(controls, "output");
    let timer = 0;
    const draw = (i) => {
      input.value = i;
      input.setAttribute("aria-valuetext", data.labels[i]);
      output.textContent = data.labels[i];
      show(i);
    };
    const stop = () => { clearInterval(timer); timer = 0; button.textContent = "Play"; };
    const step = () => {
      const next = Number(input.value) + 1;
      if (next > last && !data.loops) return stop();
      draw(next > last ? 0 : next);
    };
    button.addEventListener("click", () => {
      if (timer) return stop();
      if (Number(input.value) >= last) draw(0);
      button.textContent = "Pause";
      timer = setInterval(step, 1000 / FRAMES_PER_SECOND);
    });
    input.addEventListener("input", () => { stop(); draw(Number(input.value)); });
    draw(0);
  }

  function start(figure) {
    const data = JSON.parse(figure.querySelector("script").textContent), stage = figure.querySelector(".stage");
    if (!offered()) return void element(stage, "p", { class: "away" }, AWAY);
    const holder = element(stage, "div", { class: "space", tabindex: 0, role: "img", "aria-label": `${data.title}; arrow keys turn it, plus and minus zoom` });
    let view;
    try {
      view = made(holder, data);
    } catch {
      holder.remove();
      return void element(stage, "p", { class: "away" }, AWAY);
    }
    turning(holder, view);
    element(stage, "p", { class: "key" }, "drag or arrow keys turn it, the wheel or + and − zoom");
    if (data.labels.length > 1) {
      playing(element(stage, "div", { class: "controls" }), data, (i) => Promise.resolve(view.setFrame(i)).then(() => view.render()));
    }
    new ResizeObserver(() => { view.resize(); view.render(); }).observe(holder);
  }

  document.querySelectorAll("figure.viewer").forEach(start);
})();
