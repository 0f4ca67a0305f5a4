// The filter's page: heatmap, slider, distributions, and the filter's side effects.

const decimal = (value, digits) => (Number.isFinite(value) ? value.toFixed(digits) : "–");
const signed = (value, digits = 3) => (value === null || !Number.isFinite(value) ? "–" : (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits));
const whole = (value) => value.toLocaleString("en");
const percentText = (share) => (Number.isFinite(share) ? `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)}%` : "–");
const plural = (number, name) => `${whole(number)} ${name}${number === 1 ? "" : "s"}`;

// Heatmap ------------------------------------------------------------------------------------------------------------

const agreement = data.agreement;
const HINTS = {
  cosine: "As measured, sampling noise included: it pulls cosines towards zero. The 95% interval of a cell is in its tooltip and in the table.",
  corrected: "An estimate of what infinitely many pairs would give, without products of a prompt and its translation. Grey: the language’s gradient is not clear of its noise.",
  after: "Of the gradients that surgery leaves: the consensus is their mean.",
};

function heatmapRows(kind) {
  const rows = [];
  for (const i of data.order) {
    for (const j of data.order) {
      const of = kind === "corrected" && agreement.corrected_low[i][j] !== null ? "corrected_" : "";
      const low = agreement[`${of}low`][i][j], high = agreement[`${of}high`][i][j];
      rows.push({
        row: names[i],
        column: names[j],
        languages: `${names[i]} – ${names[j]}`,
        value: i === j ? null : agreement[kind][i][j],
        interval: low === null ? "unknown" : `${signed(low)} to ${signed(high)}`,
        pairs: `${whole(agreement.num_pairs[i])} and ${whole(agreement.num_pairs[j])}`,
        verdict: agreement.verdict[i][j],
        conflict: agreement.verdict[i][j] === "conflict",
      });
    }
  }
  return rows;
}

if (byId("heatmap")) {
  const kind = () => document.querySelector("[name=heatmap]:checked").value;
  const heatmap = chart("heatmap", "cells", (width) => {
    const spec = structuredClone(data.charts.heatmap);
    const labels = Math.min(110, 12 + 7 * Math.max(...names.map((name) => name.length)));
    const step = Math.max(14, Math.min(46, Math.floor((width - labels - 8) / names.length)));
    spec.width.step = spec.height.step = step;
    if (step < 36) spec.layer.length -= 2; // no room for the numbers
    const rows = heatmapRows(kind());
    const limit = rows.reduce((most, { value }) => Math.max(most, Math.abs(value ?? 0)), 0.05);
    for (const row of rows) row.strong = Math.abs(row.value ?? 0) > 0.6 * Math.min(1, limit);
    const { encoding } = spec.layer[1];
    encoding.color.scale.domain = [-Math.min(1, limit), Math.min(1, limit)];
    encoding.color.legend.gradientLength = Math.min(240, width - 60);
    return { spec, rows };
  });
  const show = () => {
    byId("heatmap-hint").textContent = HINTS[kind()];
    return heatmap.draw();
  };
  byId("heatmap-kind").addEventListener("change", show);
  show();
}

// What is kept -------------------------------------------------------------------------------------------------------

let rule = { ...data.rule };
let kept = select(rule);
const [lowEdge, binWidth, numBins] = data.bins;
const binOf = Uint8Array.from(pairs.score, (score) => Math.max(0, Math.min(numBins - 1, Math.floor((score - lowEdge) / binWidth))));

function binRows(sums) {
  const counts = languages.map(() => [new Uint32Array(numBins), new Uint32Array(numBins)]);
  for (const i of bestFirst) counts[pairs.language[i]][kept[i]][binOf[i]] += 1;
  const rows = [];
  languages.forEach((_, language) => {
    for (let bin = 0; bin < numBins; bin++) {
      const from = lowEdge + bin * binWidth, to = from + binWidth;
      for (const side of [0, 1]) {
        const number = counts[language][side][bin];
        if (number === 0 && (bin > 0 || side > 0)) continue;
        rows.push({
          language: names[language], from, to, side: side ? "kept" : "dropped", count: number,
          span: `${signed(from)} to ${signed(to)}`, cut: sums[language].cut,
        });
      }
    }
  });
  return rows;
}

