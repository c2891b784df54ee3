// A chart of lines over time in SVG: axes with units, a legend that tells the newest values or those under the pointer.
// It keeps no history: `draw` gets the samples, `{ at: milliseconds, <key>: number or null }`, the oldest first.

const SVG = "http://www.w3.org/2000/svg";
const [LEFT, RIGHT, TOP, BOTTOM, HEIGHT] = [64, 10, 8, 22, 190];
const SPAN_MIN_MS = 60_000;

function shape(parent, kind, attributes, text) {
  const made = document.createElementNS(SVG, kind);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

/** The step of the axis: 1, 2 or 5 of a power of ten, about a third of `max`. */
function step(max) {
  const raw = max / 3;
  const power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].find((n) => n * power >= raw * 0.999) * power;
}

const ago = (ms) => (ms === 0 ? "now" : ms % 60_000 === 0 ? `−${ms / 60_000} min` : `−${ms / 1000} s`);

export class Chart {
  /** `lines`: `[{ key, label, color: "c1" }]`; the first of them is filled. */
  constructor(figure, title, lines, format) {
    Object.assign(this, { title, lines, format, samples: [], pointed: null });
    const caption = document.createElement("figcaption");
    const heading = document.createElement("strong");
    heading.textContent = title;
    caption.append(heading);
    this.moment = document.createElement("span");
    caption.append(this.moment);
    this.values = lines.map((line) => {
      const entry = document.createElement("span");
      entry.className = line.color;
      const value = document.createElement("b");
      entry.append(`${line.label} `, value);
      caption.append(entry);
      return value;
    });
    this.svg = document.createElementNS(SVG, "svg");
    this.svg.setAttribute("role", "img");
    this.svg.setAttribute("tabindex", "0");
    figure.append(caption, this.svg);
    new ResizeObserver(() => this.paint()).observe(figure);
    this.svg.addEventListener("pointermove", (event) => this.point(event));
    this.svg.addEventListener("pointerleave", () => this.unpoint());
    this.svg.addEventListener("blur", () => this.unpoint());
    this.svg.addEventListener("keydown", (event) => this.walk(event));
  }

  draw(samples) {
    this.samples = samples;
    this.paint();
  }

  paint() {
    const width = this.svg.getBoundingClientRect().width;
    const last = this.samples.at(-1);
    if (width === 0 || last === undefined) return;
    const span = Math.max(SPAN_MIN_MS, last.at - this.samples[0].at);
    const known = this.samples.flatMap((sample) => this.lines.map((line) => sample[line.key])).filter((n) => n !== null);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.svg.replaceChildren();
    if (known.length === 0) {
      const middle = { x: width / 2, y: HEIGHT / 2, "text-anchor": "middle" };
      shape(this.svg, "text", middle, "The line begins when enough is known for a mean.");
      [this.x, this.pointed] = [undefined, null];
      this.tell();
      return;
    }
    const largest = known.reduce((a, b) => Math.max(a, b), 0) || 1;
    const tick = step(largest * 1.05);
    const top = tick * Math.ceil((largest * 1.05) / tick);
    this.x = (at) => LEFT + ((at - (last.at - span)) / span) * (width - LEFT - RIGHT);
    const y = (value) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - TOP - BOTTOM);
    for (let value = 0; value <= top * 1.001; value += tick) {
      shape(this.svg, "line", { x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) });
      shape(this.svg, "text", { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, this.format(value));
    }
    const marks = [15, 30, 60, 120, 300].map((s) => s * 1000);
    const mark = marks.find((ms) => span / ms <= (width < 500 ? 3 : 6)) ?? marks.at(-1);
    for (let ms = 0; ms <= span; ms += mark) {
      const x = this.x(last.at - ms);
      const anchor = ms === 0 ? "end" : "middle";
      if (ms === 0 || x > LEFT + 16) shape(this.svg, "text", { x, y: HEIGHT - 6, "text-anchor": anchor }, ago(ms));
    }
    this.lines.toReversed().forEach((line) => this.trace(line, y));
    this.tell();
    const values = this.lines.map((line) => `${line.label} ${this.shown(last[line.key])}`);
    this.svg.setAttribute("aria-label", `${this.title}, now: ${values.join(", ")}. Arrow keys tell earlier values.`);
  }

  /** One line; it is broken where nothing is known. */
  trace(line, y) {
    let [path, area, begun] = ["", "", null];
    const close = (at) => begun !== null && (area += `L${at} ${y(0)}L${begun} ${y(0)}Z`);
    let before = null;
    for (const sample of this.samples) {
      const value = sample[line.key];
      const x = this.x(sample.at).toFixed(1);
      if (value === null) {
        close(before);
        begun = null;
        continue;
      }
      const piece = `${begun === null ? "M" : "L"}${x} ${y(value).toFixed(1)}`;
      begun ??= x;
      before = x;
      path += piece;
      area += piece;
    }
    close(before);
    if (line === this.lines[0]) shape(this.svg, "path", { d: area, class: "area" });
    shape(this.svg, "path", { d: path, class: `line ${line.color}` });
  }

  shown(value) {
    return value === null || value === undefined ? "–" : this.format(value);
  }

  /** The legend: the sample that is pointed at, or the newest. */
  tell() {
    this.cursor?.remove();
    const last = this.samples.at(-1);
    const at = this.pointed === null ? last.at : last.at - this.pointed;
    const near = (a, b) => (Math.abs(b.at - at) < Math.abs(a.at - at) ? b : a);
    const sample = this.samples.reduce(near);
    this.lines.forEach((line, index) => (this.values[index].textContent = this.shown(sample[line.key])));
    this.moment.textContent = this.pointed === null ? "" : new Date(sample.at).toLocaleTimeString();
    if (this.pointed !== null) {
      const x = this.x(sample.at);
      this.cursor = shape(this.svg, "line", { class: "cursor", x1: x, x2: x, y1: TOP, y2: HEIGHT - BOTTOM });
    }
  }

  point(event) {
    if (this.x === undefined) return;
    const { left, width } = this.svg.getBoundingClientRect();
    const span = Math.max(SPAN_MIN_MS, this.samples.at(-1).at - this.samples[0].at);
    const part = 1 - (event.clientX - left - LEFT) / (width - LEFT - RIGHT);
    this.pointed = Math.min(1, Math.max(0, part)) * span;
    this.tell();
  }

  unpoint() {
    this.pointed = null;
    if (this.x !== undefined) this.tell();
  }

  walk(event) {
    const by = { ArrowLeft: 5000, ArrowRight: -5000 }[event.key];
    if (by === undefined || this.x === undefined) return;
    event.preventDefault();
    const oldest = this.samples.at(-1).at - this.samples[0].at;
    this.pointed = Math.min(oldest, Math.max(0, (this.pointed ?? 0) + by));
    this.tell();
  }
}
