// What pages do beyond links and forms: live regions, copying, shortcuts, times. Everything works
// without it but these.
"use strict";
(() => {
  const root = document.documentElement;
  const body = document.body;
  const base = body.dataset.base || "";
  root.classList.add("js");

  // A page that answers a form is replaced by its address, so that a reload sends nothing again.
  if (body.dataset.posted === "yes") history.replaceState(null, "", location.href);

  // Copying ---------------------------------------------------------------------------------------
  const textOf = (button) => {
    const target = button.dataset.copyFrom && document.getElementById(button.dataset.copyFrom);
    return target ? target.textContent : button.dataset.copy;
  };
  const copyText = async (text) => {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) throw new Error("refused");
  };
  document.addEventListener("click", async (event) => {
    const copy = event.target.closest("[data-copy], [data-copy-from]");
    if (copy) {
      const label = copy.dataset.label || (copy.dataset.label = copy.textContent);
      try {
        await copyText(textOf(copy));
        copy.textContent = "Copied";
      } catch {
        copy.textContent = "Not copied";
      }
      say(copy.textContent);
      setTimeout(() => { copy.textContent = label; }, 1500);
      return;
    }
    const save = event.target.closest("[data-download]");
    if (save) {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([save.dataset.content], { type: "text/plain" }));
      link.download = save.dataset.download;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    }
  });

  // One polite message at a time, at most one in five seconds.
  const speaker = document.getElementById("speaker");
  let spoke = 0;
  const say = (text, always = true) => {
    if (!speaker || (!always && Date.now() - spoke < 5000)) return;
    spoke = Date.now();
    speaker.textContent = text;
  };

  // Times -----------------------------------------------------------------------------------------
  const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const ageOf = (seconds) => {
    for (const [size, name] of units) if (seconds >= size) return `${Math.floor(seconds / size)} ${name}`;
    return "0 s";
  };
  const skew = Number(body.dataset.now || 0) - Date.now();
  const showTimes = () => {
    for (const time of document.querySelectorAll("time[datetime]")) {
      const moment = Date.parse(time.dateTime);
      if (Number.isNaN(moment)) continue;
      const seconds = (Date.now() + skew - moment) / 1000;
      const text = seconds < -1 ? `in ${ageOf(-seconds)}` : seconds < 2 ? "just now" : `${ageOf(seconds)} ago`;
      if (time.textContent !== text) time.textContent = text;
      if (!time.dataset.local) {
        time.dataset.local = "1";
        time.title = `${time.title}\n${new Date(moment).toLocaleString()} here`;
      }
    }
  };
  showTimes();
  setInterval(showTimes, 10000);

  // Regions: changed in place, so that focus, scroll and selection stay ----------------------------
  const alike = (one, other) => one.nodeType === other.nodeType && one.nodeName === other.nodeName
    && one.id === other.id;
  const morph = (old, fresh) => {
    if (old.nodeType === Node.TEXT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) return;
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value && !(old.nodeName === "TIME" && name === "title")) old.setAttribute(name, value);
    }
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && !(name === "open" || name.startsWith("data-"))) old.removeAttribute(name);
    }
    morphChildren(old, fresh);
  };
  const morphChildren = (old, fresh) => {
    let place = old.firstChild;
    for (const child of [...fresh.childNodes]) {
      if (place && alike(place, child)) {
        const next = place.nextSibling;
        morph(place, child);
        place = next;
      } else {
        old.insertBefore(child, place);
      }
    }
    while (place) {
      const next = place.nextSibling;
      place.remove();
      place = next;
    }
  };
  // A list that is scrolled or has the focus stays as it is, and takes what is new afterwards.
  const held = new Map();
  const holdNote = document.getElementById("hold-note");
  const isRead = (region) => region.dataset.hold === "yes"
    && (region.getBoundingClientRect().top < 60 || region.contains(document.activeElement?.closest("tbody, dl, details")));
  const release = () => { for (const [topic, html] of held) showRegion(topic, html); };
  const showRegion = (topic, html) => {
    const region = document.querySelector(`[data-region="${CSS.escape(topic)}"]`);
    if (!region) return;
    if (isRead(region)) held.set(topic, html);
    else held.delete(topic);
    if (holdNote) holdNote.hidden = !held.size;
    if (held.has(topic)) return;
    const fresh = document.createElement("template");
    fresh.innerHTML = html.trim();
    // A blank before the first element would be taken for it, and everything be made anew.
    for (const end of ["firstChild", "lastChild"]) {
      const blank = region[end];
      if (blank && blank.nodeType === Node.TEXT_NODE && !blank.data.trim()) blank.remove();
    }
    morphChildren(region, fresh.content);
    showTimes();
    const told = region.querySelector("[data-say]");
    if (told && told.dataset.said !== told.dataset.say) {
      told.dataset.said = told.dataset.say;
      say(told.dataset.say, false);
    }
  };

  addEventListener("scroll", release, { passive: true });
  addEventListener("focusout", () => setTimeout(release));

  // Live: one stream for a visible tab; polling where the server has too many ----------------------
  const topics = body.dataset.topics;
  const isLive = body.dataset.live === "on" && topics;
  const bar = document.getElementById("live-state");
  const tell = (text, link) => {
    if (!bar || bar.dataset.text === (text || "")) return;
    bar.dataset.text = text || "";
    bar.replaceChildren();
    if (!text) return;
    const line = document.createElement("p");
    line.className = "message warning";
    line.textContent = `${text} `;
    if (link) {
      const go = document.createElement("a");
      go.href = location.href;
      go.textContent = link;
      line.append(go);
    }
    bar.append(line);
  };
  const clock = () => new Date().toLocaleTimeString();
  let stream = null;
  let poller = 0;
  const ended = () => { stop(); tell("Your session has ended, so the numbers stand still.", "Sign in"); };
  const poll = async () => {
    try {
      const answer = await fetch(`${base}/regions?topics=${topics}`, { mode: "same-origin" });
      if (answer.status === 401) { ended(); return; }
      if (!answer.ok) throw new Error(String(answer.status));
      const found = await answer.json();
      for (const [topic, html] of Object.entries(found.regions)) showRegion(topic, html);
      tell("");
    } catch {
      tell(`The server does not answer since ${clock()}. The numbers are from before; this page asks again by itself.`);
    }
  };
  let isLeft = false;
  const stop = () => {
    if (stream) stream.close();
    clearInterval(poller);
    stream = null;
    poller = 0;
  };
  // A browser has six connections to a server for all its tabs: at most four of them hold one, and
  // further ones ask each ten seconds.
  const channel = "BroadcastChannel" in window ? new BroadcastChannel("treadle-live") : null;
  const me = Math.random();
  const holders = new Set();
  let isStarting = false;
  if (channel) {
    channel.addEventListener("message", ({ data }) => {
      if (data.here) holders.add(data.here);
      else if (stream || (isStarting && me < data.asks)) channel.postMessage({ here: me });
    });
  }
  const start = async () => {
    if (!isLive || stream || poller || isStarting || document.hidden) return;
    if (channel) {
      isStarting = true;
      holders.clear();
      channel.postMessage({ asks: me });
      await new Promise((done) => { setTimeout(done, 250); });
      isStarting = false;
      if (document.hidden || isLeft) return;
      if (holders.size >= 4) {
        poller = setInterval(poll, 10000);
        poll();
        return;
      }
    }
    stream = new EventSource(`${base}/events?topics=${topics}`);
    stream.addEventListener("open", () => tell(""));
    stream.addEventListener("region", (event) => {
      const { topic, html } = JSON.parse(event.data);
      tell("");
      showRegion(topic, html);
    });
    stream.addEventListener("trouble", (event) => {
      const { text } = JSON.parse(event.data);
      tell(text ? `The numbers cannot be read since ${clock()}: ${text}` : "");
    });
    stream.addEventListener("end", (event) => {
      if (JSON.parse(event.data).why === "session") { ended(); return; }
      tell(`The server is stopping. This page connects again by itself (${clock()}).`);
    });
    stream.addEventListener("error", () => {
      if (!stream) return;
      if (stream.readyState === EventSource.CLOSED) {
        stop();
        poller = setInterval(poll, 10000);
        poll();
      } else {
        tell(`The connection is lost since ${clock()}. This page connects again by itself.`);
      }
    });
  };
  // Hidden tabs hold no connection: a browser has six to a server.
  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : start()));
  addEventListener("pagehide", () => { isLeft = true; stop(); });
  addEventListener("pageshow", () => { isLeft = false; start(); });
  start();

  // Previews: what a field leads to, told by the server --------------------------------------------
  for (const field of document.querySelectorAll("[data-preview]")) {
    const place = document.getElementById(field.dataset.previewIn);
    let waits = 0;
    let asked = 0;
    field.addEventListener("input", () => {
      clearTimeout(waits);
      waits = setTimeout(async () => {
        const turn = ++asked;
        const answer = await fetch(`${field.dataset.preview}?value=${encodeURIComponent(field.value)}`, { mode: "same-origin" });
        if (!answer.ok || turn !== asked) return;
        const fresh = document.createElement("template");
        fresh.innerHTML = await answer.text();
        morphChildren(place, fresh.content);
      }, 150);
    });
  }

  // Parts of a page that follow one thing, until it is settled: asked each second while they are seen --
  for (const place of document.querySelectorAll("[data-follow]")) {
    if (body.dataset.live !== "on") break;
    const timer = setInterval(async () => {
      if (document.hidden) return;
      const answer = await fetch(place.dataset.follow, { mode: "same-origin" }).catch(() => null);
      if (!answer) return;
      if (!answer.ok || answer.redirected) { clearInterval(timer); return; }
      const fresh = document.createElement("template");
      fresh.innerHTML = (await answer.text()).trim();
      morphChildren(place, fresh.content);
      showTimes();
      const told = place.querySelector("[data-say]");
      if (told && place.dataset.said !== told.dataset.say) {
        place.dataset.said = told.dataset.say;
        say(told.dataset.say, false);
      }
      if (place.querySelector("[data-settled]")) clearInterval(timer);
    }, Number(place.dataset.each || 1000));
  }

  // Records that are edited are checked on the way; what the server says counts.
  for (const field of document.querySelectorAll("textarea[data-json]")) {
    const place = document.getElementById(field.dataset.json);
    field.addEventListener("input", () => {
      let fault = "";
      try {
        const value = JSON.parse(field.value);
        if (value === null || typeof value !== "object" || Array.isArray(value)) fault = 'A record is a JSON object, such as {"id": 1}.';
      } catch (error) {
        fault = `This is no JSON: ${error.message}.`;
      }
      if (place.textContent !== fault) place.textContent = fault;
      field.toggleAttribute("aria-invalid", Boolean(fault));
      if (fault) field.setAttribute("aria-invalid", "true");
    });
  }

  // Shortcuts -------------------------------------------------------------------------------------
  const isTyping = (target) => target.closest("input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]");
  const rows = () => [...document.querySelectorAll("main tbody a[href]")].filter((link, at, all) =>
    at === all.findIndex((other) => other.closest("tr") === link.closest("tr")));
  let before = "";
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.form) {
      event.preventDefault();
      event.target.form.requestSubmit();
      return;
    }
    if (event.key === "Escape") {
      for (const open of document.querySelectorAll("details.account[open]")) open.open = false;
      return;
    }
    if (body.dataset.keys !== "on" || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (before === "g") {
      before = "";
      const link = document.querySelector(`.nav a[data-key="${CSS.escape(event.key)}"]`);
      if (link) { event.preventDefault(); link.click(); }
      return;
    }
    before = event.key === "g" ? "g" : "";
    if (event.key === "/") {
      const search = document.querySelector("main input[type=search]");
      if (search) { event.preventDefault(); search.focus(); }
    } else if (event.key === "?") {
      location.href = `${base}/help`;
    } else if (event.key === "j" || event.key === "k") {
      const links = rows();
      const at = links.indexOf(document.activeElement);
      const next = links[event.key === "j" ? at + 1 : Math.max(0, at - 1)];
      if (next) next.focus();
    }
  });
  document.addEventListener("click", (event) => {
    for (const open of document.querySelectorAll("details.account[open]")) {
      if (!open.contains(event.target)) open.open = false;
    }
  });
})();
