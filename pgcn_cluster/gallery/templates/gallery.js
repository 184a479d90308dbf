"use strict";
// Search and sort over all images of the run. The state is the address's hash, so that a view can be sent as a
// link: index.html#q=cat&sort=in_place&reverse=1&warning=1. Without a state the page is what the server wrote.
(() => {
  const BATCH = 60;
  const KEPT = 3000; // so many matches at most are held for a view: a run may have a million rows
  const CACHED = 50;
  const COLUMN = {
    name: 0, job: 1, frechet_vgg33: 2, largest_piece: 3, in_place: 4, layout_diversity: 5, time: 6, newest: 7,
    warning: 8, width: 9, height: 10,
  };
  const HIGHEST_FIRST = new Set(["layout_diversity", "newest"]);

  const element = (id) => document.getElementById(id);
  const [query, sort, reverse, warning] = ["q", "sort", "reverse", "warning"].map(element);
  const [tools, found, all, matches, more] = ["tools", "found", "all", "matches", "more"].map(element);
  const list = matches.querySelector("ul");
  const template = element("card").content.firstElementChild;

  const IMAGES = Number(tools.dataset.images);
  const SCRIPTS = Number(tools.dataset.scripts);

  // Rows are scripts because a page opened from a disk may not fetch: a thousand rows each, loaded one after another.
  const loaded = new Map();
  const arrived = new Map();
  self.galleryRows = (number, rows) => arrived.get(number)?.(rows);
  function load(number) {
    if (loaded.has(number)) return loaded.get(number);
    const rows = new Promise((resolve, reject) => {
      arrived.set(number, resolve);
      const script = document.createElement("script");
      script.src = `rows-${number}.js`;
      script.onload = () => script.remove();
      script.onerror = () => reject(new Error(`rows-${number}.js is missing beside this page.`));
      document.head.append(script);
    });
    if (loaded.size < CACHED) loaded.set(number, rows);
    return rows;
  }

  const plain = (text) => text.normalize("NFC").toLowerCase();
  const SYMBOLS = { "\n": "↵", "\r": "↵", "\t": "⇥" };
  // As pgcn_jobs/common/terminal_text.py: characters that move, turn round or hide text are drawn.
  const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|\p{Cs}/gu;
  const symbols = (text) => text.replace(UNSEEN, (c) => SYMBOLS[c] ?? "\ufffd");
  const number = (value) => (value === null ? "–" : String(Number(value.toPrecision(3))));
  const share = (value) => (value === null ? "–" : `${Math.round(value * 100)} %`);
  function duration(seconds) {
    if (seconds === null) return "–";
    if (seconds < 100) return `${number(seconds)} s`;
    return seconds < 6000 ? `${Math.round(seconds / 60)} min` : `${number(seconds / 3600)} h`;
  }

  function state() {
    const hash = new URLSearchParams(location.hash.slice(1));
    const by = Object.hasOwn(COLUMN, hash.get("sort") ?? "") ? hash.get("sort") : "name";
    return { words: hash.get("q") ?? "", by, reversed: hash.has("reverse"), warned: hash.has("warning") };
  }

  function remember() {
    const hash = new URLSearchParams();
    if (query.value.trim()) hash.set("q", query.value.trim());
    if (sort.value !== "name") hash.set("sort", sort.value);
    if (reverse.checked) hash.set("reverse", "1");
    if (warning.checked) hash.set("warning", "1");
    location.replace(`#${hash}`);
  }

  function filter(rows, { words, warned }) {
    const terms = plain(words).split(/\s+/).filter(Boolean);
    return rows.filter((row) => {
      const name = terms.length ? plain(row[COLUMN.name]) : "";
      return (!warned || row[COLUMN.warning]) && terms.every((term) => name.includes(term));
    });
  }

  // Rows come in the order of their names, and sorting is stable: equal values stay in that order.
  function sorted(rows, { by, reversed }) {
    if (by === "name") return rows;
    const column = COLUMN[by];
    const sign = HIGHEST_FIRST.has(by) !== reversed ? -1 : 1;
    const missing = (row) => row[column] === null || row[column] === "";
    return rows.sort((a, b) => {
      if (missing(a) || missing(b)) return missing(a) - missing(b);
      return a[column] === b[column] ? 0 : a[column] < b[column] ? -sign : sign;
    });
  }

  function card(row) {
    const item = template.cloneNode(true);
    const job = row[COLUMN.job];
    const name = symbols(row[COLUMN.name]);
    item.querySelector("a").href = `jobs/${job}.html`;
    item.querySelector(".name").textContent = name;
    const image = item.querySelector("img");
    if (row[COLUMN.width]) {
      image.alt = image.alt.replace("{name}", () => name);
      image.width = row[COLUMN.width];
      image.height = row[COLUMN.height];
      image.src = `thumbs/${job}.webp`;
    } else {
      const none = document.createElement("span");
      none.className = "none";
      none.textContent = "No image";
      image.replaceWith(none);
    }
    const badge = item.querySelector(".warning");
    badge.textContent = row[COLUMN.warning];
    badge.hidden = !row[COLUMN.warning];
    const values = [
      number(row[COLUMN.frechet_vgg33]), share(row[COLUMN.largest_piece]), share(row[COLUMN.in_place]),
      number(row[COLUMN.layout_diversity]), duration(row[COLUMN.time]),
    ];
    item.querySelectorAll("dd").forEach((place, i) => { place.textContent = values[i]; });
    return item;
  }

  let selected = [];
  function extend(most) {
    const start = list.childElementCount;
    list.append(...selected.slice(start, start + most).map(card));
    more.parentElement.hidden = list.childElementCount >= selected.length;
    return list.children[start];
  }

  // Search all scripts of rows for one view. The first matches are shown as they come where they come in order.
  async function search(wanted, asked) {
    const byName = wanted.by === "name";
    const count = (value) => value.toLocaleString("en");
    let total = 0;
    selected = [];
    list.replaceChildren();
    for (let at = 1; at <= SCRIPTS; at += 1) {
      const backwards = byName && wanted.reversed;
      const rows = await load(backwards ? SCRIPTS + 1 - at : at);
      if (location.hash !== asked) return; // a newer view is on its way
      const kept = filter(rows, wanted);
      if (backwards) kept.reverse();
      total += kept.length;
      selected = sorted(selected.concat(kept), wanted).slice(0, KEPT);
      if (byName && list.childElementCount < BATCH) extend(BATCH - list.childElementCount);
      found.textContent = `${count(total)} found, ${Math.round((at / SCRIPTS) * 100)} % searched …`;
    }
    found.textContent = `${count(total)} of ${count(IMAGES)} images`;
    if (total > KEPT) found.textContent += `, the first ${count(KEPT)} below`;
    extend(BATCH - list.childElementCount);
  }

  async function show() {
    const wanted = state();
    if (document.activeElement !== query) query.value = wanted.words;
    sort.value = wanted.by;
    reverse.checked = wanted.reversed;
    warning.checked = wanted.warned;
    const filtered = Boolean(wanted.words || wanted.by !== "name" || wanted.reversed || wanted.warned);
    found.textContent = filtered ? "Loading …" : "";
    all.hidden = filtered;
    matches.hidden = !filtered;
    if (!filtered) return;
    try {
      await search(wanted, location.hash);
    } catch (error) {
      found.textContent = error.message;
    }
  }

  let typing = 0;
  query.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(remember, 150);
  });
  for (const control of [sort, reverse, warning]) control.addEventListener("change", remember);
  more.addEventListener("click", () => extend(BATCH)?.querySelector("a").focus({ preventScroll: true }));
  addEventListener("hashchange", show);
  tools.hidden = false;
  show();
})();
