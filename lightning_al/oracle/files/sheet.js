"use strict";
(() => {
  const tiles = [...document.querySelectorAll("article")];
  const place = `lightning_al ${document.body.dataset.file} ${document.body.dataset.about}`;
  const field = (tile, name) => tile.querySelector(`input.${name}`);
  const who = document.getElementById("who");
  const ofName = "lightning_al who";
  const seconds = new Map(tiles.map((tile) => [tile, 0]));
  const longestPause = 300;
  let isSaved = true;
  let spent = 0; // seconds since the last answer in which the page could be seen
  let since = performance.now();

  const look = (isSeen) => {
    const now = performance.now();
    if (isSeen) spent += (now - since) / 1000;
    since = now;
  };
  const charge = (tile) => {
    look(true);
    seconds.set(tile, seconds.get(tile) + Math.min(spent, longestPause));
    spent = 0;
  };

  const show = (tile) => {
    const label = field(tile, "label").value.trim();
    const lacksText = label === "other" && tile.querySelector('.buttons button.aside[value="other"]') !== null
      && field(tile, "note").value.trim() === "";
    field(tile, "note").placeholder = lacksText ? "what is it?" : "note";
    tile.classList.toggle("done", label !== "" && !lacksText);
    for (const button of tile.querySelectorAll(".buttons button")) {
      button.setAttribute("aria-pressed", String(button.value === label));
    }
  };
  const count = () => {
    const done = tiles.filter((tile) => tile.classList.contains("done")).length;
    document.getElementById("count").textContent = `${done} of ${tiles.length} labelled`;
  };
  const keep = () => {
    isSaved = false;
    const written = tiles.map((tile) => [field(tile, "label").value, field(tile, "note").value, seconds.get(tile)]);
    try {
      localStorage.setItem(place, JSON.stringify(written));
      localStorage.setItem(ofName, who.value);
    } catch { /* a browser may not let files store */ }
  };
  const recall = () => {
    let written = [];
    try {
      who.value = localStorage.getItem(ofName) ?? "";
      written = JSON.parse(localStorage.getItem(place) ?? "[]");
    } catch { /* as above */ }
    if (!Array.isArray(written) || written.length !== tiles.length) return;
    tiles.forEach((tile, number) => {
      field(tile, "label").value = String(written[number]?.[0] ?? "");
      field(tile, "note").value = String(written[number]?.[1] ?? "");
      seconds.set(tile, Number(written[number]?.[2]) || 0);
    });
  };
  const cell = (text) => {
    const line = text.replace(/[\r\n]+/g, " ");
    const harmless = /^[=+\-@]/.test(line) ? `'${line}` : line;
    return /[",;\t' ]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
  };
  const key = (text) => (/[",;\t\r\n' ]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

  const choose = (button) => {
    const tile = button.closest("article");
    const label = field(tile, "label");
    label.value = label.value.trim() === button.value ? "" : button.value;
    charge(tile); show(tile); count(); keep();
    if (label.value === "other" && button.matches(".aside")) field(tile, "note").focus();
    return label.value !== "";
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest(".buttons button");
    if (button !== null) choose(button);
  });
  document.addEventListener("keydown", (event) => {
    const tile = event.target.closest("article");
    if (tile === null || event.target.matches("input") || event.ctrlKey || event.metaKey || event.altKey) return;
    const button = /^[1-9]$/.test(event.key) ? tile.querySelectorAll(".buttons button:not(.aside)")[event.key - 1] : undefined;
    if (button === undefined) return;
    event.preventDefault();
    if (choose(button)) (tiles[tiles.indexOf(tile) + 1] ?? tile).focus();
  });
  document.addEventListener("input", (event) => {
    const tile = event.target.closest("article");
    if (tile !== null) { charge(tile); show(tile); count(); }
    keep();
  });
  document.addEventListener("visibilitychange", () => look(document.visibilityState === "hidden"));
  document.getElementById("save").addEventListener("click", () => {
    const rows = tiles.map((tile) => {
      const label = field(tile, "label").value.trim();
      const effort = label === "" ? ["", ""] : [cell(who.value.trim()), seconds.get(tile) ? seconds.get(tile).toFixed(1) : ""];
      return [tile.dataset.index, key(tile.dataset.key), cell(label), cell(field(tile, "note").value.trim()), ...effort].join(",");
    });
    const text = ["index,key,label,note,who,seconds", ...rows, ""].join("\r\n");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(["\ufeff", text], { type: "text/csv" }));
    link.download = document.body.dataset.file;
    link.click();
    isSaved = true;
  });
  addEventListener("beforeunload", (event) => { if (!isSaved) event.preventDefault(); });
  recall(); tiles.forEach(show); count();
})();
