// Numbers and axes for the sliders: as much of a plotting library as they need.
const thalweg = (window.thalweg = {});
(() => {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";
  const CHARACTER = 6.7; // mean width in pixels of a digit at 12 px, enough to leave room for labels

  thalweg.node = (parent, name, attributes = {}, text) => {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    if (parent) parent.append(node);
    return node;
  };

  thalweg.decode = ({ encoding, data, shape }) => {
    if (encoding === "json") return Float64Array.from(data);
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    if (encoding === "float32") return Float64Array.from(new Float32Array(bytes.buffer));
    const count = shape.reduce((a, b) => a * b, 1);
    return Float64Array.from({ length: count }, (_, i) => ((bytes[i >> 3] >> (7 - (i & 7))) & 1 ? 1 : -1));
  };

  const superscript = (n) => String(n).replace(/[-0-9]/g, (c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]);
  thalweg.number = (value, decimals) => {
    const size = Math.abs(value);
    if (size === 0 && decimals > 4) return "0";
    let text;
    if (size !== 0 && (size < 1e-4 || size >= 1e6)) {
      const [mantissa, power] = value.toExponential(3).split("e");
      text = `${mantissa} × 10${superscript(Number(power))}`;
    } else text = value.toFixed(decimals);
    return text.replace(/-/g, "−");
  };

  // Decimals that tell the values of an array apart.
  thalweg.decimals = (array) => {
    if (array.every(Number.isInteger)) return 0;
    const [low, high] = thalweg.extent([array]);
    return Math.max(0, Math.min(10, Math.ceil(-Math.log10((high - low) / 1000 || 1))));
  };

  // "Energy (eV)" is a name and a unit.
  thalweg.split = (label) => label.match(/^(.*?)\s*(?:\(([^()]*)\))?$/).slice(1);

  thalweg.extent = (arrays) => {
    let low = Infinity, high = -Infinity;
    for (const array of arrays) for (const value of array) { if (value < low) low = value; if (value > high) high = value; }
    return [low, high];
  };

  thalweg.padded = ([low, high], share = 0.08) => {
    const room = (high - low || Math.abs(high) || 1) * share;
    return [low - room, high + room];
  };

  function ticks([low, high], wanted) {
    const rough = (high - low) / wanted, power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 2.5, 5, 10].find((m) => m * power >= rough * 0.999);
    const values = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) values.push(i * step);
    return { values, step };
  }

  function labelled(range, wanted) {
    const size = Math.max(Math.abs(range[0]), Math.abs(range[1]));
    const power = size >= 1e5 || size < 1e-2 ? 3 * Math.floor(Math.log10(size || 1) / 3) : 0;
    const { values, step } = ticks(range, wanted);
    let decimals = 0;
    while (decimals < 10 && Math.abs(Number((step / 10 ** power).toFixed(decimals)) - step / 10 ** power) > 1e-9) decimals++;
    const texts = values.map((v) => (v / 10 ** power + 0).toFixed(decimals).replace(/^-(0\.?0*)$/, "$1").replace("-", "−"));
    return { values, texts, power };
  }

  function scaled(label, power) {
    if (!power) return label;
    const [name, unit] = thalweg.split(label);
    return `${name} (10${superscript(power)}${unit ? " " + unit : ""})`;
  }

  // Axes in a box of the given size; returns the maps to pixels and a layer to draw in.
  thalweg.axes = (svg, { width, height, x, y, xLabel, yLabel, top = 0 }) => {
    const { node } = thalweg;
    svg.replaceChildren();
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const across = labelled(x, Math.max(2, Math.min(7, width / 75))), up = labelled(y, Math.max(3, Math.min(6, height / 55)));
    const left = 14 + CHARACTER * Math.max(...up.texts.map((t) => t.length)), right = width - 10;
    const head = 26 + top, foot = height - 44;
    const X = (v) => left + ((v - x[0]) / (x[1] - x[0])) * (right - left);
    const Y = (v) => foot - ((v - y[0]) / (y[1] - y[0])) * (foot - head);
    const frame = node(svg, "g");
    up.values.forEach((value, i) => {
      node(frame, "line", { class: "grid", x1: left, x2: right, y1: Y(value), y2: Y(value) });
      node(frame, "text", { x: left - 8, y: Y(value) + 4, "text-anchor": "end" }, up.texts[i]);
    });
    across.values.forEach((value, i) => {
      node(frame, "line", { class: "axis", x1: X(value), x2: X(value), y1: foot, y2: foot + 4 });
      node(frame, "text", { x: X(value), y: foot + 18, "text-anchor": "middle" }, across.texts[i]);
    });
    node(frame, "line", { class: "axis", x1: left, x2: right, y1: foot, y2: foot });
    if (yLabel) node(frame, "text", { class: "strong", x: 0, y: 12 }, scaled(yLabel, up.power));
    node(frame, "text", { class: "strong", x: (left + right) / 2, y: height - 6, "text-anchor": "middle" }, scaled(xLabel, across.power));
    return { X, Y, layer: node(svg, "g"), left, right, head, foot };
  };

  thalweg.path = (xs, ys, X, Y) => {
    let d = "";
    for (let i = 0; i < xs.length; i++) d += `${i ? "L" : "M"}${X(xs[i]).toFixed(2)} ${Y(ys[i]).toFixed(2)}`;
    return d;
  };
})();