function lengthRows(sums) {
  return ["chosen", "rejected"].flatMap((answer) =>
    languages.flatMap((_, i) => [
      { language: names[i], answer, set: "all pairs", tokens: wholes[i][answer] / wholes[i].pairs },
      ...(sums[i].pairs ? [{ language: names[i], answer, set: "kept", tokens: sums[i][answer] / sums[i].pairs }] : []),
    ]));
}

let sums = summarise(kept);
const longest = Math.max(...names.map((name) => name.length));
const distributions = chart("distributions", "bins", (width) => {
  const spec = structuredClone(data.charts.distributions);
  spec.spec.width = Math.max(120, width - Math.min(100, 20 + 7 * longest) - 24);
  spec.spec.layer[0].encoding.x.axis.tickCount = Math.max(4, Math.floor(width / 80));
  return { spec, rows: binRows(sums) };
});
const lengths = chart("lengths", "lengths", (width) => {
  const spec = structuredClone(data.charts.lengths);
  const labels = Math.min(100, 24 + 7 * longest);
  spec.columns = width > 700 ? 2 : 1;
  spec.spec.width = Math.max(120, Math.floor(width / spec.columns) - labels - 24);
  return { spec, rows: lengthRows(sums) };
});

function languageRow(name, all, some, tag = "tr") {
  const mean = (of, what, by = of.pairs) => of[what] / by;
  return element(tag, {},
    element("th", { scope: "row", dir: "auto" }, name),
    ...[
      whole(all.pairs), `${whole(some.pairs)} (${percentText(some.pairs / all.pairs)})`,
      signed(mean(all, "score", all.scored)), signed(mean(some, "score", some.scored)),
      decimal(mean(all, "chosen"), 1), decimal(mean(some, "chosen"), 1),
      decimal(mean(all, "rejected"), 1), decimal(mean(some, "rejected"), 1),
      whole(all.prompts), whole(some.prompts),
    ].map((text) => element("td", {}, text)));
}

/** How the kept mean of a length differs from a random choice of as many pairs of each language. */
function lengthShift(side) {
  let keptSum = 0, number = 0, expected = 0, variance = 0;
  languages.forEach((_, i) => {
    const n = wholes[i].pairs, k = sums[i].pairs;
    if (k === 0) return;
    const mean = wholes[i][side] / n;
    const spread = n > 1 ? Math.max(0, squares[i][side] - n * mean ** 2) / (n - 1) : 0;
    keptSum += sums[i][side];
    number += k;
    expected += k * mean;
    variance += k * spread * (1 - k / n);
  });
  return { kept: keptSum / number, expected: expected / number, clear: Math.abs(keptSum - expected) > 2 * Math.sqrt(variance) };
}

function sentences() {
  const all = total(wholes), some = total(sums), told = [];
  if (some.pairs === 0) return [["Length", "Nothing is kept."]];
  for (const [side, name] of [["chosen", "Chosen answers"], ["rejected", "Rejected answers"]]) {
    const shift = lengthShift(side);
    const change = shift.kept / shift.expected - 1;
    const size = Math.abs(change) < 0.005 ? "as long as" : `${percentText(Math.abs(change))} ${change > 0 ? "longer" : "shorter"} than`;
    const verdict = shift.clear ? "More than chance explains." : "Chance alone explains it.";
    told.push([name, `The kept ones are ${size} by chance: ${decimal(shift.kept, 1)} tokens on average, ${decimal(all[side] / all.pairs, 1)} in all pairs. ${verdict}`]);
  }
  told.push(["Length bias", `The chosen answer is the longer one in ${percentText(some.longer / some.pairs)} of the kept pairs and ${percentText(all.longer / all.pairs)} of all.`]);
  const moved = languages
    .map((_, i) => ({ name: names[i], before: wholes[i].pairs / all.pairs, after: sums[i].pairs / some.pairs }))
    .sort((a, b) => Math.abs(b.after - b.before) - Math.abs(a.after - a.before));
  const share = ({ name, before, after }) => `${name} from ${percentText(before)} to ${percentText(after)}`;
  told.push(["Languages", Math.abs(moved[0].after - moved[0].before) < 0.005
    ? "Every language keeps its part of the dataset, within half a percentage point."
    : `The mix of languages moves: ${moved.slice(0, 3).map(share).join(", ")} of the dataset.`]);
  const lost = all.prompts - some.prompts;
  const worst = languages.map((_, i) => ({ name: names[i], share: 1 - sums[i].prompts / wholes[i].prompts })).sort((a, b) => b.share - a.share)[0];
  told.push(["Prompts", lost === 0
    ? `All ${plural(all.prompts, "prompt")} keep at least one pair.`
    : `${whole(lost)} of ${plural(all.prompts, "prompt")} (${percentText(lost / all.prompts)}) ${lost === 1 ? "loses all its pairs" : "lose all their pairs"}`
      + (all.prompts === all.pairs ? ": every prompt has one pair, so a dropped pair is a dropped prompt." : `; most in ${worst.name}, ${percentText(worst.share)}.`)]);
  return told;
}

