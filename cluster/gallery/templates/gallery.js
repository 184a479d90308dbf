"use strict";
// Search and sort over all images of the run. The state is the address's hash, so that a view can be sent as a
// link: index.html#q=cat&sort=copy&reverse=1&warning=1. Without a state the page is what the server wrote.
(() => {
  const BATCH = 60;
  const COLUMN = { name: 0, job: 1, frechet_vgg22: 2, copy: 3, diversity: 4, time: 5, newest: 6, warning: 7, width: 8, height: 9 };
  const HIGHEST_FIRST = new Set(["diversity", "newest"]);

  const element = (id) => document.getElementById(id);
  const [query, sort, reverse, warning] = ["q", "sort", "reverse", "warning"].map(element);
  const [tools, found, all, matches, more] = ["tools", "found", "all", "matches", "more"].map(element);
  const list = matches.querySelector("ul");
  const template = element("card").content.firstElementChild;

  // The rows are a script because a page opened from a disk may not fetch; large, so loaded when first wanted.
  let loading = null;
  function load() {
    loading ??= new Promise((resolve, reject) => {
      self.galleryRows = resolve;
      const script = document.createElement("script");
      script.src = "rows.js";
      script.onerror = () => reject(new Error("rows.js is missing beside this page."));
      document.head.append(script);
    });
    return loading;
  }

  const plain = (text) => text.normalize("NFC").toLowerCase();
  const SYMBOLS = { "\n": "↵", "\r": "↵", "\t": "⇥" };
  // As jobs/text.py: what moves, turns round or hides text is drawn.
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

  // Rows come in the order of their names, and sorting is stable: equal figures stay in that order.
  function select(rows, { words, by, reversed, warned }) {
    const terms = plain(words).split(/\s+/).filter(Boolean);
    const kept = rows.filter((row) => {
      const name = terms.length ? plain(row[COLUMN.name]) : "";
      return (!warned || row[COLUMN.warning]) && terms.every((term) => name.includes(term));
    });
    if (by === "name") return reversed ? kept.reverse() : kept;
    const column = COLUMN[by];
    const sign = HIGHEST_FIRST.has(by) !== reversed ? -1 : 1;
    const missing = (row) => row[column] === null || row[column] === "";
    return kept.sort((a, b) => {
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
      none.textContent = "No picture";
      image.replaceWith(none);
    }
    const badge = item.querySelector(".warning");
    badge.textContent = row[COLUMN.warning];
    badge.hidden = !row[COLUMN.warning];
    const figures = [
      number(row[COLUMN.frechet_vgg22]), share(row[COLUMN.copy]), number(row[COLUMN.diversity]), duration(row[COLUMN.time]),
    ];
    item.querySelectorAll("dd").forEach((place, i) => { place.textContent = figures[i]; });
    return item;
  }

  let selected = [];
  function extend() {
    const start = list.childElementCount;
    list.append(...selected.slice(start, start + BATCH).map(card));
    more.parentElement.hidden = list.childElementCount >= selected.length;
    return list.children[start];
  }

  async function show() {
    const wanted = state();
    if (document.activeElement !== query) query.value = wanted.words;
    sort.value = wanted.by;
    reverse.checked = wanted.reversed;
    warning.checked = wanted.warned;
    const asked = location.hash;
    const filtered = Boolean(wanted.words || wanted.by !== "name" || wanted.reversed || wanted.warned);
    if (filtered) {
      found.textContent = "Loading …";
      try {
        const rows = await load();
        if (location.hash !== asked) return; // a newer state is on its way
        selected = select(rows, wanted);
        found.textContent = `${selected.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} images`;
        list.replaceChildren();
        extend();
      } catch (error) {
        found.textContent = error.message;
        return;
      }
    } else {
      found.textContent = "";
    }
    all.hidden = filtered;
    matches.hidden = !filtered;
  }

  let typing = 0;
  query.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(remember, 150);
  });
  for (const control of [sort, reverse, warning]) control.addEventListener("change", remember);
  more.addEventListener("click", () => extend()?.querySelector("a").focus({ preventScroll: true }));
  addEventListener("hashchange", show);
  tools.hidden = false;
  show();
})();
