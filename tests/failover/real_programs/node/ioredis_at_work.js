"use strict";
// Clients of ioredis with its own settings, each at something else, until SIGTERM.

const { asked, loop, pause, port, tell } = require("./watch");
const Redis = require("ioredis");

const client = () => {
  const made = new Redis(port, "127.0.0.1");
  made.on("error", (error) => tell("failure", { error: String(error) }));
  return made;
};
const work = ["count", "other", "pipeline", "multi", "push", "pop", "publish", "listen"];
const clients = Object.fromEntries(work.map((of) => [of, client()]));

const count = (of) => async () => {
  await clients[of].incr("count");
  tell("acked", { of: "count" });
  await pause(5);
};

// Each of a pipeline has its own reply: [error, value].
async function pipeline(n) {
  const replies = await clients.pipeline.pipeline()
    .incr("pipeline").set("last", n).incr("pipeline").get("last").exec();
  for (const [error] of replies) {
    if (error && !error.message.startsWith("INDOUBT")) throw error;
  }
  for (const [error] of [replies[0], replies[2]]) {
    tell(error ? "doubt" : "acked", { of: "pipeline" });
  }
  const [, set, , [unread, got]] = replies;
  if (!set[0] && !unread && got !== String(n)) throw new Error(`SET ${n}, and GET said ${got}`);
  await pause(10);
}

// In a transaction either both happen or none.
async function multi() {
  const replies = await clients.multi.multi().incr("multi").incr("twin").exec();
  for (const [error] of replies) if (error) throw error;
  tell("acked", { of: "multi" });
  await pause(10);
}

async function push(n) {
  await clients.push.lpush("list", n);
  tell("acked", { of: "push", n });
  await pause(20);
}

async function pop() {
  const popped = await clients.pop.brpop("list", 1);
  if (popped) tell("popped", { n: Number(popped[1]) });
}

async function publish(n) {
  await clients.publish.publish("channel", n);
  tell("acked", { of: "publish", n });
  await pause(20);
}

async function main() {
  clients.listen.on("message", (channel, n) => tell("heard", { n: Number(n) }));
  await clients.listen.subscribe("channel");
  const loops = [loop("count", count("count")), loop("count", count("other")),
    loop("pipeline", pipeline), loop("multi", multi), loop("push", push), loop("pop", pop),
    loop("publish", publish)];
  await asked;
  await Promise.all(loops);
  for (const made of Object.values(clients)) made.disconnect();
  tell("end");
}

main();
