// What Python embedded, and the arithmetic of keeping pairs: the same rule as congrad.selection, to the last tie.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

/** Text for the eye: control characters as their pictures, so that none is missed or changes what is next to it. */
const visible = (text) =>
  String(text).replace(/[\u0000-\u0008\u000b-\u001f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0))).replace(/\u007f/g, "\u2421");

/** An element; children that are not elements become text, never markup. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null));
  return made;
}

function typed({ type, base64 }) {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  return new { float32: Float32Array, uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array }[type](bytes.buffer);
}

/** 10^digits times a decimal number that was written without exponent, exactly. */
function scaled(text, digits) {
  const [, sign, whole, part = ""] = /^([+-]?)(\d*)(?:\.(\d*))?$/.exec(text.trim());
  return BigInt(sign + (whole || "0") + part.padEnd(digits, "0").slice(0, digits));
}

const DIGITS = 30; // more than a float64 has

/** The number that a share in percent comes to: rounded half up in decimals, at least 1 of any. */
function numKept(numScored, percent) {
  if (numScored === 0) return 0;
  const one = 10n ** BigInt(DIGITS + 2);
  const rounded = (2n * BigInt(numScored) * scaled(percent, DIGITS) + one) / (2n * one);
  return Math.min(numScored, Math.max(1, Number(rounded)));
}

/** A share for the command line from one in percent: the decimal point two places to the left. */
function shareOf(percent) {
  const digits = scaled(percent, DIGITS).toString().padStart(DIGITS + 3, "0");
  const at = digits.length - DIGITS - 2;
  return `${digits.slice(0, at)}.${digits.slice(at)}`.replace(/\.?0+$/, "");
}

// Present on a filter's page only.
const languages = data.languages ?? [];
// A language may be called __proto__ or constructor, which Vega's tables of facets know already: a space of no width
// makes another word of it.
const names = languages.map((name) => visible(name) + (name in {} ? "\u200b" : ""));
const pairs = data.pairs && Object.fromEntries(Object.entries(data.pairs).map(([name, array]) => [name, typed(array)]));
const numPairs = pairs ? pairs.score.length : 0;

/** Positions of the scored pairs, best first, equal scores in input order: of all, and of each language. */
const bestFirst = [...Array(numPairs).keys()].filter((i) => !Number.isNaN(pairs.score[i]));
bestFirst.sort((a, b) => pairs.score[b] - pairs.score[a] || a - b);
const bestOf = languages.map(() => []);
for (const i of bestFirst) bestOf[pairs.language[i]].push(i);

/** Which pairs a rule keeps (0 or 1 each). `value` is a decimal number as text: percent, or the lowest score. */
function select({ kind, value }) {
  const kept = new Uint8Array(numPairs);
  if (kind === "score") {
    const lowest = Math.fround(Number(value)); // scores are float32, and are compared as such
    for (const i of bestFirst) if (pairs.score[i] >= lowest) kept[i] = 1;
  } else {
    for (const pool of kind === "global" ? [bestFirst] : bestOf) {
      for (const i of pool.slice(0, numKept(pool.length, value))) kept[i] = 1;
    }
  }
  return kept;
}

/** What is the same whatever is kept: counts, means and variances of each language. */
const wholes = languages.map(() => ({ pairs: 0, scored: 0, score: 0, chosen: 0, rejected: 0, longer: 0, prompts: 0 }));
const squares = languages.map(() => ({ chosen: 0, rejected: 0 }));
const numPrompts = pairs ? pairs.prompt.reduce((most, prompt) => Math.max(most, prompt), 0) + 1 : 0;

function count(into, stamp, mark, i) {
  into.pairs += 1;
  into.chosen += pairs.chosen[i];
  into.rejected += pairs.rejected[i];
  into.longer += pairs.chosen[i] > pairs.rejected[i];
  if (!Number.isNaN(pairs.score[i])) {
    into.scored += 1;
    into.score += pairs.score[i];
  }
  if (stamp[pairs.prompt[i]] !== mark) into.prompts += 1;
  stamp[pairs.prompt[i]] = mark;
}

const stamps = new Uint32Array(numPrompts);
let mark = 1;
for (let i = 0; i < numPairs; i++) {
  count(wholes[pairs.language[i]], stamps, mark, i);
  for (const side of ["chosen", "rejected"]) squares[pairs.language[i]][side] += pairs[side][i] ** 2;
}

/** The same of the kept pairs, with the lowest kept score. */
function summarise(kept) {
  mark += 1;
  const sums = languages.map(() => ({ pairs: 0, scored: 0, score: 0, chosen: 0, rejected: 0, longer: 0, prompts: 0, cut: null }));
  for (let i = 0; i < numPairs; i++) {
    if (!kept[i]) continue;
    const own = sums[pairs.language[i]];
    count(own, stamps, mark, i);
    if (own.cut === null || pairs.score[i] < own.cut) own.cut = pairs.score[i];
  }
  return sums;
}

function total(sums) {
  const all = { pairs: 0, scored: 0, score: 0, chosen: 0, rejected: 0, longer: 0, prompts: 0 };
  for (const own of sums) for (const name of Object.keys(all)) all[name] += own[name];
  return all;
}
