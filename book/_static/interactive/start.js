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
    const { default: mount } = await import(`./${figure.dataset.interactive}.js`);
    stage.replaceChildren();
    await mount(stage);
    figure.dataset.ready = "yes";
  } catch (error) {
    stage.textContent = `This figure could not be opened (${error.message}). Reload the page, or read on: the text does not need it.`;
    throw error;
  }
}

document.querySelectorAll("[data-interactive]").forEach((figure) => observer.observe(figure));
