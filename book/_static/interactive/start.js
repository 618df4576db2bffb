// Opens each interactive figure of the page when the reader comes near it. Until then it costs nothing.
const observer = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    observer.unobserve(target);
    open(target);
  }
}, { rootMargin: "300px" });

async function open(figure) {
  const stage = figure.querySelector(".stage");
  try {
    stage.textContent = "Loading\u2026";
    const { load, default: mount } = await import(`./${figure.dataset.interactive}.js`);
    const loaded = await load?.(); // what the figure draws with, where it has to be fetched
    stage.replaceChildren();
    mount(stage, loaded);
    figure.dataset.ready = "yes";
  } catch (error) {
    stage.textContent = `This figure could not be opened (${error.message}). Reload the page, or read on: the text does not need it.`;
    throw error;
  }
}

document.querySelectorAll("[data-interactive]").forEach((figure) => observer.observe(figure));
