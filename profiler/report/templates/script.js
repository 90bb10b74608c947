// Sorting of tables and the choice of colours; the page works without it.
(() => {
  "use strict";
  const number = (text) => {
    const found = /^[<>~]?\s*-?[\d.]+(\s*[kMG](?![a-zA-Z]))?/.exec(text);
    if (!found) return null;
    const scale = { k: 1e3, M: 1e6, G: 1e9 }[found[0].trim().slice(-1)] || 1;
    return parseFloat(found[0].replace(/^[<>~]\s*/, "")) * scale;
  };
  const key = (row, place) => {
    const cell = row.cells[place];
    const text = (cell.firstChild ? cell.firstChild.textContent : "").trim();
    return { text, value: number(text) };
  };
  // What has no value stands last, whichever way the others stand.
  const compare = (a, b, sign, numeric) => {
    if (!numeric) return sign * a.text.localeCompare(b.text);
    if (a.value === null || b.value === null) return (a.value === null) - (b.value === null);
    return sign * (a.value - b.value);
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, place) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const numeric = head.classList.contains("number");
        const before = head.getAttribute("aria-sort");
        const first = numeric ? "descending" : "ascending";
        const other = numeric ? "ascending" : "descending";
        const order = before === first ? other : first;
        heads.forEach((each) => each.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        const rows = [...table.tBodies[0].rows].map((row) => [key(row, place), row]);
        rows.sort((a, b) => compare(a[0], b[0], sign, numeric));
        table.tBodies[0].append(...rows.map((pair) => pair[1]));
      });
    });
  }
  const button = document.getElementById("theme");
  const dark = () => (document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const tell = () => { button.textContent = dark() ? "Light" : "Dark"; button.setAttribute("aria-label", "Use " + (dark() ? "light" : "dark") + " colours"); };
  button.hidden = false;
  button.addEventListener("click", () => { document.documentElement.dataset.theme = dark() ? "light" : "dark"; tell(); });
  tell();
  const open = () => document.querySelectorAll("details").forEach((details) => { details.open = true; });
  addEventListener("beforeprint", open);
  const show = () => { const target = location.hash && document.getElementById(location.hash.slice(1)); const details = target && target.querySelector(":scope > details"); if (details) details.open = true; };
  addEventListener("hashchange", show);
  show();
})();
