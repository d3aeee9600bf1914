// Graphile Worker: `node graphile_worker.cjs URL TARGET COUNT WORKERS [PROCESSES [RATE]]` prints
// {"worked_off": jobs a second}: COUNT jobs, added by one statement while the processes wait, of
// which each process runs WORKERS at once. With RATE, so many are added a second, each to
// TARGET/at/NUMBER, and it prints {"sent_at": {NUMBER: seconds of CLOCK_MONOTONIC}}.
"use strict";

const assert = require("node:assert");
const { fork } = require("node:child_process");
const { once } = require("node:events");
const { setTimeout: sleep } = require("node:timers/promises");
const { Logger, run } = require("graphile-worker");
const { Pool } = require("pg");
const { Agent, request } = require("undici");

const MAX_CONNECTIONS = 10;
const [, , url, target, count, workers, processes = 1, rate] = process.argv;

const now = () => Number(process.hrtime.bigint()) / 1e9;

// Batches as in the project's own performance test.
const preset = () => ({
  worker: {
    connectionString: url,
    concurrentJobs: Number(workers),
    maxPoolSize: MAX_CONNECTIONS,
    localQueue: { size: 500 },
    completeJobBatchDelay: 0,
    failJobBatchDelay: 0,
    logger: new Logger(() => () => {}),
  },
});

async function work() {
  process.once("disconnect", () => process.exit()); // also when the main process is killed
  const dispatcher = new Agent({ connections: Number(workers), pipelining: 1 });
  const done = { count: 0, first: Infinity };
  async function fetch(link) {
    done.first = Math.min(done.first, now());
    const answer = await request(link, { dispatcher });
    assert.strictEqual(answer.statusCode, 200);
    await answer.body.text();
    done.count += 1;
  }
  const runner = await run({ preset: preset() }, { fetch });
  process.send("ready");
  await once(process, "message");
  await runner.stop();
  process.send(done, () => process.disconnect());
}

async function workedOff(pool) {
  await pool.query(
    "SELECT graphile_worker.add_jobs(array_agg(('fetch', to_json($1::text), NULL, NULL, NULL," +
      " NULL, NULL, NULL)::graphile_worker.job_spec)) FROM generate_series(1, $2::int)",
    [target, Number(count)],
  );
  const waiting = "SELECT EXISTS (SELECT FROM graphile_worker._private_jobs) AS open";
  while ((await pool.query(waiting)).rows[0].open) await sleep(20);
  return now();
}

async function addAtRate(pool) {
  const sentAt = {};
  const began = now();
  for (let number = 0; number < Number(count); number++) {
    await sleep(Math.max(0, began + number / Number(rate) - now()) * 1000);
    sentAt[number] = now();
    await pool.query("SELECT graphile_worker.add_job('fetch', to_json($1::text))", [
      `${target}at/${number}`,
    ]);
  }
  return sentAt;
}

async function main() {
  const children = [];
  for (let number = 0; number < Number(processes); number++) {
    const child = fork(__filename, process.argv.slice(2), { env: { ...process.env, WORKS: "1" } });
    children.push(child);
    await once(child, "message"); // one after another: the first one creates the schema
  }
  const pool = new Pool({ connectionString: url, max: 1 });
  const result = rate ? { sent_at: await addAtRate(pool) } : { end: await workedOff(pool) };
  if (rate) await sleep(500);
  const reports = children.map((child) => once(child, "message"));
  children.forEach((child) => child.send("stop"));
  const done = (await Promise.all(reports)).flat().filter((report) => report?.count);
  const total = done.reduce((sum, one) => sum + one.count, 0);
  assert.strictEqual(total, Number(count), `${total} of ${count} jobs ran`);
  const first = Math.min(...done.map((one) => one.first));
  const rates = { worked_off: Number(count) / (result.end - first) };
  console.log(JSON.stringify(rate ? result : rates));
  await pool.end();
}

(process.env.WORKS ? work() : main()).catch((error) => {
  console.error(error);
  process.exit(1);
});