function command() {
  const amount = rule.kind === "score" ? `--min-score ${rule.value}` : `--keep ${shareOf(rule.value)}`;
  return `${data.refilter} ${amount}${rule.kind === "global" ? " selection.scope=global" : ""}`;
}

function showKept() {
  kept = select(rule);
  sums = summarise(kept);
  const all = total(wholes), some = total(sums);
  byId("kept-count").textContent = `Keeps ${whole(some.pairs)} of ${plural(all.pairs, "pair")} (${percentText(some.pairs / all.pairs)}), from ${plural(sums.filter((own) => own.pairs).length, "language")}.`;
  byId("command").textContent = command();
  byId("reset").hidden = rule.kind === data.rule.kind && rule.value === data.rule.value;
  const body = byId("by-language");
  body.tBodies[0].replaceChildren(...languages.map((_, i) => languageRow(names[i], wholes[i], sums[i])));
  body.tFoot.replaceChildren(languageRow("all", all, some));
  byId("shift").replaceChildren(...sentences().map(([name, text]) => element("li", {}, element("b", {}, name), element("span", { dir: "auto" }, text))));
  showPairs();
}

function showRule() {
  const slider = byId("amount"), exact = byId("exact"), isScore = rule.kind === "score";
  document.querySelector(`[name=rule][value=${rule.kind}]`).checked = true;
  const scores = bestFirst.length ? [pairs.score[bestFirst.at(-1)], pairs.score[bestFirst[0]]] : [-1, 1];
  const [min, max, step] = isScore ? [Math.floor(scores[0] * 1000) / 1000, Math.ceil(scores[1] * 1000) / 1000, 0.001] : [0.1, 100, 0.1];
  Object.assign(slider, { min, max, step, value: rule.value });
  Object.assign(exact, isScore ? { min: -1, max: 1 } : { min: 0, max: 100 }, { value: rule.value });
  slider.setAttribute("aria-valuetext", rule.value + (isScore ? "" : " percent"));
  byId("amount-name").textContent = isScore ? "Lowest score to keep" : "Share to keep";
  byId("unit").textContent = isScore ? "" : "%";
}

let frame = 0;
function change(next) {
  rule = next;
  showRule();
  cancelAnimationFrame(frame);
  frame = requestAnimationFrame(() => {
    showKept();
    distributions.update(binRows(sums));
    lengths.update(lengthRows(sums));
  });
}

byId("amount").addEventListener("input", ({ target }) => change({ ...rule, value: target.value }));
byId("exact").addEventListener("change", ({ target }) => {
  const usable = /^[+-]?\d*\.?\d+$/.test(target.value) && (rule.kind === "score" ? Math.abs(target.value) <= 1 : target.value > 0 && target.value <= 100);
  change(usable ? { ...rule, value: target.value } : rule);
});
byId("rule").addEventListener("change", ({ target }) => {
  const wasScore = rule.kind === "score", isScore = target.value === "score";
  const value = target.value === data.rule.kind ? data.rule.value : isScore ? "0" : wasScore ? "50" : rule.value;
  change({ kind: target.value, value });
});
byId("reset").addEventListener("click", () => {
  change({ ...data.rule });
  byId("amount").focus(); // the button goes away
});
byId("copy").addEventListener("click", async ({ target }) => {
  try {
    await navigator.clipboard.writeText(byId("command").textContent);
    target.textContent = "Copied";
  } catch { // no permission: the text is marked instead
    getSelection().selectAllChildren(byId("command"));
  }
  setTimeout(() => { target.textContent = "Copy"; }, 1500);
});
