// The theme's own markup, where a screen reader or a keyboard would be misled.
document.addEventListener("DOMContentLoaded", () => {
  // The visible text is the better name.
  document.querySelectorAll("summary[aria-label], .search-button-field, .theme-switch-button")
    .forEach((element) => element.removeAttribute("aria-label"));
  document.querySelectorAll(".bd-sidebar-primary .sidebar-primary-items__start").forEach((element) => {
    element.setAttribute("role", "navigation");
    element.setAttribute("aria-label", "Book");
  });
  // What scrolls can be reached with the keyboard. Asked whenever it is laid out, and not before: the answer needs that;
  // and again when a font has come, in which a formula may be wider. All is asked before anything is changed.
  const seen = new Set();
  const reach = (elements) => elements
    .filter((element) => element.scrollWidth > element.clientWidth)
    .forEach((element) => { element.tabIndex = 0; });
  const scrolls = new ResizeObserver((entries) => {
    const elements = entries.map(({ target }) => target);
    elements.forEach((element) => seen.add(element));
    reach(elements);
  });
  document.fonts.addEventListener("loadingdone", () => reach([...seen]));
  document.querySelectorAll(".katex-display, .bd-content pre, .bd-content .cell_output > .output, .pst-scrollable-table-container")
    .forEach((element) => scrolls.observe(element));
});
