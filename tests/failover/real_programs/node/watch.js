"use strict";
// What all programs here say: each thing that happened is a line of JSON on stdout. The sockets are
// watched from below the library, so that a connection it made anew can't be missed.

const diagnostics = require("node:diagnostics_channel");

let ended = false;

function tell(what, more = {}) {
  process.stdout.write(JSON.stringify({ what, at: Date.now() / 1000, ...more }) + "\n");
}

diagnostics.subscribe("net.client.socket", ({ socket }) => {
  tell("opened");
  socket.on("close", () => ended || tell("closed"));
});

process.on("unhandledRejection", (error) => {
  tell("failure", { error: String(error) });
  process.exit(1);
});

/** Resolves when the program is asked to end; what closes from then on, closes by its own will. */
const asked = new Promise((resolve) => {
  process.on("SIGTERM", () => {
    ended = true;
    resolve();
  });
});

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Runs step over and over; an error that says INDOUBT is told and is no end, any other is. */
async function loop(of, step) {
  for (let n = 0; !ended; n++) {
    try {
      await step(n);
    } catch (error) {
      if (!String(error.message).startsWith("INDOUBT")) {
        tell("failure", { of, error: String(error) });
        return;
      }
      tell("doubt", { of, n });
    }
  }
}

module.exports = { asked, loop, pause, port: Number(process.env.PROXY_PORT), tell };
