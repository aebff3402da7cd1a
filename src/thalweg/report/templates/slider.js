// A ball on the energy profile, moved by a range input, and beside it the thing itself.
(() => {
  "use strict";
  const { node, decode, number } = thalweg;
  const RADIUS = 9, ROLL_SECONDS = 5;

  function element(parent, name, attributes = {}) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    parent.append(made);
    return made;
  }

  // Names of markers stand above the plot, in rows so that neighbours do not overlap.
  function rows(markers, X, right) {
    const ends = [];
    return markers.map(({ name, t }) => {
      const wide = 6.8 * name.length + 10, at = Math.min(Math.max(X(t), wide / 2), right - wide / 2 + 10);
      let row = ends.findIndex((end) => end < at - wide / 2);
      if (row < 0) row = ends.length;
      ends[row] = at + wide / 2;
      return { row, at };
    });
  }

  function profile(svg, data, t, energy) {
    let maps, ball, plumb;
    const markers = [...data.markers].sort((a, b) => a.t - b.t);
    const x = thalweg.padded([t[0], t[t.length - 1]], 0.04), y = thalweg.padded(thalweg.extent([energy]), 0.12);
    return {
      timeAt: (pixel) => x[0] + ((pixel - maps.left) / (maps.right - maps.left)) * (x[1] - x[0]),
      resize() {
        const width = svg.parentElement.clientWidth;
        const label = { width, height: width < 420 ? 280 : 340, x, y, xLabel: data.tLabel, yLabel: data.energyLabel };
        const rough = (v) => 50 + ((v - x[0]) / (x[1] - x[0])) * (width - 60);
        const levels = 1 + Math.max(-1, ...rows(markers, rough, width).map(({ row }) => row));
        maps = thalweg.axes(svg, { ...label, top: levels * 15 });
        const { X, Y, layer, foot, head, right } = maps, line = thalweg.path(t, energy, X, Y);
        node(layer, "path", { class: "under", d: `${line}L${X(t[t.length - 1])} ${foot}L${X(t[0])} ${foot}Z` });
        const lines = node(layer, "g"), names = node(layer, "g", { class: "names" });
        rows(markers, X, right).forEach(({ row, at }, i) => {
          const place = X(markers[i].t), top = head - 2 - 15 * row;
          node(lines, "line", { class: "marker", x1: place, x2: place, y1: top + 1, y2: foot });
          node(names, "text", { class: "strong", x: at, y: top - 3, "text-anchor": "middle" }, markers[i].name);
        });
        node(layer, "path", { class: "curve", d: line });
        plumb = node(layer, "line", { class: "plumb" });
        ball = node(layer, "circle", { class: "ball", r: RADIUS });
      },
      draw(i) {
        const { X, Y, foot } = maps, a = Math.max(0, i - 1), b = Math.min(t.length - 1, i + 1);
        const [dx, dy] = [X(t[b]) - X(t[a]), Y(energy[b]) - Y(energy[a])], length = Math.hypot(dx, dy) || 1;
        const [cx, cy] = [X(t[i]), Y(energy[i])];
        // It rests on the line: its centre is one radius off, along the normal that points up.
        ball.setAttribute("cx", cx + (RADIUS * dy) / length);
        ball.setAttribute("cy", cy - (RADIUS * dx) / length);
        for (const [name, value] of Object.entries({ x1: cx, x2: cx, y1: cy, y2: foot })) plumb.setAttribute(name, value);
      },
    };
  }

  function readout(output, data, t, energy) {
    const parts = [[data.tLabel, t], [data.energyLabel, energy]].map(([label, array]) => [
      ...thalweg.split(label), array, thalweg.decimals(array)]);
    return (i) => {
      output.replaceChildren();
      const spoken = parts.map(([name, unit, array, decimals]) => {
        const value = `${number(array[i], decimals)}${!unit || unit === "°" || unit === "%" ? unit || "" : " " + unit}`;
        element(output, "span").textContent = name;
        element(output, "b").textContent = value;
        return `${name} ${value}`;
      });
      return spoken.join(", ");
    };
  }

  function rolling(button, input, show) {
    let playing = 0, begun, from;
    const last = Number(input.max);
    const stop = () => { cancelAnimationFrame(playing); playing = 0; button.textContent = "Play"; };
    const step = (now) => {
      begun = begun ?? now;
      const i = Math.min(last, Math.floor(from + ((now - begun) / 1000 / ROLL_SECONDS) * last));
      show(i);
      if (i < last) playing = requestAnimationFrame(step);
      else stop();
    };
    button.addEventListener("click", () => {
      if (playing) return stop();
      from = Number(input.value) >= last ? 0 : Number(input.value);
      begun = undefined;
      button.textContent = "Pause";
      playing = requestAnimationFrame(step);
    });
    return stop;
  }

  function start(figure) {
    const data = JSON.parse(figure.querySelector("script").textContent), stage = figure.querySelector(".stage");
    const t = decode(data.t), energy = decode(data.energy);
    const left = element(stage, "div", { class: "side" });
    const svg = node(left, "svg", { class: "profile", role: "img", "aria-label": `${data.energyLabel} against ${data.tLabel}` });
    const box = element(stage, "div", { class: "thing" });
    const controls = element(stage, "div", { class: "controls" });
    const button = element(controls, "button", { type: "button", "aria-label": `Play ${data.title}` });
    button.textContent = "Play";
    const input = element(controls, "input", { type: "range", min: 0, max: t.length - 1, step: 1, "aria-label": `${data.title}: ${data.tLabel}` });
    input.value = data.start;
    const read = readout(element(controls, "output"), data, t, energy);
    const line = profile(svg, data, t, energy), thing = thalweg.things[data.kind](box, data);

    function show(i) {
      input.value = i;
      line.draw(i);
      thing.draw(i);
      input.setAttribute("aria-valuetext", read(i));
    }
    function resize() {
      line.resize();
      thing.resize();
      show(Number(input.value));
    }
    const stop = rolling(button, input, show);
    input.addEventListener("input", () => { stop(); show(Number(input.value)); });
    const follow = (event) => {
      const rectangle = svg.getBoundingClientRect(), pixel = ((event.clientX - rectangle.left) * svg.viewBox.baseVal.width) / rectangle.width;
      const wanted = line.timeAt(pixel);
      let best = 0;
      t.forEach((value, i) => { if (Math.abs(value - wanted) < Math.abs(t[best] - wanted)) best = i; });
      stop();
      show(best);
    };
    svg.addEventListener("pointerdown", (event) => { svg.setPointerCapture(event.pointerId); follow(event); });
    svg.addEventListener("pointermove", (event) => { if (event.buttons) follow(event); });
    let width = stage.clientWidth;
    resize();
    new ResizeObserver(() => { if (stage.clientWidth !== width) { width = stage.clientWidth; resize(); } }).observe(stage);
  }

  document.querySelectorAll("figure.slider").forEach(start);
})();
