"use strict";
// A queue of BullMQ with jobs added to it, a worker and a listener to its events, until SIGTERM.

const { asked, pause, port, tell } = require("./watch");
const { Queue, QueueEvents, Worker } = require("bullmq");

const JOBS = Number(process.env.JOBS);
const connection = { host: "127.0.0.1", port };

const queue = new Queue("work", { connection });
const events = new QueueEvents("work", { connection });
// A job that nobody finishes is given out again after six seconds instead of thirty, and as often
// as it takes.
const worker = new Worker("work", async (job) => {
  tell("processed", { n: job.data.n });
  await pause(100); // so that some are always at work
  return job.data.n * 2;
}, { connection, concurrency: 4, lockDuration: 6000, stalledInterval: 1000, maxStalledCount: 100 });

for (const part of [queue, events, worker]) {
  part.on("error", (error) => {
    const doubt = String(error.message).startsWith("INDOUBT");
    tell(doubt ? "doubt" : "error", { of: "worker", error: String(error) });
  });
}
worker.on("completed", (job, value) => tell("completed", { n: job.data.n, value }));
worker.on("failed", (job, error) => tell("failed", { n: job.data.n, error: String(error) }));
worker.on("stalled", (id) => tell("stalled", { n: Number(id.split("-")[1]) }));
events.on("completed", ({ jobId, returnvalue }) =>
  tell("heard", { n: Number(jobId.split("-")[1]), value: Number(returnvalue) }));

async function add(n) {
  try {
    // The id is known even where the answer is not; attempts: what was done, and then could not be
    // noted for certain, is done again.
    await queue.add("job", { n }, { jobId: `job-${n}`, attempts: 5 });
    tell("acked", { of: "add", n });
  } catch (error) {
    if (!String(error.message).startsWith("INDOUBT")) throw error;
    tell("doubt", { of: "add", n });
  }
}

async function main() {
  await events.waitUntilReady();
  for (let n = 0; n < JOBS; n++) {
    await add(n);
    await pause(40);
  }
  tell("added");
  await asked;
  await worker.close();
  await events.close();
  await queue.close();
  tell("end");
}

main();
