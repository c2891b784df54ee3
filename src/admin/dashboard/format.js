// Figures as text: each with its unit, all in the same way on the whole page, and none parted from it
// at the end of a line. It touches no page.

const grouped = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

/** A whole number with its thousands apart. */
export const count = (n) => grouped.format(n);

/** Three digits that count, as `1.23`, `12.3`, `123`. */
export function short(n) {
  const size = Math.abs(n);
  if (size >= 100 || n === 0) return n.toFixed(0);
  return n.toFixed(size >= 10 ? 1 : 2);
}

function scaled(n, step, prefixes) {
  let at = 0;
  while (Math.abs(n) >= step * 0.9995 && at < prefixes.length - 1) {
    n /= step;
    at += 1;
  }
  return [n, prefixes[at]];
}

export function hashrate(perSecond) {
  const [n, prefix] = scaled(perSecond, 1000, ["", "k", "M", "G", "T", "P", "E", "Z"]);
  return `${short(n)}\u00a0${prefix}H/s`;
}

export function bytes(n) {
  const [size, prefix] = scaled(n, 1024, ["", "Ki", "Mi", "Gi", "Ti"]);
  return `${prefix === "" ? count(size) : short(size)}\u00a0${prefix}B`;
}

/** A difficulty or another large number, as `65.5 k`. */
export function large(n) {
  const [size, prefix] = scaled(n, 1000, ["", "k", "M", "G", "T", "P"]);
  return prefix === "" ? short(size) : `${short(size)}\u00a0${prefix}`;
}

export const perSecond = (n) => `${short(n)}\u00a0/s`;

export const milliseconds = (ms) => (ms >= 10000 ? `${short(ms / 1000)}\u00a0s` : `${short(ms)}\u00a0ms`);

/** Part of a whole in percent; a part of nothing is a dash. */
export function percent(part, whole) {
  if (!(whole > 0)) return "–";
  const n = (100 * part) / whole;
  return `${n > 0 && n < 0.01 ? "< 0.01" : n.toFixed(n >= 99.995 || n === 0 ? 0 : 2)}\u00a0%`;
}

/** A time as its two largest parts: `2d 4h`, `4h 23m`, `23m 5s`, `5s`. */
export function duration(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m ${s % 60}s`;
  if (s < 86400) return `${Math.floor(s / 3600)}h ${Math.floor((s % 3600) / 60)}m`;
  return `${Math.floor(s / 86400)}d ${Math.floor((s % 86400) / 3600)}h`;
}

/** A label of the proxy as words. */
export const words = (label) => label.replaceAll("_", " ");
