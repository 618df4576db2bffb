// The theme's own markup, where a screen reader or a keyboard would be misled.
document.addEventListener("DOMContentLoaded", () => {
  // The visible text is the better name.
  document.querySelectorAll("summary[aria-label], .search-button-field, .theme-switch-button")
    .forEach((element) => element.removeAttribute("aria-label"));
  document.querySelectorAll(".bd-sidebar-primary .sidebar-primary-items__start").forEach((element) => {
    element.setAttribute("role", "navigation");
    element.setAttribute("aria-label", "Book");
  });
  // What scrolls can be reached with the keyboard.
  document.querySelectorAll(".katex-display").forEach((element) => {
    if (element.scrollWidth > element.clientWidth) element.tabIndex = 0;
  });
});
