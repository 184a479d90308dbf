"use strict";
// Before and after, one over the other: a range, which a keyboard and a finger can move, says how much of each is seen.
for (const pair of document.querySelectorAll(".compare")) {
  const range = pair.querySelector("input");
  const show = () => pair.style.setProperty("--at", `${range.value}%`);
  pair.classList.add("live");
  range.hidden = false;
  range.addEventListener("input", show);
  show();
}
