// The loop's page: the evaluation's headline with its intervals.

if (byId("intervals")) {
  chart("intervals", "figures", (width) => {
    const spec = structuredClone(data.charts.intervals);
    const kinds = new Set(data.intervals.map(({ kind }) => kind)).size;
    const labels = Math.min(150, 24 + 7 * Math.max(...data.intervals.map(({ model }) => model.length)));
    spec.columns = width > 700 ? kinds : 1;
    spec.spec.width = Math.max(120, Math.floor(width / spec.columns) - labels - 28);
    return { spec, rows: data.intervals };
  });
}
showTheme(); // draws the chart
