"use strict";
const form = document.getElementById("filter");
const search = form.querySelector("input[type=search]");
const boxes = [...form.querySelectorAll("input[type=checkbox]")];
const cases = [...document.querySelectorAll("#cases > .case")];
function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
  for (const each of cases) {
    const { verdict, words: text } = each.dataset;
    each.hidden = !(wanted.has(verdict) && words.every((word) => text.includes(word)));
  }
}
form.hidden = cases.length === 0;
form.addEventListener("input", filter);
form.addEventListener("submit", (event) => event.preventDefault());
