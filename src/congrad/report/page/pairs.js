// The table of pairs: search, sort, pages, and each pair's whole text with its cosines.

const shown = data.shown;
const positions = typed(shown.position), kinds = typed(shown.kind), rowNumbers = typed(shown.row), cosines = typed(shown.cosine);
const PAGE = 20;
const KINDS = ["most aligned", "least aligned", "random"];
const textOf = (side) => (typeof side === "string" ? side : side.map(([, text]) => text).join("\n"));
const folded = (text) => text.normalize("NFKC").toLowerCase();
const haystacks = shown.texts.map(({ prompt, chosen, rejected, other }) => folded([prompt, chosen, rejected].map(textOf).concat(Object.entries(other).flat()).join("\n")));
let sorting = { by: "score", down: false };
let page = 0;

const scoreOf = (s) => pairs.score[positions[s]];
const isKept = (s) => kept[positions[s]] === 1;
function reasonOf(s) {
  const unscored = shown.unscored[s];
  if (unscored !== undefined) return unscored;
  return isKept(s) ? "kept" : rule.kind === "score" ? "below the minimum score" : "below the keep share";
}

function chosenRows() {
  const wanted = folded(byId("search").value.trim()), language = byId("language").value, verdict = byId("verdict").value, kind = byId("kind")?.value ?? "";
  const rows = [];
  for (let s = 0; s < positions.length; s++) {
    if (language !== "" && pairs.language[positions[s]] !== Number(language)) continue;
    if (verdict !== "" && isKept(s) !== (verdict === "kept")) continue;
    if (kind !== "" && kinds[s] !== Number(kind)) continue;
    if (wanted && !haystacks[s].includes(wanted)) continue;
    rows.push(s);
  }
  const value = { row: (s) => rowNumbers[s], language: (s) => pairs.language[positions[s]], score: scoreOf, verdict: (s) => Number(!isKept(s)) }[sorting.by];
  const sign = sorting.down ? -1 : 1;
  return rows.sort((a, b) => {
    const x = value(a), y = value(b);
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y) || a - b; // no score: last
    return sign * (x - y) || a - b;
  });
}

const block = (text) => element("div", { class: "text", dir: "auto" }, visible(text));
const side = (value) => (typeof value === "string" ? block(value) : value.map(([role, text]) => element("div", { class: "message" }, element("span", { class: "role", dir: "auto" }, visible(role)), block(text))));

function cosineList(s) {
  const largest = languages.reduce((most, _, i) => Math.max(most, Math.abs(cosines[s * languages.length + i]) || 0), 0.01);
  return element("ul", { class: "cosines" }, data.order.map((i) => {
    const value = cosines[s * languages.length + i];
    const bar = element("span", { class: value < 0 ? "bar against" : "bar" });
    bar.style.setProperty("--size", Number.isNaN(value) ? 0 : Math.abs(value) / largest);
    return element("li", {}, element("bdi", {}, names[i]), bar, element("span", { class: "value" }, signed(value)));
  }));
}

function details(s) {
  const { prompt, chosen, rejected, other } = shown.texts[s];
  const i = positions[s];
  return element("tr", { class: "details" }, element("td", { colspan: 5 },
    element("h4", {}, "Prompt"), side(prompt),
    element("div", { class: "answers" },
      element("div", { class: "chosen" }, element("h4", {}, "Chosen ", element("small", {}, plural(pairs.chosen[i], "token"))), side(chosen)),
      element("div", { class: "rejected" }, element("h4", {}, "Rejected ", element("small", {}, plural(pairs.rejected[i], "token"))), side(rejected))),
    element("div", { class: "answers" },
      element("div", {}, element("h4", {}, "Why"),
        element("p", { class: "why" }, element("b", {}, isKept(s) ? "Kept" : "Dropped"), `: ${visible(reasonOf(s))}. Score ${signed(scoreOf(s), 4)}.` + (shown.each === null ? "" : ` Shown as: ${KINDS[kinds[s]]}.`)),
        Object.keys(other).length ? element("dl", { class: "facts" }, Object.entries(other).map(([name, text]) => element("div", {}, element("dt", { dir: "auto" }, visible(name)), element("dd", { dir: "auto" }, visible(text))))) : null),
      element("div", {}, element("h4", {}, "Cosine with every language"), cosineList(s)))));
}

function pairRows(s) {
  const prompt = textOf(shown.texts[s].prompt);
  const open = element("button", { type: "button", class: "open", "aria-expanded": "false", dir: "auto" }, visible(prompt.length > 160 ? `${prompt.slice(0, 160)}…` : prompt) || "(empty)");
  const row = element("tr", { class: "pair" },
    element("td", { class: "number" }, whole(rowNumbers[s])),
    element("td", {}, element("bdi", {}, names[pairs.language[positions[s]]])),
    element("td", { class: "number" }, signed(scoreOf(s))),
    element("td", {}, element("span", { class: isKept(s) ? "tag kept" : "tag dropped" }, isKept(s) ? "kept" : "dropped")),
    element("td", { class: "prompt" }, open));
  open.addEventListener("click", () => {
    const isOpen = open.getAttribute("aria-expanded") === "true";
    open.setAttribute("aria-expanded", String(!isOpen));
    if (isOpen) row.nextElementSibling.remove();
    else row.after(details(s));
  });
  return row;
}

function showPairs() {
  const rows = chosenRows();
  const numPages = Math.max(1, Math.ceil(rows.length / PAGE));
  page = Math.max(0, Math.min(page, numPages - 1));
  const start = page * PAGE, end = Math.min(rows.length, start + PAGE);
  byId("table").tBodies[0].replaceChildren(...(rows.length ? rows.slice(start, end).map(pairRows) : [element("tr", {}, element("td", { colspan: 5, class: "nothing" }, "No pairs match."))]));
  byId("shown").textContent = rows.length ? `${whole(start + 1)}–${whole(end)} of ${plural(rows.length, "pair")}` : "0 pairs";
  for (const id of ["first", "previous"]) byId(id).disabled = page === 0;
  for (const id of ["next", "last"]) byId(id).disabled = page === numPages - 1;
  for (const button of document.querySelectorAll("[data-sort]")) {
    const own = button.dataset.sort === sorting.by;
    button.parentElement.setAttribute("aria-sort", own ? (sorting.down ? "descending" : "ascending") : "none");
  }
}

const toPage = (number) => { page = number; showPairs(); };
names.forEach((name, i) => byId("language").append(element("option", { value: i }, name)));
byId("filters").addEventListener("input", () => toPage(0));
byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("first").addEventListener("click", () => toPage(0));
byId("previous").addEventListener("click", () => toPage(page - 1));
byId("next").addEventListener("click", () => toPage(page + 1));
byId("last").addEventListener("click", () => toPage(Infinity));
for (const button of document.querySelectorAll("[data-sort]")) {
  button.addEventListener("click", () => {
    const by = button.dataset.sort;
    sorting = { by, down: sorting.by === by && !sorting.down };
    toPage(0);
  });
}

showRule();
showKept();
showTheme(); // draws the charts
