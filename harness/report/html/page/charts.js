"use strict";
// Draws every chart again when the colours change. Expressions are interpreted, not compiled: the page's content
// security policy forbids making code from text.
(() => {
  const specs = JSON.parse(document.getElementById("specs").textContent);

  function config() {
    const ink = getComputedStyle(document.body).color;
    const line = getComputedStyle(document.querySelector(".scroll") ?? document.body).borderTopColor;
    const font = getComputedStyle(document.body).fontFamily;
    return {
      background: null,
      font,
      view: { stroke: null },
      axis: {
        labelColor: ink, titleColor: ink, gridColor: line, domainColor: line, tickColor: line,
        labelFontSize: 12, titleFontSize: 12, titleFontWeight: 500, labelLimit: 130,
      },
      legend: { labelColor: ink, titleColor: ink, labelFontSize: 12, symbolSize: 110 },
      text: { color: ink, fontSize: 12 },
    };
  }

  async function draw(event) {
    const options = {
      ast: true,
      mode: "vega-lite",
      renderer: "svg",
      actions: { export: true, source: false, compiled: false, editor: false },
      config: config(),
      tooltip: { theme: event.detail.dark ? "dark" : "light" },
    };
    for (const [id, spec] of Object.entries(specs)) {
      await vegaEmbed(document.getElementById("plot-" + id), structuredClone(spec), options);
    }
    document.documentElement.dataset.drawn = "yes";
  }

  document.addEventListener("themechange", draw);
})();
