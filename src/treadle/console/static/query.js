// The page of statements: inserting names, what is running, and the history. Without it the page is
// a form that works.
"use strict";
(() => {
  const form = document.getElementById("query");
  if (!form) return;
  const sql = document.getElementById("sql");

  // A click on a name puts it where the cursor is.
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-insert]");
    if (!button) return;
    event.preventDefault();
    const from = sql.selectionStart;
    const before = sql.value.slice(0, from);
    const blank = before && !/[\s(.,]$/.test(before) ? " " : "";
    sql.setRangeText(blank + (button.dataset.insert || button.textContent), from, sql.selectionEnd, "end");
    sql.focus();
  });

  // The history: this browser's alone, for each account by itself, and nothing that may be a secret.
  const most = 50;
  const key = `treadle-queries-${form.dataset.history}`;
  const offKey = "treadle-queries-off";
  const secret = /\ba[ct]_[0-9a-f]{8,}|password|passwd|secret|token|api_?key|\bbearer\b|:\/\/[^\s/]*@/i;
  const isOff = () => { try { return localStorage.getItem(offKey) === "yes"; } catch { return true; } };
  const read = () => {
    try {
      const found = JSON.parse(localStorage.getItem(key) || "[]");
      return Array.isArray(found) ? found.filter((one) => typeof one === "string").slice(0, most) : [];
    } catch { return []; }
  };
  const write = (list) => {
    try {
      if (list.length) localStorage.setItem(key, JSON.stringify(list)); else localStorage.removeItem(key);
    } catch { /* the browser keeps nothing */ }
  };
  const list = document.getElementById("history-list");
  const button = document.getElementById("history-switch");
  const show = () => {
    list.replaceChildren(...read().map((text) => {
      const line = document.createElement("li");
      const again = document.createElement("button");
      again.type = "button";
      again.className = "insert";
      again.textContent = text.length > 200 ? `${text.slice(0, 200)}...` : text;
      again.addEventListener("click", () => { sql.value = text; sql.focus(); });
      line.append(again);
      return line;
    }));
    button.textContent = isOff() ? "Not kept" : "Kept";
    button.setAttribute("aria-pressed", isOff() ? "false" : "true");
  };
  document.getElementById("history-clear").addEventListener("click", () => { write([]); show(); });
  button.addEventListener("click", () => {
    const off = !isOff();
    try { localStorage.setItem(offKey, off ? "yes" : "no"); } catch { /* as above */ }
    if (off) write([]);
    show();
  });
  show();

  // What is running. Stop sends the form, so that the browser leaves what it waits for.
  const running = document.getElementById("query-running");
  const stop = document.getElementById("query-stop");
  stop.disabled = true;
  let clock = 0;
  const rest = () => { clearInterval(clock); running.textContent = ""; stop.disabled = true; };
  form.addEventListener("submit", (event) => {
    const action = event.submitter ? event.submitter.value : "run";
    if (action === "stop") return;
    const text = sql.value.trim();
    if (text && action !== "find" && !isOff() && text.length <= 10000 && !secret.test(text)) {
      write([text, ...read().filter((one) => one !== text)].slice(0, most));
      show();
    }
    if (action !== "run") return;
    const began = Date.now();
    const tell = () => { running.textContent = `Running, ${Math.floor((Date.now() - began) / 1000)} s`; };
    clearInterval(clock);
    tell();
    stop.disabled = false;
    clock = setInterval(tell, 1000);
  });
  addEventListener("pageshow", rest);
})();
