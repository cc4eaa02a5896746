"use strict";
const told = JSON.parse(document.getElementById("told").textContent);
const cards = told.cards;
const place = "vargpt-corpus calibrate " + told.corpus + " " + told.rule + " " + told.sample;
const at = (id) => document.getElementById(id);
const labels = {};
const done = []; // what undo takes back: [key, label before]
let shown = 0;

for (const card of cards) if (card.label) labels[card.key] = card.label;
try {
  Object.assign(labels, JSON.parse(localStorage.getItem(place) || "{}"));
} catch { /* a browser that keeps nothing for a file */ }

function keep() {
  try { localStorage.setItem(place, JSON.stringify(labels)); } catch { /* as above */ }
}

function firstOpen(from) {
  for (let n = 0; n < cards.length; n++) {
    const card = (from + n) % cards.length;
    if (!labels[cards[card].key]) return card;
  }
  return -1;
}

function show() {
  const card = cards[shown];
  const count = cards.filter((each) => labels[each.key]).length;
  at("bar").style.width = (100 * count) / cards.length + "%";
  const left = count === cards.length ? "all labelled: save them" : count + " labelled";
  at("count").textContent = "Image " + (shown + 1) + " of " + cards.length + ", " + left;
  at("picture").hidden = !card.picture;
  at("missing").hidden = Boolean(card.picture);
  if (card.picture) at("picture").src = card.picture;
  at("picture").alt = "image " + (shown + 1);
  at("text").textContent = card.text;
  at("source").textContent = card.source;
  at("card").className = labels[card.key] || "";
  at("undo").disabled = !done.length;
  at("back").disabled = shown === 0;
  at("next").disabled = shown === cards.length - 1;
}

function go(to) {
  shown = Math.max(0, Math.min(cards.length - 1, to));
  show();
}

function answer(label) {
  const key = cards[shown].key;
  done.push([key, labels[key]]);
  labels[key] = label;
  keep();
  const open = firstOpen(shown + 1);
  go(open < 0 ? shown : open);
}

function undo() {
  if (!done.length) return;
  const [key, before] = done.pop();
  if (before) labels[key] = before; else delete labels[key];
  keep();
  go(cards.findIndex((card) => card.key === key));
}

function save(name, kind, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: kind }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function rows() {
  return cards.filter((card) => labels[card.key])
    .map((card) => ({ key: card.key, label: labels[card.key] }));
}

function saveJson() {
  const body = { rule: told.rule, corpus: told.corpus, sample: told.sample, labels: rows() };
  save(told.rule + ".labels.json", "application/json", JSON.stringify(body, null, 1));
}

function saveCsv() {
  const about = "," + told.rule + "," + told.sample;
  const lines = rows().map((row) => row.key + "," + row.label + about);
  save(told.rule + ".labels.csv", "text/csv", ["key,label,rule,sample", ...lines, ""].join("\n"));
}

const actions = {
  yes: () => answer("yes"), no: () => answer("no"), skip: () => answer("skip"),
  back: () => go(shown - 1), next: () => go(shown + 1), undo, json: saveJson, csv: saveCsv,
};
for (const [id, act] of Object.entries(actions)) at(id).addEventListener("click", act);

const keys = {
  y: "yes", n: "no", s: "skip", " ": "skip", u: "undo", Backspace: "undo",
  ArrowLeft: "back", ArrowRight: "next",
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const id = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!id || (event.key === " " && event.target.tagName === "BUTTON")) return;
  event.preventDefault();
  actions[id]();
});

shown = Math.max(0, firstOpen(0));
show();
