// The thing itself, one renderer per kind: make(box, data) returns { draw(frame), resize() }.
(() => {
  "use strict";
  const { node, decode, number } = thalweg;

  function key(box, entries) {
    const line = document.createElement("p");
    line.className = "key";
    for (const { text, colour, dashed, square } of entries) {
      const item = document.createElement("span");
      if (colour) {
        const sample = document.createElement("i");
        if (square) { sample.className = "square"; sample.style.background = colour; }
        else { sample.style.borderTopColor = colour; if (dashed) sample.style.borderTopStyle = "dashed"; }
        item.append(sample);
      }
      item.append(text);
      line.append(item);
    }
    box.append(line);
  }

  function pixels(box, data, colour) {
    const [, height, width] = data.frames.shape, values = decode(data.frames);
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width, height });
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", data.title);
    box.append(canvas);
    const context = canvas.getContext("2d"), image = context.createImageData(width, height);
    return {
      resize() {},
      draw(frame) {
        const offset = frame * height * width;
        for (let i = 0; i < height * width; i++) image.data.set(colour(values[offset + i]), 4 * i);
        context.putImageData(image, 0, 0);
      },
    };
  }

  function image(box, data) {
    const [low, high] = data.limits, span = high - low || 1;
    const grey = (v) => { const g = Math.round(255 * Math.min(1, Math.max(0, (v - low) / span))); return [g, g, g, 255]; };
    const thing = pixels(box, data, grey);
    const decimals = Number.isInteger(low) && Number.isInteger(high) ? 0 : 2;
    key(box, [{ text: `${number(low, decimals)}`, colour: "#000", square: true }, { text: `${number(high, decimals)}`, colour: "#fff", square: true }]);
    return thing;
  }

  function signs(box, data) {
    // Far apart in lightness as well as in hue.
    const thing = pixels(box, data, (v) => (v > 0 ? [240, 200, 120, 255] : [28, 62, 110, 255]));
    key(box, [{ text: "+1", colour: "rgb(240,200,120)", square: true }, { text: "−1", colour: "rgb(28,62,110)", square: true }]);
    return thing;
  }

  function curves(box, data) {
    const [, count, points] = data.frames.shape, values = decode(data.frames);
    const xs = data.x ? decode(data.x) : Float64Array.from({ length: points }, (_, i) => i);
    const fixed = data.reference && decode(data.reference);
    const svg = node(box, "svg", { role: "img", "aria-label": data.title });
    const y = thalweg.padded(thalweg.extent(fixed ? [values, fixed] : [values]));
    const colour = (i) => `var(--c${i % 6})`, dash = (i) => ["", "7 4", "2 3", "8 3 2 3"][i % 4];
    const entries = data.labels.map((text, i) => ({ text, colour: colour(i), dashed: i % 4 > 0 }));
    if (fixed) entries.push({ text: data.referenceLabel, colour: "var(--quiet)", dashed: true });
    key(box, entries);
    let maps, lines;
    return {
      resize() {
        const width = box.clientWidth;
        maps = thalweg.axes(svg, { width, height: 300, x: thalweg.extent([xs]), y, xLabel: data.xLabel, yLabel: data.yLabel });
        if (fixed) node(maps.layer, "path", { class: "reference", d: thalweg.path(xs, fixed, maps.X, maps.Y) });
        lines = Array.from({ length: count }, (_, i) =>
          node(maps.layer, "path", { class: "curve", style: `stroke:${colour(i)}`, "stroke-dasharray": dash(i) }));
      },
      draw(frame) {
        lines.forEach((line, i) => {
          const start = (frame * count + i) * points;
          line.setAttribute("d", thalweg.path(xs, values.subarray(start, start + points), maps.X, maps.Y));
        });
      },
    };
  }

  function points(box, data) {
    const [frames, count, dimensions] = data.frames.shape, values = decode(data.frames);
    const SIZE = 320, solid = dimensions === 3;
    const svg = node(box, "svg", { role: "img", viewBox: `0 0 ${SIZE} ${SIZE}`, "aria-label": data.title });
    const centre = [0, 0, 0];
    for (let i = 0; i < values.length; i++) centre[i % dimensions] += values[i] / (frames * count);
    let reach = 1e-12;
    for (let i = 0; i < values.length; i += dimensions) {
      let square = 0;
      for (let k = 0; k < dimensions; k++) square += (values[i + k] - centre[k]) ** 2;
      reach = Math.max(reach, Math.sqrt(square));
    }
    const scale = (0.9 * (SIZE / 2 - 20)) / reach, base = size();
    const radius = (i) => base * (data.radii[i] || 1), colour = (i) => data.colours[i] || "var(--c0)";
    let yaw = solid ? 0.5 : 0, pitch = solid ? 0.35 : 0, shown = 0;

    // Pixels: a third of the mean bond, or what the number of points leaves room for.
    function size() {
      if (!data.bonds.length) return Math.max(3, Math.min(12, 40 / Math.sqrt(count)));
      const lengths = data.bonds.map(([a, b]) => Math.hypot(...position(0, a).map((v, k) => v - position(0, b)[k])));
      return Math.max(4, Math.min(24, (0.33 * scale * lengths.reduce((sum, v) => sum + v, 0)) / lengths.length));
    }
    function position(frame, i) {
      const at = (frame * count + i) * dimensions;
      return [0, 1, 2].map((k) => (k < dimensions ? values[at + k] - centre[k] : 0));
    }
    function project([x, y, z]) {
      const side = x * Math.cos(yaw) + z * Math.sin(yaw), depth = z * Math.cos(yaw) - x * Math.sin(yaw);
      const height = y * Math.cos(pitch) - depth * Math.sin(pitch), near = depth * Math.cos(pitch) + y * Math.sin(pitch);
      const zoom = 1 + (0.18 * near) / reach;
      return { x: SIZE / 2 + side * scale * zoom, y: SIZE / 2 - height * scale * zoom, near, zoom };
    }
    function ink(hex) {
      if (!/^#/.test(hex)) return "var(--card)";
      const [r, g, b] = [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));
      return 0.3 * r + 0.59 * g + 0.11 * b > 140 ? "#111" : "#fff";
    }
    // A bond begins at the surface of a point, so that depth alone decides what hides what.
    function bond(frame, a, b) {
      const [from, to] = [position(frame, a), position(frame, b)];
      const far = Math.hypot(...to.map((v, k) => v - from[k])) || 1;
      const along = (share) => project(from.map((v, k) => v + share * (to[k] - v)));
      const ends = [along((0.8 * radius(a)) / scale / far), along(1 - (0.8 * radius(b)) / scale / far)];
      return { bond: ends, near: (ends[0].near + ends[1].near) / 2 };
    }
    function draw(frame) {
      shown = frame;
      const items = data.bonds.map(([a, b]) => bond(frame, a, b));
      for (let i = 0; i < count; i++) {
        const point = project(position(frame, i));
        items.push({ point, i, near: point.near });
      }
      svg.replaceChildren();
      for (const item of items.sort((a, b) => a.near - b.near)) {
        if (item.bond) {
          const [a, b] = item.bond, ends = { x1: a.x, y1: a.y, x2: b.x, y2: b.y, "stroke-linecap": "round" };
          const wide = Math.max(2.5, base * 0.36);
          node(svg, "line", { ...ends, class: "bond-edge", "stroke-width": wide + 2 });
          node(svg, "line", { ...ends, class: "bond", "stroke-width": wide });
        } else {
          const { point, i } = item, r = radius(i) * point.zoom;
          node(svg, "circle", { class: "point", cx: point.x, cy: point.y, r, style: `fill:${colour(i)}` });
          const label = data.labels[i];
          if (!label) continue;
          if (r > 4.2 * label.length + 2) node(svg, "text", { x: point.x, y: point.y + 4, "text-anchor": "middle", style: `fill:${ink(colour(i))}; font-weight: 600` }, label);
          else node(svg, "text", { class: "strong", x: point.x + r + 3, y: point.y + 4 }, label);
        }
      }
    }
    function turn(dx, dy) {
      yaw += dx;
      pitch = Math.max(-1.5, Math.min(1.5, pitch + dy));
      draw(shown);
    }
    if (solid) {
      svg.classList.add("turn");
      svg.setAttribute("tabindex", "0");
      svg.setAttribute("aria-label", `${data.title}; arrow keys turn it`);
      svg.addEventListener("pointerdown", (event) => svg.setPointerCapture(event.pointerId));
      svg.addEventListener("pointermove", (event) => { if (event.buttons) turn(event.movementX * 0.01, event.movementY * 0.01); });
      svg.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] }[event.key];
        if (step) { event.preventDefault(); turn(...step); }
      });
      key(box, [{ text: "drag to turn" }]);
    }
    return { resize() {}, draw };
  }

  thalweg.things = { image, signs, curves, points };
})();
