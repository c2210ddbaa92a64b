(() => {
  "use strict";
  const openTarget = () => {
    const id = decodeURIComponent(location.hash.slice(1));
    const target = id && document.getElementById(id);
    if (target && target.tagName === "DETAILS") {
      target.open = true;
      target.scrollIntoView();
    }
  };
  addEventListener("hashchange", openTarget);
  openTarget();

  const closed = [];
  addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details:not([open])")) {
      part.open = true;
      closed.push(part);
    }
  });
  addEventListener("afterprint", () => {
    for (const part of closed.splice(0)) part.open = false;
  });

  const table = document.getElementById("units");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const filter = document.getElementById("filter");
  const shown = document.getElementById("shown");
  const chips = [...document.querySelectorAll(".chip")];
  document.getElementById("controls").hidden = false;

  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  const apply = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = chips.filter((chip) => chip.getAttribute("aria-pressed") === "true");
    const statuses = new Set(wanted.map((chip) => chip.dataset.status));
    let count = 0;
    for (const row of rows) {
      const text = texts.get(row);
      const fits = (!statuses.size || statuses.has(row.dataset.status)) &&
        words.every((word) => text.includes(word));
      row.hidden = !fits;
      count += fits;
    }
    const units = rows.length === 1 ? "unit" : "units";
    shown.textContent = `${count === rows.length ? "" : `${count} of `}${rows.length} ${units}`;
  };
  filter.addEventListener("input", apply);
  for (const chip of chips) {
    chip.addEventListener("click", () => {
      chip.setAttribute("aria-pressed", String(chip.getAttribute("aria-pressed") !== "true"));
      apply();
    });
  }
  apply();

  const collator = new Intl.Collator("en", { numeric: true });
  const key = (row, index) => {
    const cell = row.cells[index];
    return cell.dataset.v === undefined ? cell.textContent : cell.dataset.v;
  };
  [...table.tHead.rows[0].cells].forEach((head, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const numeric = head.classList.contains("n");
      const sorted = rows.map((row) => [key(row, index), row]).sort(([a], [b]) => {
        if (a === "" || b === "") return (a === "") - (b === "");
        const order = numeric ? a - b : collator.compare(a, b);
        return down ? -order : order;
      });
      body.append(...sorted.map(([, row]) => row));
    });
  });
})();
