// The page of one customer: asks Headrace by the customer's token, which the backend mints and this renews.
"use strict";

const COLUMNS = { name: "Name", email: "Email", account_name: "Account", plan: "Plan",
                  purchases: "Purchases", total_spent: "Spent", last_item: "Last bought" };
const NUMBERS = new Set(["purchases", "total_spent"]);
const RENEW_BEFORE_MS = 60_000;
const PAGE = 10;

let minted = null;
let sort = "-total_spent";
let pages = [null]; // the `after` of each page up to the one that is shown
let asked = 0;

const find = (selector) => document.querySelector(selector);

async function token() {
  const left = minted && Date.parse(minted.expires_at) - Date.now();
  if (!minted || left < Math.min(RENEW_BEFORE_MS, minted.lives / 2)) {
    const answer = await fetch("/token");
    const body = await answer.json();
    if (!answer.ok) throw new Error(body.error);
    minted = body;
    minted.lives = Date.parse(minted.expires_at) - Date.now();
  }
  return minted;
}

async function records(parameters) {
  for (const last of [false, true]) {
    const { api, token: text } = await token();
    const answer = await fetch(`${api}/embed/v1/records/users?${parameters}`,
                               { headers: { Authorization: `Bearer ${text}` } });
    const body = await answer.json();
    if (answer.ok) return body;
    if (answer.status !== 401 || last) throw new Error(body.detail);
    minted = null; // revoked, or its key was: once more with a new one
  }
}

async function show() {
  const mine = ++asked;
  const search = find("#search").value.trim();
  const parameters = new URLSearchParams({ sort, limit: PAGE, fields: Object.keys(COLUMNS).join() });
  if (search) parameters.append("filter", `email:contains:${search}`);
  if (pages.at(-1)) parameters.append("after", pages.at(-1));
  try {
    const page = await records(parameters);
    if (mine !== asked) return; // somebody has asked for something else meanwhile
    draw(page);
  } catch (error) {
    if (mine !== asked) return;
    draw({ items: [], next: null });
    find("#said").textContent = error.message;
  }
}

function draw({ items, next }) {
  const [by, order] = sort.startsWith("-") ? [sort.slice(1), "descending"] : [sort, "ascending"];
  find("thead tr").replaceChildren(...Object.entries(COLUMNS).map(([column, title]) => {
    const heading = cell("th", "", column);
    const button = document.createElement("button");
    button.textContent = title;
    button.onclick = () => { sort = sort === column ? `-${column}` : column; begin(); };
    if (column === by) heading.ariaSort = order;
    heading.append(button);
    return heading;
  }));
  find("tbody").replaceChildren(...items.map((record) => {
    const row = document.createElement("tr");
    row.append(...Object.keys(COLUMNS).map((column) => cell("td", shown(record, column), column)));
    return row;
  }));
  find("#said").textContent = items.length ? `Page ${pages.length}` : "Nobody.";
  find("#back").disabled = pages.length === 1;
  find("#next").disabled = next === null;
  find("#next").onclick = () => { pages.push(next); show(); };
}

// Decimals come as texts, with every digit: what is shown is rounded, and nothing is computed with it.
function shown(record, column) {
  const value = record[column];
  if (value === null) return "–";
  return column === "total_spent" ? Number(value).toFixed(2) : value;
}

// Texts, never HTML: what is in a database is not ours to trust.
function cell(kind, text, column) {
  const made = document.createElement(kind);
  made.textContent = text;
  if (NUMBERS.has(column)) made.className = "number";
  return made;
}

function begin() {
  pages = [null];
  show();
}

find("#back").onclick = () => { pages.pop(); show(); };
find("#search").oninput = begin;
find("#who").onchange = async ({ target }) => {
  await fetch("/sign-in", { method: "POST", body: target.value });
  minted = null;
  find("#search").value = "";
  begin();
};
token().then(({ user }) => { find("#who").value = user; show(); }, () => {});
