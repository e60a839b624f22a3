"use strict";
// A stub, which shows the state alone.
const events = new EventSource("api/events");
events.addEventListener("state", (event) => {
  document.getElementById("state").textContent = JSON.stringify(JSON.parse(event.data), null, 2);
});
