// Tables: sorted by click or key, filtered, one page at a time; unfolded for printing.

const DASH = "–";
const PRINTED_ROWS = 1000;
const STATES = DATA.states;

function numberText(value, spec) {
  const [, plus, group, digits, type] = /^(\+?)(,?)(?:\.(\d+))?([fde%])$/.exec(spec);
  const huge = Math.abs(value) >= 1e15;
  const places = huge ? 3 : Number(digits || 0);
  let text;
  if (huge || type === "e") text = value.toExponential(places);
  else {
    text = (type === "%" ? value * 100 : value).toFixed(places);
    if (Number(text) === 0) text = text.replace("-", "");
    if (group) text = text.replace(/^-?\d+/, (whole) => whole.replace(/\B(?=(\d{3})+$)/g, ","));
    if (type === "%") text += "%";
  }
  return (plus && value > 0 ? "+" : "") + text.replaceAll("-", "−");
}

function cellText(value, spec) {
  if (value === null || value === undefined) return DASH;
  if (spec === "state") {
    const words = String(value).replaceAll("_", " ");
    const state = STATES.of[words.toLowerCase()];
    return state ? `${STATES.symbols[state]} ${words}` : words;
  }
  if (spec === "" || spec === "words") return String(value);
  if (spec === "p") return value >= 0 && value < 0.001 ? "<0.001" : numberText(value, ".3f");
  return numberText(value, spec);
}

function csvText(columns, values, order) {
  const quoted = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const lines = order.map((row) => values.map((column) => quoted(column[row])).join(","));
  return [columns.map((c) => quoted(c.name)).join(","), ...lines].join("\r\n") + "\r\n";
}

class Listing {
  constructor(figure) {
    this.figure = figure;
    const { columns, data, height, pageSize, shown } = DATA.tables[Number(figure.dataset.table)];
    Object.assign(this, { columns, height, pageSize, page: 0, sorted: null, down: false });
    this.values = columns.map((c) => column(data[c.name]));
    this.visible = shown && shown < columns.length ? shown : columns.length;
    this.order = Array.from({ length: height }, (_, i) => i);
    this.rows = this.order;
    this.body = figure.querySelector("tbody");
    this.pager = figure.querySelector(".pager");
    this.heads();
    this.tools();
    this.render();
  }

  heads() {
    this.headers = [...this.figure.querySelectorAll("th")];
    this.headers.forEach((th, index) => {
      const made = document.createElement("button");
      made.type = "button";
      made.textContent = this.columns[index].header;
      made.title = `Sort by ${this.columns[index].header}`;
      made.addEventListener("click", () => this.sort(index));
      th.replaceChildren(made);
    });
  }

  tools() {
    const tools = this.figure.querySelector(".tools");
    if (this.height > 8) {
      const filter = document.createElement("input");
      filter.type = "search";
      filter.placeholder = "Filter rows";
      filter.setAttribute("aria-label", "Filter rows");
      filter.addEventListener("input", () => this.filter(filter.value));
      tools.append(filter);
    }
    if (this.visible < this.columns.length) {
      const more = button(`All ${this.columns.length} columns`, "Show all columns", () => {
        this.visible = this.columns.length;
        more.remove();
        this.render();
      });
      tools.append(more);
    }
    tools.append(button("CSV", "Save this table as CSV, six significant digits", () => {
      const text = csvText(this.columns, this.values, this.rows);
      download(URL.createObjectURL(new Blob([text], { type: "text/csv" })), `table-${Number(this.figure.dataset.table) + 1}.csv`);
    }));
  }

  sort(index) {
    const numeric = this.isNumber(index);
    // numbers begin with the largest, names with the first
    this.down = this.sorted === index ? !this.down : numeric;
    this.sorted = index;
    const values = this.values[index];
    const sign = this.down ? -1 : 1;
    const compare = numeric ? (a, b) => a - b : new Intl.Collator("en", { numeric: true }).compare;
    this.order = Array.from({ length: this.height }, (_, i) => i).sort((a, b) => {
      const [x, y] = [values[a], values[b]];
      if (x === null || y === null) return (x === null) - (y === null) || a - b;
      return sign * compare(x, y) || a - b;
    });
    this.headers.forEach((th, i) => {
      if (i === index) th.setAttribute("aria-sort", this.down ? "descending" : "ascending");
      else th.removeAttribute("aria-sort");
    });
    this.select();
  }

  filter(text) {
    this.needle = text.trim().toLowerCase();
    this.select();
  }

  select() {
    const matches = (row) => this.columns.some((c, i) => cellText(this.values[i][row], c.format).toLowerCase().includes(this.needle));
    this.rows = this.needle ? this.order.filter(matches) : this.order;
    this.page = 0;
    this.render();
  }

  isNumber(index) {
    return !["", "words", "state"].includes(this.columns[index].format);
  }

  cell(row, index) {
    const { format } = this.columns[index];
    const value = this.values[index][row];
    const text = cellText(value, format);
    const td = document.createElement("td");
    const inner = document.createElement("bdi");
    inner.textContent = text;
    td.append(inner);
    td.className = this.isNumber(index) ? "number" : (format === "state" && STATES.of[String(value).replaceAll("_", " ").toLowerCase()]) || "";
    if (format === "words") td.className = "words";
    else if (text.length > 24) td.title = text;
    return td;
  }

  render(all = false) {
    const first = all ? 0 : this.page * this.pageSize;
    const last = Math.min(this.rows.length, all ? PRINTED_ROWS : first + this.pageSize);
    this.headers.forEach((th, i) => { th.hidden = i >= this.visible && !all; });
    this.body.replaceChildren(...this.rows.slice(first, last).map((row) => {
      const tr = document.createElement("tr");
      for (let i = 0; i < (all ? this.columns.length : this.visible); i += 1) tr.append(this.cell(row, i));
      return tr;
    }));
    this.foot(first, last);
  }

  foot(first, last) {
    const total = this.rows.length;
    if (total === this.height && last - first === total) return this.pager.replaceChildren();
    const turn = (step) => () => { this.page += step; this.render(); };
    const back = button("‹ Back", "Previous rows", turn(-1));
    const on = button("Next ›", "Next rows", turn(1));
    back.disabled = first === 0;
    on.disabled = last >= total;
    const count = (n) => n.toLocaleString("en-US");
    const where = document.createElement("span");
    where.textContent = total ? `${count(first + 1)}–${count(last)} of ${count(total)} rows` : "No row matches";
    return this.pager.replaceChildren(...(total > this.pageSize ? [back, where, on] : [where]));
  }
}

function startTables() {
  const listings = [...document.querySelectorAll("[data-table]")].map((figure) => new Listing(figure));
  let unfolded = [];
  addEventListener("beforeprint", () => {
    unfolded = [...document.querySelectorAll("details:not([open])")];
    unfolded.forEach((part) => { part.open = true; });
    listings.forEach((listing) => listing.render(true));
  });
  addEventListener("afterprint", () => {
    unfolded.forEach((part) => { part.open = false; });
    listings.forEach((listing) => listing.render());
  });
}

function startContents() {
  const links = [...document.querySelectorAll("nav ol a")];
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      links.forEach((link) => link.classList.toggle("here", link.hash === `#${entry.target.id}`));
    }
  }, { rootMargin: "-10% 0px -75% 0px" });
  document.querySelectorAll("main > section").forEach((section) => seen.observe(section));
}

showTheme();
startTables();
startContents();
startCharts();
