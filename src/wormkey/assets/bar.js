// Shows the state of one session to its owner, as the event stream tells it.
"use strict";
const events = new EventSource(`/.wormkey/events${location.search}`);
events.addEventListener("state", (event) => {
  const state = JSON.parse(event.data);
  const viewers = `${state.activeViewers} viewers`;
  document.getElementById("state").textContent = `${state.publicUrl}: ${viewers}`;
});
events.addEventListener("end", () => events.close());
