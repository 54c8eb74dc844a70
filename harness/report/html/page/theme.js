"use strict";
// Light or dark: the system's choice until the button is used.
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const changed = () => document.dispatchEvent(new CustomEvent("themechange", { detail: { dark: isDark() } }));
  document.getElementById("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    changed();
  });
  dark.addEventListener("change", changed);
  addEventListener("DOMContentLoaded", changed);
})();
