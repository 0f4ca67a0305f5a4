// Light and dark: what the system prefers until the button is pressed; and the tooltip of the charts.

const systemDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme ?? (systemDark.matches ? "dark" : "light")) === "dark";
const redraws = []; // functions that redraw a chart, for another theme or width

function showTheme() {
  byId("theme").textContent = isDark() ? "Light" : "Dark";
  byId("theme").setAttribute("aria-label", isDark() ? "Switch to light colours" : "Switch to dark colours");
  for (const redraw of redraws) redraw();
}

byId("theme").hidden = false;
byId("theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  showTheme();
});
systemDark.addEventListener("change", showTheme);

/** Shows a chart's own text; Vega's handler would make markup of it. */
function tooltip(handler, event, item, value) {
  const box = byId("tooltip");
  box.hidden = value === null || value === undefined || value === "";
  if (box.hidden) return;
  const { title = "", ...rest } = typeof value === "object" ? value : { title: value };
  const rows = Object.entries(rest).filter(([, text]) => text !== "" && text !== undefined && text !== "undefined");
  box.replaceChildren(element("b", { dir: "auto" }, title), ...rows.map(([name, text]) => element("div", {}, `${name}: `, element("span", {}, String(text)))));
  const { clientX: x, clientY: y } = event;
  box.style.left = `${Math.max(8, Math.min(x + 14, innerWidth - box.offsetWidth - 8))}px`;
  box.style.top = `${y + box.offsetHeight + 24 > innerHeight ? y - box.offsetHeight - 12 : y + 16}px`;
}
addEventListener("scroll", () => { byId("tooltip").hidden = true; }, true);

/** A chart in the page. `make` gives its specification and rows for the width there is; `update` gives it new rows. */
function chart(id, dataset, make) {
  const place = byId(id);
  let view = null, drawing = Promise.resolve(), width = 0;
  const draw = () => {
    drawing = drawing.then(async () => {
      width = place.clientWidth;
      if (width === 0) return;
      const { spec, rows } = make(width);
      view?.finalize();
      const result = await vegaEmbed(place, { ...spec, datasets: { [dataset]: rows } }, {
        actions: false,
        ast: true, // expressions are interpreted: the page's policy forbids eval
        config: data.themes[isDark() ? "dark" : "light"],
        defaultStyle: false, // it would be an inline style, which the policy forbids too
        mode: "vega-lite",
        renderer: "svg",
        tooltip,
      });
      view = result.view;
    });
    return drawing;
  };
  redraws.push(draw);
  let waiting = 0;
  new ResizeObserver(() => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { if (place.clientWidth !== width) draw(); }, 150);
  }).observe(place);
  let latest = null; // of the rows that are still to be shown, the last ones alone
  const update = (rows) => {
    latest = rows;
    drawing = drawing.then(() => {
      const next = latest;
      latest = null;
      return next && view?.data(dataset, next).runAsync();
    });
    return drawing;
  };
  return { draw, update };
}
