"use strict";
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

// Tips: the titles of drawings, shown at once.
const tip = document.createElement("div");
tip.id = "tip";
document.body.append(tip);
for (const title of all("svg title")) {
  title.parentNode.dataset.tip = title.textContent;
  title.remove();
}
document.addEventListener("mousemove", (event) => {
  const found = event.target.closest("[data-tip]");
  tip.style.display = found ? "block" : "none";
  if (!found) return;
  tip.textContent = found.dataset.tip;
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 8))}px`;
  tip.style.top = `${event.clientY + 16 + height > innerHeight ? event.clientY - height - 10 : event.clientY + 16}px`;
});

// A step is marked wherever it is drawn.
let marked = null;
function mark(step) {
  if (step === marked) return;
  for (const item of all(".on")) item.classList.remove("on");
  marked = step;
  if (step === null) return;
  for (const item of all(`[data-step="${step}"]`)) item.classList.add("on");
  for (const item of all("[data-from]")) {
    if (+item.dataset.from <= +step && +step <= +item.dataset.to) item.classList.add("on");
  }
}
document.addEventListener("mouseover", (event) => {
  const found = event.target.closest("[data-step]");
  mark(found ? found.dataset.step : null);
});
document.addEventListener("click", (event) => {
  const found = event.target.closest("svg [data-step], .constants [data-step]");
  const row = found && document.getElementById(`step-${found.dataset.step}`);
  if (row) row.scrollIntoView({ block: "center", behavior: "smooth" });
});

// Candidates.
for (const row of all("tr.row")) {
  row.addEventListener("click", (event) => {
    const button = row.querySelector("button");
    if (!button || (getSelection().toString() && event.target !== button)) return;
    const open = row.nextElementSibling.classList.toggle("open");
    button.setAttribute("aria-expanded", open);
  });
}

// Filter.
const filter = document.getElementById("filter");
filter.addEventListener("input", () => {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const row of all("tr.row")) {
    const text = row.textContent.toLowerCase();
    const fits = words.every((word) => text.includes(word));
    row.hidden = !fits;
    row.nextElementSibling.hidden = !fits;
    count += fits;
  }
  document.getElementById("found").textContent = words.length ? `${count} steps` : "";
});

// Sorting; the drawing of the network stands only in the order of the steps.
const table = document.getElementById("steps");
all("th[data-sort]", table).forEach((head) => {
  head.addEventListener("click", () => {
    const column = [...head.parentNode.children].indexOf(head);
    const down = head.getAttribute("aria-sort") === "ascending";
    all("th", table).forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = (row) => {
      const cell = row.children[column];
      return head.dataset.sort === "number" ? parseFloat(cell.dataset.value || "-1") : cell.textContent;
    };
    const order = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b));
    const rows = all("tr.row", table).map((row) => [row, row.nextElementSibling]);
    rows.sort((a, b) => (down ? -1 : 1) * order(value(a[0]), value(b[0])));
    const last = table.tBodies[0].lastElementChild;
    for (const [row, detail] of rows) last.before(row, detail);
    const natural = head.textContent === "#" && !down;
    for (const drawing of all("td.lanes svg", table)) drawing.style.visibility = natural ? "" : "hidden";
  });
});
