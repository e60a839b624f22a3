"use strict";
(() => {
  const AHEAD = 5; // items that are ready behind the one that is shown
  const TILES = 12;
  const SOONEST = 250; // ms: nobody has seen an item before, so what is pressed sooner was pressed twice
  const LONGEST_PAUSE = 300; // seconds that one answer can take
  const IDLE = 300e3; // ms without a key or a press after which the items are left to others
  const RENEW = 20e3; // ms
  const ZOOMS = [1, 1.5, 2, 3, 4, 6, 8];

  const $ = (id) => document.getElementById(id);
  const make = (name, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };
  const random = () => [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const plural = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;
  const sentence = (text) => (/[.!?]$/.test(text) ? text : `${text}.`);
  const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  // What can wait until the next item is painted. A page that is not seen is not painted.
  const afterPaint = (act) => {
    let isDone = false;
    const once = () => { if (!isDone) { isDone = true; act(); } };
    requestAnimationFrame(() => setTimeout(once));
    setTimeout(once, 100);
  };
  const setText = (element, text) => { if (element.textContent !== text) element.textContent = text; };

  // What the browser keeps. A browser may not let pages store: then it is kept for as long as the page is open.
  const kept = {
    mayStore: true,
    get(name) { try { return localStorage.getItem(`lightning_al ${name}`); } catch { return null; } },
    set(name, value) {
      try { localStorage.setItem(`lightning_al ${name}`, value); } catch { this.mayStore = false; }
    },
    drop(name) { try { localStorage.removeItem(`lightning_al ${name}`); } catch { /* nothing was kept */ } },
    names(start) {
      try {
        return Object.keys(localStorage).map((name) => name.replace(/^lightning_al /, "")).filter((name) => name.startsWith(start));
      } catch { return []; }
    },
  };

  let client = random();
  let who = kept.get("who");
  let byKeys = kept.get("keys") !== "off";
  let state = null;
  let run = null; // what unsent answers are kept under, so that no other run gets them
  let held = []; // items that are leased to this page; the first is shown
  let shown = null; // {item, since, seen} or null
  let tiles = null; // {items, exceptions, since, seen} or null
  let isGrid = false;
  let showsGuess = false;
  let history = []; // answers given here: {id, point, key, answer, item, batch, refused}, oldest first
  const undone = new Set(); // ids
  let queue = []; // what is not yet acknowledged, in order
  let connection = "good"; // "good", "lost" or "over"
  let lastTouch = performance.now();

  // ---- Saying things

  const announce = (text) => { $("live").textContent = text; };
  const notice = (text) => {
    if ([...$("notices").querySelectorAll("p")].some((one) => one.textContent === text)) return;
    const close = make("button", { type: "button", textContent: "Close" });
    const box = make("div", { className: "notice" }, make("p", { textContent: text }), close);
    close.addEventListener("click", () => { box.remove(); focusItem(); });
    $("notices").append(box);
    while ($("notices").childElementCount > 3) $("notices").firstChild.remove();
  };
  const className = (number) => state?.classes.find((one) => one.number === number)?.name ?? String(number);
  const said = (answer) => {
    if (answer === null || typeof answer !== "object") return String(answer);
    if ("class" in answer) return className(answer.class);
    if ("unusable" in answer) return answer.unusable ? `unusable: ${answer.unusable}` : "unusable";
    if ("other" in answer) return `other: ${answer.other}`;
    return "skipped";
  };
  const nameOf = (item) => (item.key === null || item.key === undefined ? `item ${item.point}` : String(item.key));

  // ---- The server. Addresses are relative, so that a proxy may put the page anywhere.

  class Refused extends Error {
    constructor(status, reason) { super(reason); this.status = status; }
  }
  let heard = -Infinity; // when the last state came by itself
  let asked = -Infinity; // when the last state was asked for that was taken
  const ask = async (path, body) => {
    const since = performance.now();
    const posted = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
    const reply = await fetch(path, { credentials: "same-origin", cache: "no-store", signal: AbortSignal.timeout(20e3), ...(body && posted) });
    if (reply.ok) {
      const answer = await reply.json();
      // A state that came by itself since then is newer than that of this reply, and is not told again.
      if (heard > since || asked > since) delete answer.state;
      else asked = since;
      return answer;
    }
    const text = await reply.text();
    let reason = text.slice(0, 300);
    try { reason = JSON.parse(text).error ?? reason; } catch { /* plain text */ }
    throw new Refused(reply.status, reason || `HTTP ${reply.status}`);
  };
  const isOver = (error) => error instanceof Refused && (error.status === 401 || error.status === 403);
  const isFinal = (error) => error instanceof Refused && error.status >= 400 && error.status < 500 && ![408, 425, 429].includes(error.status);
  const connected = (how) => {
    if (connection === how) return;
    connection = how;
    if (how === "good") { loadAgain(); wake(); }
    if (how === "over") notice("This page is no longer signed in. Open the address that the run printed last; answers that are not sent are kept in this browser.");
    showFacts();
    if (shown === null && tiles === null) showWaiting();
  };
  const address = (picture, side) => {
    const url = new URL(String(picture.url).replace(/^\/+/, ""), document.baseURI);
    url.searchParams.set("side", side);
    return url.href;
  };

  // ---- The queue: in order, each entry once, kept in the browser until the server has it on disk

  const enqueue = (entry) => {
    entry = { ...entry, client, who, at: Date.now(), order: queue.length ? queue.at(-1).order + 1 : 0 };
    queue.push(entry);
    kept.set(`unsent ${run} ${entry.id}`, JSON.stringify(entry));
    afterPaint(() => { showFacts(); send(); });
  };
  const settle = (ids) => {
    const gone = new Set(ids);
    queue = queue.filter((entry) => !gone.has(entry.id));
    for (const id of gone) kept.drop(`unsent ${run} ${id}`);
    showFacts();
  };
  const recallQueue = () => {
    const start = `unsent ${run} `;
    const here = new Set(queue.map((entry) => entry.id));
    const found = [];
    for (const name of kept.names(start)) {
      try {
        const entry = JSON.parse(kept.get(name));
        if (entry && !here.has(entry.id)) found.push({ ...entry, isHere: false });
      } catch { kept.drop(name); }
    }
    queue = [...found.sort((one, other) => one.at - other.at || one.order - other.order), ...queue];
  };
  const refuse = (id, reason) => {
    const entry = queue.find((one) => one.id === id);
    const past = history.find((one) => one.id === id);
    if (past) past.refused = true;
    notice(`Not kept: ${entry?.key ?? "an answer"}${entry?.answer ? `, ${said(entry.answer)}` : ""}. ${sentence(reason)}`);
  };
  const keepAnswer = (entry, reason) => {
    undone.delete(entry.of);
    leave([entry.point]);
    notice(`Not undone: ${entry.key}. ${sentence(reason)}`);
  };
  let wake = () => {}; // ends the pause before what was not sent is sent again
  addEventListener("online", () => wake());
  const setEarlier = ({ point, earlier }) => {
    const item = held.find((one) => one.point === point);
    if (item) item.earlier = earlier;
    if (item && item === shown?.item) $("skip").hidden = earlier ?? false;
  };
  let isSending = false;
  let pause = 0;
  const send = async () => {
    if (isSending || !queue.length || connection === "over") return;
    isSending = true;
    let most = 50;
    while (queue.length) {
      const [first] = queue;
      const end = queue.findIndex((entry, place) =>
        place === most || entry.of !== undefined || entry.client !== first.client || entry.who !== first.who);
      const batch = first.of === undefined ? queue.slice(0, end < 0 ? queue.length : Math.max(end, 1)) : [first];
      try {
        if (first.of !== undefined) {
          const reply = await ask("api/undo", { id: first.id, of: first.of, client: first.client, who: first.who });
          for (const { reason } of reply.refused ?? []) keepAnswer(first, reason);
          settle([first.id]);
          if (reply.item) setEarlier(reply.item);
          // What was undone after a reload comes with the reply, or came a moment ago among the next items.
          if (reply.item && !first.isHere && !pointsOf(false).includes(first.point)) askAgain([held.find((item) => item.point === first.point) ?? reply.item]);
          take(reply.state);
        } else {
          const answers = batch.map(({ id, point, answer, seconds, suggestion_shown }) => ({ id, point, answer, seconds, suggestion_shown }));
          const reply = await ask("api/answers", { client: first.client, who: first.who, answers });
          for (const { id, reason } of reply.refused ?? []) refuse(id, reason);
          const done = [...(reply.kept ?? []), ...(reply.refused ?? []).map((one) => one.id)];
          if (!done.length) throw new Error("nothing was acknowledged");
          settle(done);
          take(reply.state);
        }
        pause = 0;
        most = 50;
        connected("good");
      } catch (error) {
        if (isOver(error)) { connected("over"); break; }
        if (isFinal(error)) {
          // One entry that the server cannot take must not hold up the others.
          if (batch.length > 1) { most = 1; continue; }
          if (first.of === undefined) refuse(first.id, error.message);
          else keepAnswer(first, error.message);
          settle([first.id]);
          continue;
        }
        connected("lost");
        pause = Math.min(10e3, pause ? 2 * pause : 500);
        await Promise.race([wait(pause), new Promise((resolve) => { wake = resolve; })]);
      }
    }
    isSending = false;
    showStrip();
  };
  addEventListener("beforeunload", (event) => { if (queue.length && !kept.mayStore) event.preventDefault(); });

  // ---- Items, made ready before they are shown

  const picture = (item, place, side) => {
    const facts = item.pictures[place];
    const image = make("img", { alt: item.pictures.length > 1 ? `${nameOf(item)}, picture ${place + 1}` : nameOf(item), draggable: false });
    if (facts.small) image.className = "small";
    if (facts.width && facts.height) Object.assign(image, { width: facts.width, height: facts.height });
    image.src = address(facts, side);
    return image;
  };
  const prepare = (item) => {
    if (item.node) return item;
    const { pictures = [], texts = [], rows = [] } = item;
    item.pictures = pictures;
    item.images = pictures.map((_, place) => picture(item, place, 1600));
    item.node = make("div", { className: pictures.length ? "shown pictured" : "shown" });
    if (pictures.length) item.node.append(make("div", { className: "pictures" }, ...item.images));
    for (const text of texts) item.node.append(make("p", { className: "text", textContent: text }));
    if (rows.length) {
      const body = make("tbody");
      for (const [name, value] of rows) {
        body.append(make("tr", {}, make("th", { scope: "row", textContent: name }), make("td", { textContent: value })));
      }
      item.node.append(make("div", { className: "rows" }, make("table", {}, body)));
    }
    if (pictures.length) for (const part of item.node.querySelectorAll(".text, .rows")) part.tabIndex = 0;
    if (item.fault) item.node.append(make("p", { className: "fault", textContent: `This item cannot be shown: ${item.fault}` }));
    item.isReady = !pictures.length;
    item.ready = Promise.all(item.images.map((image) => image.decode())).catch(() => {
      item.hasFailed = true;
      item.node.append(make("p", { className: "fault", textContent: "A picture did not load. Skip the item, or load the page again." }));
    }).then(() => { item.isReady = true; });
    return item;
  };
  const loadAgain = () => {
    for (const item of held.filter((one) => one.hasFailed)) {
      item.node = null;
      item.hasFailed = false;
      prepare(item);
    }
    if (shown && !$("stage").contains(shown.item.node)) advance();
  };

  const pointsOf = (undos) => queue.filter((entry) => (entry.of !== undefined) === undos).map((entry) => entry.point);
  const isKnown = (point) => held.some((item) => item.point === point) || pointsOf(false).includes(point);
  const leave = (points) => {
    const gone = new Set(points);
    held = held.filter((item) => !gone.has(item.point));
    if (shown && gone.has(shown.item.point)) {
      announce(`${nameOf(shown.item)} is not asked for any more.`);
      advance();
    } else if (tiles?.items.some((item) => gone.has(item.point))) advance();
  };
  const askAgain = (items) => {
    const points = new Set(items.map((item) => item.point));
    held = [...items, ...held.filter((item) => !points.has(item.point))];
    advance();
  };

  let isFilling = false;
  let mustFill = false;
  const fill = async ({ renew = false } = {}) => {
    if (state === null || who === null || connection === "over") return;
    if (isFilling) { mustFill = true; return; }
    isFilling = true;
    do {
      mustFill = false;
      const n = Math.max((isGrid ? 2 * TILES : 1 + AHEAD) - held.length, 0);
      if (!n && !renew) break;
      renew = false;
      const undos = pointsOf(true); // which the server does not know as open yet
      const here = held.map((item) => item.point);
      try {
        const reply = await ask("api/next", { client, who, n, seen: [...new Set([...here, ...pointsOf(false)])] });
        connected("good");
        leave((reply.gone ?? []).filter((point) => here.includes(point) && !undos.includes(point) && !pointsOf(true).includes(point)));
        held.push(...(reply.items ?? []).filter((item) => !isKnown(item.point)));
        take(reply.state);
      } catch (error) {
        if (isOver(error)) connected("over");
        else if (isFinal(error)) notice(`The next items were refused: ${error.message}`);
        else connected("lost");
        break;
      }
    } while (mustFill);
    isFilling = false;
    if (!isGrid) held.slice(0, 1 + AHEAD).forEach(prepare); // the one that is seen first loads first
    if (shown === null && tiles === null) advance();
    showFacts();
  };

  // ---- One item

  const look = (seen) => {
    const now = performance.now();
    const view = shown ?? tiles;
    if (!view) return;
    if (view.isLooked) view.seconds += (now - view.lookedSince) / 1000;
    view.isLooked = seen;
    view.lookedSince = now;
  };
  const view = (facts) => ({ ...facts, since: performance.now(), seconds: 0, isLooked: !document.hidden, lookedSince: performance.now() });
  const secondsOf = (one) => {
    look(!document.hidden);
    return Math.round(100 * Math.min(one.seconds, LONGEST_PAUSE)) / 100;
  };
  const section = (name) => { for (const one of ["item", "grid", "waiting"]) $(one).hidden = one !== name; };
  const focusItem = () => {
    if (document.activeElement && document.activeElement !== document.body && !document.activeElement.closest("[hidden]")) return;
    (shown ? $("item-name") : tiles ? $("grid-name") : $("waiting-name")).focus({ preventScroll: true });
  };

  const show = (item) => {
    shown = view({ item });
    tiles = null;
    zoomTo(0);
    section("item");
    $("answers").hidden = false;
    setText($("item-name"), nameOf(item));
    $("item-name").title = nameOf(item);
    $("stage").setAttribute("aria-label", `Item ${nameOf(item)}`);
    $("stage").replaceChildren(item.node);
    $("stage").scrollTo(0, 0);
    $("zooms").hidden = !item.pictures.length;
    $("skip").hidden = item.earlier ?? false;
    showGuess();
    focusItem();
  };
  const advance = async () => {
    shown = null;
    tiles = null;
    if (isGrid && showTiles()) return;
    if (!held.length) { showWaiting(); return; }
    const item = prepare(held[0]);
    if (item.isReady) { show(item); return; }
    showWaiting();
    await item.ready;
    if (shown === null && tiles === null && held[0] === item) show(item);
  };
  const showGuess = () => {
    const guess = shown?.item.suggestion;
    $("guess").hidden = !showsGuess;
    if (!showsGuess || !shown) return;
    if (!guess) { setText($("guess"), "No guess is shown for this item."); return; }
    shown.item.isGuessSeen = true;
    setText($("guess"), `The model believes: ${className(guess.class)} (${Number(guess.probability).toFixed(2)})`);
  };

  const record = (item, answer, seconds, batch) => {
    const id = random();
    const key = nameOf(item);
    history.push({ id, point: item.point, key, answer, item, batch, order: Date.now() });
    history = history.slice(-60);
    const old = history.at(-2 - TILES)?.item;
    if (old) old.node = old.images = null; // decoded pictures are large; they are loaded again if it is undone
    held = held.filter((one) => one !== item);
    enqueue({ id, point: item.point, key, answer, seconds, suggestion_shown: item.isGuessSeen ?? false });
  };
  const isTooSoon = (one, clicks = 1) => performance.now() - one.since < (clicks > 1 ? 400 : SOONEST);
  const answer = (what, clicks) => {
    if (shown === null || isTooSoon(shown, clicks)) return;
    const { item } = shown;
    if (what.skip && item.earlier) { announce("This item is of an earlier round, so it cannot be skipped."); return; }
    const seconds = secondsOf(shown);
    record(item, what, seconds, null);
    pace.push(seconds);
    advance();
    announce(`${said(what)}. ${shown ? `Next: ${nameOf(shown.item)}` : "Wait for the next item"}.`);
    afterPaint(() => { showStrip(); fill(); });
  };
  const undo = (id = null) => {
    const last = state?.phase !== "done" && strip().findLast((entry) => (id === null ? entry.isMine : entry.id === id));
    if (!last) { announce("There is nothing to undo."); return; }
    const together = last.batch && id === null ? history.filter((one) => one.batch === last.batch && !undone.has(one.id)) : [last];
    const back = together.map((entry) => entry.item).filter(Boolean);
    for (const entry of together) {
      undone.add(entry.id);
      enqueue({ id: random(), of: entry.id, point: entry.point, key: entry.key, isHere: entry.item !== undefined });
    }
    if (back.length) {
      if (!last.batch) isExcepted(back);
      askAgain(back);
    }
    announce(`Undone: ${together.length > 1 ? plural(together.length, "answer") : `${last.key}, ${said(last.answer)}`}.`);
    showStrip();
    fill();
  };

  // ---- The grid: the model's classes, of which the wrong ones are pressed and the rest is accepted

  const isExcepted = (items) => { for (const item of items) item.isException = true; };
  const fitsGrid = (item) => item.grid && item.suggestion && !item.isException;
  const showTiles = () => {
    // Exceptions are asked one by one before the next grid.
    if (held.some((item) => item.isException)) {
      held.sort((one, other) => Number(other.isException ?? false) - Number(one.isException ?? false));
      return false;
    }
    const items = held.filter(fitsGrid).slice(0, TILES);
    if (!items.length) return false;
    items.sort((one, other) => one.suggestion.class - other.suggestion.class || other.suggestion.probability - one.suggestion.probability);
    tiles = view({ items, exceptions: new Set() });
    for (const item of items) item.isGuessSeen = true;
    section("grid");
    $("answers").hidden = true;
    $("tiles").replaceChildren(...items.map(tile));
    showAccept();
    focusItem();
    announce(`${plural(items.length, "item")}, each with the class that the model believes.`);
    return true;
  };
  const tile = (item) => {
    const button = make("button", { type: "button" });
    button.setAttribute("aria-pressed", "false");
    const { pictures = [], texts = [], rows = [] } = item;
    item.pictures = pictures;
    if (pictures.length) button.append(Object.assign(picture(item, 0, 400), { alt: "" }));
    else button.append(make("span", { className: "excerpt", textContent: texts[0] ?? rows.map((row) => row.join(" ")).join("\n") }));
    button.append(make("span", { className: "said", textContent: className(item.suggestion.class) }));
    button.append(make("span", { className: "key", textContent: nameOf(item) }));
    button.addEventListener("click", () => {
      if (!tiles.exceptions.delete(item)) tiles.exceptions.add(item);
      button.setAttribute("aria-pressed", String(tiles.exceptions.has(item)));
      showAccept();
    });
    return button;
  };
  const showAccept = () => {
    const left = tiles.items.length - tiles.exceptions.size;
    $("accept").replaceChildren(left ? `Accept ${left === tiles.items.length ? `all ${left}` : `the other ${left}`} ` : "Answer one by one ", make("kbd", { textContent: "A" }));
  };
  const accept = () => {
    if (tiles === null || isTooSoon(tiles)) return;
    const { items, exceptions } = tiles;
    const accepted = items.filter((item) => !exceptions.has(item));
    const seconds = Math.round((100 * secondsOf(tiles)) / items.length) / 100;
    const batch = random();
    isExcepted(exceptions);
    for (const item of accepted) record(item, { class: item.suggestion.class }, seconds, batch);
    exceptions.forEach(prepare);
    pace.push(...accepted.map(() => seconds));
    advance();
    announce(`${plural(accepted.length, "answer")} accepted.`);
    showStrip();
    fill();
  };
  const setGrid = async (on) => {
    isGrid = on;
    $("view").setAttribute("aria-pressed", String(on));
    if (on) for (const item of held) delete item.isException;
    if (on) await fill(); // twelve, rather than the few that are here
    advance();
  };

  // ---- Zoom

  let zoom = 0;
  const zoomTo = (step) => {
    zoom = Math.min(Math.max(step, 0), ZOOMS.length - 1);
    const item = shown?.item;
    if (!item?.pictures.length) return;
    const stage = $("stage");
    const factor = ZOOMS[zoom];
    const middle = [(stage.scrollLeft + stage.clientWidth / 2) / stage.scrollWidth, (stage.scrollTop + stage.clientHeight / 2) / stage.scrollHeight];
    item.node.classList.toggle("zoomed", zoom > 0);
    for (const [place, image] of item.images.entries()) {
      image.style.width = zoom ? `${(factor * (stage.clientWidth - 16)) / item.images.length}px` : "";
      image.style.height = zoom ? `${factor * (stage.clientHeight - 16)}px` : "";
      if (zoom && !image.isFull) {
        image.isFull = true;
        const full = new Image();
        full.src = address(item.pictures[place], 4096);
        full.decode().then(() => { image.src = full.src; }).catch(() => { image.isFull = false; });
      }
    }
    stage.scrollTo(middle[0] * stage.scrollWidth - stage.clientWidth / 2, middle[1] * stage.scrollHeight - stage.clientHeight / 2);
    $("smaller").disabled = $("fit").disabled = zoom === 0;
    $("larger").disabled = zoom === ZOOMS.length - 1;
  };
  let drag = null;
  $("stage").addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "mouse" || event.button !== 0 || event.target.tagName !== "IMG") return;
    drag = { x: event.clientX, y: event.clientY, left: $("stage").scrollLeft, top: $("stage").scrollTop, moved: false };
  });
  addEventListener("pointermove", (event) => {
    if (drag === null) return;
    if (Math.hypot(event.clientX - drag.x, event.clientY - drag.y) > 4) drag.moved = true;
    if (zoom) $("stage").scrollTo(drag.left - event.clientX + drag.x, drag.top - event.clientY + drag.y);
  });
  addEventListener("pointerup", () => {
    if (drag && !drag.moved) zoomTo(zoom ? 0 : 2);
    drag = null;
  });
  $("stage").addEventListener("wheel", (event) => {
    if (!event.ctrlKey || !shown?.item.pictures.length) return;
    event.preventDefault();
    zoomTo(zoom + (event.deltaY < 0 ? 1 : -1));
  }, { passive: false });

  // ---- Classes

  let found = []; // buttons that the search leaves, in their order
  let best = 0; // which of these Enter takes
  const keyOf = (place) => {
    const { classes } = state;
    if (classes.every(({ name }) => /^\d$/.test(name))) return classes[place].name; // images of digits
    return place < 9 ? String(place + 1) : null;
  };
  const showClasses = () => {
    const { classes } = state;
    const before = $("classes").dataset.names;
    const names = JSON.stringify(classes);
    if (names !== before) {
      $("classes").dataset.names = names;
      $("classes").replaceChildren(...classes.map(({ number, name, description }, place) => {
        const button = make("button", { type: "button", value: String(number) });
        const key = keyOf(place);
        if (key !== null) {
          button.append(make("kbd", { textContent: key }));
          button.setAttribute("aria-keyshortcuts", key);
        }
        button.append(make("span", { className: "label", textContent: name }), make("span", { className: "number" }));
        button.title = description ? `${name}: ${description}` : name;
        return button;
      }));
      $("search").hidden = classes.every((_, place) => keyOf(place) !== null);
      filter();
      explain();
    }
    for (const button of $("classes").children) {
      const count = state.counts?.[className(Number(button.value))] ?? 0;
      const number = button.lastChild;
      setText(number, count ? String(count) : "");
      if (count) number.title = plural(count, "label"); else number.removeAttribute("title");
    }
  };
  const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const filter = () => {
    const words = plain($("wanted").value).split(/\s+/).filter(Boolean);
    found = [];
    for (const button of $("classes").children) {
      const name = plain(button.querySelector(".label").textContent);
      button.hidden = !words.every((word) => name.includes(word));
      if (!button.hidden) found.push(button);
    }
    best = 0;
    if (words.length) {
      // The order stays, but Enter takes the name that is meant: the whole text, else one that begins with it.
      const text = plain($("wanted").value).trim();
      const ranks = found.map((button) => plain(button.querySelector(".label").textContent)).map((name) => (name === text ? 0 : name.startsWith(text) ? 1 : 2));
      best = Math.max(0, ranks.indexOf(Math.min(...ranks)));
    }
    showBest(words.length > 0);
  };
  const showBest = (isSearched) => {
    for (const button of $("classes").children) button.classList.toggle("first", isSearched && button === found[best]);
    $("found").classList.toggle("unseen", !isSearched || found.length > 0);
    if (!isSearched) { setText($("found"), ""); return; }
    found[best]?.scrollIntoView({ block: "nearest" });
    const name = found[best]?.querySelector(".label").textContent;
    const text = found.length ? `${plural(found.length, "class", "classes")} found. Enter takes ${name}.` : "No class has this name.";
    setText($("found"), text);
    announce(text);
  };
  const explain = () => {
    $("explained").replaceChildren(...state.classes.map(({ name, description, examples }) => {
      const line = make("li", {}, make("strong", { textContent: name }));
      if (description) line.append(make("p", { textContent: description }));
      if (examples?.length) {
        const pictures = examples.map((example) => {
          const image = make("img", { alt: `example of ${name}`, loading: "lazy" });
          image.src = address(example, 160);
          image.addEventListener("error", () => image.remove());
          return image;
        });
        line.append(make("div", { className: "examples" }, ...pictures));
      }
      return line;
    }));
  };
  $("classes").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button === null) return;
    answer({ class: Number(button.value) }, event.detail);
    if ($("wanted").value) { $("wanted").value = ""; filter(); }
  });
  $("wanted").addEventListener("input", filter);
  $("wanted").addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      best = Math.min(Math.max(best + (event.key === "ArrowDown" ? 1 : -1), 0), found.length - 1);
      showBest(true);
    } else if (event.key === "Enter") {
      event.preventDefault();
      if (event.repeat || !$("wanted").value.trim() || !found[best]) return;
      const number = Number(found[best].value);
      $("wanted").value = "";
      filter();
      answer({ class: number });
    } else if (event.key === "Escape") {
      $("wanted").value = "";
      filter();
      $("item-name").focus({ preventScroll: true });
    }
  });

  // ---- Last answers, figures, title

  const strip = () => {
    const local = new Map(history.map((entry) => [entry.id, entry]));
    const mine = new Set(JSON.parse(kept.get(`mine ${run}`) ?? "[]"));
    const before = (state?.last ?? []).filter((entry) => !local.has(entry.id));
    const all = [...before.map((entry) => ({ ...entry, isMine: mine.has(entry.id) })), ...history.map((entry) => ({ ...entry, isMine: true }))];
    // In the server's order as far as it has them; what it does not have yet comes last.
    const order = new Map((state?.last ?? []).map((entry, place) => [entry.id, place]));
    const isLate = (entry) => queue.some((one) => one.id === entry.id);
    const rank = (entry) => order.get(entry.id) ?? (isLate(entry) ? Infinity : -1);
    return all.filter((entry) => !undone.has(entry.id) && !entry.refused)
      .map((entry, place) => [entry, place]).sort(([one, p], [other, q]) => { const a = rank(one); const b = rank(other); return a === b ? p - q : a - b; })
      .map(([entry]) => entry);
  };
  const showStrip = () => {
    if (state === null) return;
    kept.set(`mine ${run}`, JSON.stringify([...JSON.parse(kept.get(`mine ${run}`) ?? "[]"), ...history.map((one) => one.id)]
      .filter((id, place, all) => all.lastIndexOf(id) === place).slice(-60)));
    const entries = strip();
    $("undo").disabled = state.phase === "done" || !entries.some((entry) => entry.isMine);
    const last = entries.slice(-10);
    const isSame = last.map((entry) => entry.id).join(" ") === [...$("strip").children].map((line) => line.firstChild.value).join(" ");
    if (isSame) return; // what is replaced loses the focus, and half a click
    const focused = document.activeElement?.closest("#strip button")?.value;
    const old = new Map([...$("strip").children].map((line) => [line.firstChild.value, line]));
    $("strip").replaceChildren(...last.map((entry) => {
      const text = said(entry.answer);
      if (old.has(entry.id)) return old.get(entry.id);
      const button = make("button", { type: "button", value: entry.id, title: `${entry.key ?? `item ${entry.point}`}: ${text}${entry.who ? ` (${entry.who})` : ""}` });
      const pictures = entry.item?.pictures?.length ?? (Array.isArray(entry.pictures) ? entry.pictures.length : entry.pictures ?? 0);
      if (pictures) {
        const image = make("img", { alt: "" });
        image.addEventListener("error", () => image.remove());
        image.src = address({ url: `api/picture/${entry.point}/0` }, 160);
        button.append(image);
      }
      button.append(make("span", { className: "said", textContent: text }), make("span", { className: "unseen", textContent: `, ${entry.key ?? `item ${entry.point}`}` }));
      return make("li", {}, button);
    }));
    if (focused && !last.some((entry) => entry.id === focused)) focusItem();
    const scroller = $("strip").parentElement;
    scroller.scrollLeft = scroller.scrollWidth;
  };
  $("strip").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button !== null) undo(button.value);
  });

  const pace = []; // seconds of the answers given here
  const span = (seconds) => (seconds < 90 ? `${Math.round(seconds)} s` : seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`);
  const left = () => {
    const query = state?.query;
    if (!query) return 0;
    const local = queue.filter((entry) => entry.of === undefined && history.some((one) => one.id === entry.id && !undone.has(one.id))).length;
    return Math.max(0, query.total - query.answered - (state.phase === "asking" ? local : 0));
  };
  const open = () => (state.phase === "asking" && left()) || (held.length ? Math.max(state.ahead ?? 0, held.length) : 0);
  const showFacts = () => {
    const unsent = queue.length;
    $("unsent").hidden = !unsent || (connection === "good" && unsent < 3);
    setText($("unsent"), `${unsent} unsent${connection === "lost" ? ", no connection" : ""}`);
    setText($("name"), who || "Your name");
    if (state === null) return;
    document.title = open() ? `(${open()}) ${state.title}` : state.title;
    setText($("title"), state.title);
    const { query, budget, spent = 0 } = state;
    const phase = { fitting: "The model is being fitted", done: "Done", stopped: "The run has stopped" }[state.phase];
    const name = state.round < 0 ? "First questions" : `Round ${state.round}`;
    const round = phase ?? (query ? `${name}: ${left()} of ${query.total} left` : "");
    const meanwhile = held.length && !(state.phase === "asking" && left()) ? `; ${open()} to answer meanwhile` : "";
    const waits = state.running === false && state.phase === "asking" ? ". The run has stopped; it takes the answers when it is started again" : "";
    setText($("progress"), `${round}${meanwhile}${waits}`);
    const others = (state.people ?? []).filter((name) => name && name !== who);
    setText($("people"), others.length ? `Also here: ${others.join(", ")}` : "");
    const facts = [];
    if (budget !== null && budget !== undefined) {
      const rest = Math.max(0, budget - spent);
      facts.push(`${rest} of ${plural(budget, "label")} left`);
      const recent = pace.slice(-20).sort((one, other) => one - other);
      const each = recent.length >= 3 ? recent[Math.floor(recent.length / 2)] : spent > 0 && state.seconds > 0 ? state.seconds / spent : 0;
      if (rest && each) facts.push(`about ${span(rest * each)} of answering`);
    } else facts.push(plural(spent, "label"));
    if (state.budget_seconds !== null && state.budget_seconds !== undefined) {
      facts.push(`${span(Math.max(0, state.budget_seconds - (state.seconds ?? 0)))} of ${span(state.budget_seconds)} left`);
    }
    setText($("figures"), facts.join(" · "));
    $("view").hidden = !isGrid && held.filter(fitsGrid).length < 2;
    $("belief").hidden = !state.suggestions && !held.some((item) => item.suggestion);
  };

  // ---- While there is nothing to answer

  let fitSince = null; // when the fit began that this page saw begin
  let lastFit = null; // how many seconds the one before took
  const noteFit = (before, now) => {
    if (before === null || before.phase === now.phase) return;
    if (fitSince !== null) lastFit = (performance.now() - fitSince) / 1000;
    fitSince = now.phase === "fitting" ? performance.now() : null;
  };
  const fitTime = () => {
    if (fitSince === null) return "";
    return `${span((performance.now() - fitSince) / 1000)} until now${lastFit === null ? "" : `; the last time it took ${span(lastFit)}`}.`;
  };
  setInterval(() => { if (fitSince !== null && shown === null && tiles === null) showWaiting(); }, 1e3);
  const showWaiting = () => {
    if (state === null) return;
    section("waiting");
    $("answers").hidden = true;
    const labels = `${plural(state.spent ?? 0, "label")} so far.`;
    let [head, text] = ["Loading the next item", ""];
    if (connection === "lost") [head, text] = ["No connection", "The page's process does not answer. It is tried again; what is not sent is kept in this browser."];
    else if (connection === "over") [head, text] = ["Not signed in", "Open the address that the run printed last."];
    else if (who === null) [head, text] = ["Who answers?", ""];
    else if (state.phase === "fitting") [head, text] = ["The model is learning from your answers", `${labels} The next questions come by themselves, and the title of this tab says so. ${fitTime()}`];
    else if (state.phase === "done") [head, text] = ["The run is done", `${plural(state.spent ?? 0, "label")}. Thank you. You can close this page.`];
    else if (state.phase === "stopped") [head, text] = ["The run has stopped", `${labels} Your answers are kept. Start the run again to answer more.`];
    else if (!held.length && left() > 0) [head, text] = ["The others are on it", `${plural(left(), "item is", "items are")} with other people, or in another tab. What they leave comes back here after a minute.`];
    else if (!held.length) [head, text] = ["All answered", state.running === false ? "The run has stopped. Start it again, and it takes the answers." : "The run takes the answers now. The next questions come by themselves."];
    setText($("waiting-name"), head);
    setText($("waiting-text"), text);
    if (held.length) { $("learned").replaceChildren(); return; }
    showLearned();
    focusItem();
  };
  const svg = (name, attributes = {}, text = null) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== null) element.textContent = text;
    return element;
  };
  const figure = (caption, label, width, height, parts) => {
    const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
    drawing.append(...parts);
    return make("figure", {}, make("figcaption", { textContent: caption }), drawing);
  };
  const number = (value) => String(Number(value.toPrecision(3)));
  const ticks = (low, high, most) => {
    const least = (high - low) / most;
    const power = 10 ** Math.floor(Math.log10(least));
    const step = power * [1, 2, 5, 10].find((one) => one * power >= least);
    const first = Math.ceil(low / step - 1e-9);
    return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, place) => number(step * (first + place)));
  };
  const showLearned = () => {
    const figures = [];
    const { audit, metric } = state;
    const curve = (state.curve ?? []).filter(([, value]) => Number.isFinite(value));
    const wide = innerWidth < 700 ? 340 : 600; // letters keep their size on a phone
    const key = JSON.stringify([audit, curve, metric, wide]);
    if ($("learned").dataset.key === key && $("learned").childElementCount) return;
    $("learned").dataset.key = key;
    if (audit?.labels) {
      const [low, high, acc] = [audit.low, audit.high, audit.acc].map((value) => Number(value));
      const text = `Audit: ${audit.right} of ${audit.labels} right, ${acc.toFixed(2)} (95 % interval ${low.toFixed(2)} to ${high.toFixed(2)})`;
      const x = (value) => 16 + (wide - 32) * value;
      const parts = [svg("line", { class: "axis", x1: x(0), x2: x(1), y1: 18, y2: 18 })];
      for (const tick of [0, 0.25, 0.5, 0.75, 1]) {
        parts.push(svg("line", { class: "axis", x1: x(tick), x2: x(tick), y1: 14, y2: 22 }), svg("text", { x: x(tick), y: 38, "text-anchor": "middle" }, String(tick)));
      }
      parts.push(svg("line", { class: "interval", x1: x(low), x2: x(high), y1: 18, y2: 18 }), svg("circle", { class: "dot", cx: x(acc), cy: 18, r: 6 }));
      figures.push(figure(text, text, wide, 44, parts));
    }
    if (curve.length > 1) {
      const [width, height, edge] = [wide, 240, { left: 52, right: 16, top: 12, bottom: 40 }];
      const [xs, ys] = [curve.map(([x]) => x), curve.map(([, y]) => y)];
      const bounds = (values) => { const [a, b] = [Math.min(...values), Math.max(...values)]; return a === b ? [a - 0.5, b + 0.5] : [a, b]; };
      const [x0, x1] = bounds(xs);
      let [y0, y1] = bounds(ys);
      const [least, most] = [Math.min(...ys), Math.max(...ys)];
      [y0, y1] = [y0 - 0.06 * (y1 - y0), y1 + 0.06 * (y1 - y0)];
      if (least >= 0 && most <= 1) [y0, y1] = [Math.max(y0, 0), Math.min(y1, 1)]; // a share is never more
      const x = (value) => edge.left + ((width - edge.left - edge.right) * (value - x0)) / (x1 - x0);
      const y = (value) => height - edge.bottom - ((height - edge.top - edge.bottom) * (value - y0)) / (y1 - y0);
      const parts = [];
      for (const tick of ticks(y0, y1, 5)) {
        parts.push(svg("line", { class: "gridline", x1: edge.left, x2: width - edge.right, y1: y(tick), y2: y(tick) }));
        parts.push(svg("text", { x: edge.left - 8, y: y(tick) + 4, "text-anchor": "end" }, tick));
      }
      parts.push(svg("path", { class: "axis", d: `M${edge.left} ${edge.top}V${height - edge.bottom}H${width - edge.right}` }));
      for (const tick of ticks(x0, x1, 6)) parts.push(svg("text", { x: x(tick), y: height - edge.bottom + 17, "text-anchor": "middle" }, tick));
      parts.push(svg("text", { x: (edge.left + width - edge.right) / 2, y: height - 8, "text-anchor": "middle" }, "labels"));
      parts.push(svg("polyline", { class: "line", points: curve.map(([a, b]) => `${x(a)},${y(b)}`).join(" ") }));
      if (curve.length <= 40) for (const [a, b] of curve) parts.push(svg("circle", { class: "dot", cx: x(a), cy: y(b), r: 4 }));
      const [[from, first], [to, last]] = [curve[0], curve.at(-1)];
      figures.push(figure(`Learning curve: ${metric ?? "metric"}, now ${number(last)}`, `${metric ?? "Metric"} went from ${number(first)} at ${from} labels to ${number(last)} at ${to} labels.`, width, height, parts));
    }
    $("learned").replaceChildren(...figures);
  };

  // ---- News from the server

  const take = (news) => {
    if (!news) return false;
    const before = state;
    noteFit(before, news);
    state = news;
    const name = String(news.run ?? news.title);
    if (run !== name) {
      run = name;
      queue = [];
      recallQueue();
      send();
    }
    showClasses();
    showStrip();
    showFacts();
    const isNew = before === null || before.phase !== news.phase || before.query?.id !== news.query?.id;
    if (isNew && before !== null && news.phase === "asking") announce(`${plural(left(), "question")} ready.`);
    if (shown === null && tiles === null) showWaiting();
    // Somebody who is not here takes no items from the others, and a lease that nobody renews ends.
    return !document.hidden && (isNew || (held.length < 1 + AHEAD && performance.now() - lastTouch < IDLE));
  };
  const listen = () => {
    if (connection === "over") return;
    const events = new EventSource("api/events");
    events.addEventListener("state", (event) => {
      heard = performance.now();
      connected("good");
      if (take(JSON.parse(event.data))) fill();
    });
    events.addEventListener("error", () => {
      if (events.readyState === EventSource.CLOSED) setTimeout(listen, 3000);
    });
  };
  const poll = async () => {
    try {
      const since = performance.now();
      const news = await ask("api/state");
      if (heard < since && take(news)) fill();
      connected("good");
    } catch (error) { connected(isOver(error) ? "over" : "lost"); }
  };
  // Some proxies hold events back, so the state is asked for where none came; a lease is renewed while somebody is here.
  setInterval(() => { if (connection !== "over" && performance.now() - heard > 10e3) poll(); }, 5e3);
  setInterval(() => {
    if (document.hidden || performance.now() - lastTouch > IDLE) return;
    if (held.length || connection === "lost" || state?.phase === "asking") fill({ renew: true });
  }, RENEW);
  setInterval(() => { if (!held.length && state?.phase === "asking" && left() > 0 && !document.hidden) fill(); }, 5e3);
  document.addEventListener("visibilitychange", () => {
    look(!document.hidden);
    if (document.hidden) return;
    lastTouch = performance.now();
    fill({ renew: true });
  });
  for (const kind of ["keydown", "pointerdown"]) {
    addEventListener(kind, () => {
      const now = performance.now();
      if (now - lastTouch > RENEW) fill({ renew: true });
      lastTouch = now;
    }, { capture: true, passive: true });
  }

  // ---- Dialogs and keys

  const reasons = (name) => { try { return JSON.parse(kept.get(`${name} ${run}`) ?? "[]"); } catch { return []; } };
  const remember = (name, text) => kept.set(`${name} ${run}`, JSON.stringify([text, ...reasons(name).filter((one) => one !== text)].slice(0, 12)));
  let asideOf = null; // the item that was shown when the dialog opened
  const openAside = (dialog, field, list, name) => {
    if (shown === null || isTooSoon(shown)) return;
    asideOf = shown.item;
    $(list).replaceChildren(...reasons(name).map((value) => make("option", { value })));
    $(field).value = "";
    $(dialog).showModal();
    $(field).focus();
  };
  const aside = (dialog, field, name, made) => {
    $(dialog).querySelector("[value=cancel]").addEventListener("click", () => $(dialog).close());
    $(dialog).querySelector("form").addEventListener("submit", (event) => {
      const text = $(field).value.trim();
      if ($(field).required && !text) { event.preventDefault(); return; }
      if (text) remember(name, text);
      if (shown?.item === asideOf) answer(made(text));
    });
  };
  aside("ask-reason", "reason", "reasons", (text) => ({ unusable: text }));
  aside("ask-other", "what", "whats", (text) => ({ other: text }));
  const openUnusable = () => openAside("ask-reason", "reason", "reasons", "reasons");
  const openOther = () => openAside("ask-other", "what", "whats", "whats");
  $("skip").addEventListener("click", (event) => answer({ skip: true }, event.detail));
  $("unusable").addEventListener("click", openUnusable);
  $("other").addEventListener("click", openOther);
  $("undo").addEventListener("click", () => undo());
  $("accept").addEventListener("click", accept);
  $("view").addEventListener("click", () => setGrid(!isGrid));
  $("belief").addEventListener("click", () => setGuess(!showsGuess));
  $("smaller").addEventListener("click", () => zoomTo(zoom - 1));
  $("fit").addEventListener("click", () => zoomTo(0));
  $("larger").addEventListener("click", () => zoomTo(zoom + 1));
  const setGuess = (on) => {
    showsGuess = on;
    $("belief").setAttribute("aria-pressed", String(on));
    showGuess();
  };
  const askName = () => {
    $("who").value = who ?? "";
    $("ask-name").returnValue = "";
    $("ask-name").showModal();
    $("who").focus();
  };
  $("name").addEventListener("click", askName);
  $("ask-name").addEventListener("close", () => {
    if ($("ask-name").returnValue === "" && who !== null) { /* Esc: as it was */ } else who = $("who").value.trim();
    kept.set("who", who);
    showFacts();
    fill();
  });
  $("ask-name").querySelector("button").value = "start";
  const openHelp = () => $("show-help").showModal();
  $("help").addEventListener("click", openHelp);
  $("by-keys").checked = byKeys;
  $("by-keys").addEventListener("change", () => {
    byKeys = $("by-keys").checked;
    kept.set("keys", byKeys ? "on" : "off");
  });
  for (const dialog of document.querySelectorAll("dialog")) dialog.addEventListener("close", focusItem);

  const press = ({ key, code, shiftKey }) => {
    // French keyboards have the digits in that row with shift, German ones the slash.
    const digit = /^\d$/.test(key) ? key : shiftKey ? null : /^Digit(\d)$/.exec(code)?.[1];
    const one = digit && state?.classes.find((_, place) => keyOf(place) === digit);
    if (one) {
      answer({ class: one.number });
      return true;
    }
    const act = {
      u: () => undo(), s: () => answer({ skip: true }), x: openUnusable, o: openOther, a: accept,
      g: () => { if (!$("view").hidden) setGrid(!isGrid); }, m: () => { if (!$("belief").hidden) setGuess(!showsGuess); },
      "+": () => zoomTo(zoom + 1), "=": () => zoomTo(zoom + 1), "-": () => zoomTo(zoom - 1), 0: () => zoomTo(0),
      "/": () => { if (!$("search").hidden && shown) $("wanted").focus(); }, "?": openHelp,
    }[key.toLowerCase()];
    act?.();
    return act !== undefined;
  };
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], PageUp: [0, -8], PageDown: [0, 8] };
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.matches?.("input:not([type=checkbox])");
    if (event.repeat && !isTyping && (event.key === "Enter" || event.key === " ") && event.target.closest?.("button")) event.preventDefault();
    if (event.isComposing || document.querySelector("dialog[open]")) return;
    if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "z") {
      if (isTyping && event.target.value) return;
      event.preventDefault();
      if (!event.repeat && !event.shiftKey) undo();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping) return;
    if (shown && moves[event.key] && !event.target.closest?.("#answers, footer, .text, .rows")) {
      const [right, down] = moves[event.key];
      $("stage").scrollBy(right * 60, down * 60);
      event.preventDefault();
    }
    if (!byKeys) return;
    if (event.repeat) { if (!/^(Arrow|Page|Home|End|Tab)/.test(event.key)) event.preventDefault(); return; }
    if (press(event)) event.preventDefault();
  });
  addEventListener("resize", () => {
    if (zoom) zoomTo(zoom);
    if (shown === null && tiles === null) showWaiting();
  });

  // ---- Start. A tab that was duplicated has the other's id; the lock says so, where the browser has locks.

  const start = async () => {
    try { client = sessionStorage.getItem("lightning_al client") ?? client; } catch { /* each load is a client of its own */ }
    if (navigator.locks) {
      await new Promise((resolve) => {
        navigator.locks.request(`lightning_al ${client}`, { ifAvailable: true }, (lock) => {
          if (lock === null) client = random();
          resolve();
          return lock === null ? null : new Promise(() => {});
        });
      });
    }
    try { sessionStorage.setItem("lightning_al client", client); } catch { /* as above */ }
    await poll();
    listen();
    if (who === null) askName();
    else fill();
  };
  start();
})();
