/** The client against a live service and targets of its own, over real sockets. */

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { after, before, describe, test } from "node:test";

import * as taskflow from "../dist/index.js";

const { bytesOf, Client, isFinal, resultOf, Submission, textOf, verifyWebhook } = taskflow;
const SECRET = process.env.TASKFLOW_TEST_SECRET;
const client = new Client(process.env.TASKFLOW_TEST_URL, {
  apiKey: process.env.TASKFLOW_TEST_KEY,
});
const received = new Map();
let target;

before(async () => {
  const server = createServer((request, response) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => answer(request, Buffer.concat(parts), response));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  target = { url: `http://127.0.0.1:${server.address().port}`, server };
});

after(() => {
  target.server.close();
  target.server.closeAllConnections();
});

function answer(request, body, response) {
  received.get(request.url)?.({ headers: request.headers, body });
  if (request.url === "/json") {
    response.setHeader("Content-Type", "application/json").end('{"answer": 42}');
  } else if (request.url === "/text") {
    response.setHeader("Content-Type", "text/plain; charset=utf-8").end("grün");
  } else if (request.url === "/bytes") {
    response.setHeader("Content-Type", "image/png").end(Buffer.from([0, 255, 1]));
  } else {
    response.writeHead(request.url === "/missing" ? 404 : 204).end();
  }
}

/** Return the next request for a path. */
function requestOf(path) {
  return new Promise((resolve) => received.set(path, resolve));
}

async function collected(stream) {
  const found = [];
  for await (const one of stream) found.push(one);
  return found;
}

describe("tasks", { concurrency: 4 }, () => {
  test("a task is submitted, waited for and read", async () => {
    const task = await client.submit(`${target.url}/json`, {
      tags: { kind: "json" },
      run_at: new Date(),
    });
    assert.equal(isFinal(task), false);
    const done = await client.wait(task.id, { timeoutSeconds: 60 });
    const result = resultOf(done);
    assert.deepEqual([result.result, result.status], [{ answer: 42 }, "200 OK"]);
    assert.equal(textOf(result), '{"answer":42}');
    const { contentType, content } = await client.download(task.id);
    assert.equal(contentType, "application/json");
    assert.equal(new TextDecoder().decode(content), '{"answer": 42}');
    assert.deepEqual((await client.attempts(task.id)).map((one) => one.status_code), [200]);
    assert.deepEqual((await client.get(task.id)).tags, { kind: "json" });
  });

  test("text and bytes are decoded", async () => {
    const finished = (path) =>
      client.submit(`${target.url}${path}`, {}, { waitSeconds: 60 }).then(resultOf);
    const [text, bytes] = await Promise.all([finished("/text"), finished("/bytes")]);
    assert.equal(textOf(text), "grün");
    assert.deepEqual([...bytesOf(text)], [...new TextEncoder().encode("grün")]);
    assert.deepEqual([...bytesOf(bytes)], [0, 255, 1]);
  });

  test("a failure is an error with the task", async () => {
    const task = await client.submit({ url: `${target.url}/missing` }, {}, { waitSeconds: 60 });
    assert.throws(() => resultOf(task), (error) => {
      assert.ok(error instanceof taskflow.TaskFailed);
      assert.equal(error.task.error_type, "http_status");
      return true;
    });
  });

  test("a task that does not finish in time", async () => {
    const task = await client.submit("x:", { delay_seconds: 3600 });
    for (const timeoutSeconds of [0, 0.01, 1]) {
      await assert.rejects(client.wait(task.id, { timeoutSeconds }), (error) => {
        assert.ok(error instanceof taskflow.NotFinished);
        assert.equal(error.message, "the task has not finished: it is PENDING");
        assert.equal(error.task.id, task.id);
        return true;
      });
    }
    assert.throws(() => resultOf(task), taskflow.NotFinished);
    await client.cancel(task.id);
    assert.equal((await client.wait(task.id, { timeoutSeconds: 0 })).status, "CANCELED");
    const unknown = client.wait(randomUUID(), { timeoutSeconds: 0 });
    await assert.rejects(unknown, taskflow.NotFound);
  });

  test("many tasks of an async iterable, listed, exported and acted on", async () => {
    const run = randomUUID();
    const filters = { tags: { run } };
    async function* items() {
      for (let index = 0; index < 25; index += 1) {
        yield new Submission("x:", { tags: { run }, delay_seconds: 3600 });
      }
    }
    const results = await collected(client.submitMany(items(), { atOnce: 10 }));
    const ids = results.map((one) => one.task.id);
    assert.deepEqual(results.map((one) => one.index), [...Array(25).keys()]);
    const listed = await collected(client.iterTasks(filters, { page: 10, fields: ["queue"] }));
    assert.deepEqual(listed.map((one) => one.id), ids.toReversed());
    assert.equal((await client.listTasks(filters, { limit: 3 })).length, 3);
    const lines = await collected(client.export(filters, { fields: ["id"] }));
    assert.deepEqual(lines.map((line) => JSON.parse(line).id), ids.toReversed());
    const dry = await client.cancelMany(filters, { dryRun: true });
    assert.deepEqual([dry.count, dry.dry_run], [25, true]);
    assert.equal((await client.cancelMany(filters)).count, 25);
    assert.equal((await client.deleteMany(filters)).count, 25);
    await assert.rejects(client.cancelMany({}), taskflow.Unprocessable);
  });

  test("all or none", async () => {
    const later = { delay_seconds: 3600 };
    const items = [
      new Submission("x:", { name: "first", ...later }),
      new Submission("x:", { after: ["first"] }),
    ];
    const [first, second] = await client.submitAll(items);
    assert.deepEqual(second.after, [first.id]);
    await assert.rejects(
      client.submitAll(["x:", new Submission("x:", { priority: 1000 })]),
      taskflow.Unprocessable,
    );
    assert.throws(() => client.submitMany("https://example.com/"), taskflow.InvalidArgument);
  });

  test("a callback is signed, and verified by Web Crypto", async () => {
    const path = `/callback-${randomUUID()}`;
    const arrived = requestOf(path);
    const task = await client.submit("no url", { callback_url: target.url + path });
    const { headers, body } = await arrived;
    assert.equal((await verifyWebhook(SECRET, headers, body)).id, task.id);
    assert.equal((await verifyWebhook([SECRET], new Headers(headers), body.toString())).id, task.id);
    const changed = body.toString().replace("no url", "my url");
    await assert.rejects(verifyWebhook(SECRET, headers, changed), taskflow.InvalidSignature);
    await assert.rejects(verifyWebhook("whsec_AAAA", headers, body), taskflow.InvalidArgument);
  });
});

describe("events", { concurrency: 4 }, () => {
  test("events of a queue, from the connection on", async () => {
    const queue = `q${randomUUID().slice(0, 8)}`;
    const stream = await client.iterEvents({ queue }).connect();
    const { id } = await client.submit("no url", { queue });
    for await (const event of stream) {
      assert.equal(event.task_id, id);
      if (event.status === "FAILED") break; // closes the stream
    }
    assert.deepEqual(await stream.next(), { done: true, value: undefined });
    const rest = client.iterEvents({ queue, after: stream.position });
    const again = await client.submit("no url", { queue });
    assert.equal((await rest.next()).value.task_id, again.id);
    await rest.return();
  });

  test("an aborted stream rejects with the reason", async () => {
    const controller = new AbortController();
    const stream = client.iterEvents({}, {}, { signal: controller.signal });
    await stream.connect();
    const next = (async () => {
      for await (const _ of stream); // until it is aborted
    })();
    controller.abort(new Error("enough"));
    await assert.rejects(next, /enough/);
  });
});

describe("the rest of the service", { concurrency: 4 }, () => {
  test("queues", async () => {
    const name = `q${randomUUID().slice(0, 8)}`;
    await client.queues.put(name, { max_concurrency: 3, rate: 5 });
    assert.equal((await client.queues.pause(name)).paused, true);
    const changed = await client.queues.update(name, { max_concurrency: null });
    assert.deepEqual([changed.max_concurrency, changed.rate?.per_second], [null, 5]);
    const { id } = await client.submit("x:", { queue: name });
    assert.equal((await client.queues.purge(name)).count, 1);
    assert.equal((await client.get(id)).status, "CANCELED");
    assert.equal((await client.queues.resume(name)).paused, false);
    assert.equal((await client.queues.get(name)).counts.CANCELED, 1);
    assert.ok((await client.queues.all()).some((one) => one.name === name));
    await assert.rejects(client.queues.get("..."), taskflow.InvalidArgument);
  });

  test("heartbeats", async () => {
    const name = `heartbeat-${crypto.randomUUID()}`;
    const made = await client.heartbeats.put(name, { every_seconds: 3600, description: "backup" });
    assert.equal(made.state, "new");
    assert.equal((await fetch(`${made.ping_url}/3`, { method: "POST", body: "disk full" })).status, 204);
    assert.equal((await client.heartbeats.get(name)).state, "down");
    assert.equal((await client.heartbeats.history(name)).pings[0].note, "disk full");
    assert.equal((await client.heartbeats.update(name, { paused: true })).state, "paused");
    assert.notEqual((await client.heartbeats.rotate(name)).ping_url, made.ping_url);
    const names = (await collected(client.heartbeats.iter({ page: 1 }))).map((one) => one.name);
    assert.ok(names.includes(name));
    await client.heartbeats.delete(name);
    await assert.rejects(client.heartbeats.get(name), taskflow.NotFound);
  });

  test("schedules", async () => {
    const name = `s ${randomUUID()}/é`.slice(0, 12).replace(/[ /é]/g, "-");
    const task = new Submission(`${target.url}/json`, { tags: { a: 1 } });
    await client.schedules.put(name, task, { cron: "30 6 * * MON-FRI" }, { mustBeNew: true });
    await assert.rejects(
      client.schedules.put(name, task, { every_seconds: 60 }, { mustBeNew: true }),
      taskflow.Rejected,
    );
    const changed = await client.schedules.update(name, { paused: true, options: { queue: "mail" } });
    assert.deepEqual([changed.paused, changed.task.queue, changed.task.tags], [true, "mail", { a: 1 }]);
    assert.equal((await client.schedules.next(name, { count: 3 })).times.length, 3);
    assert.equal((await client.schedules.run(name)).queue, "mail");
    const names = (await collected(client.schedules.iter({ page: 1 }))).map((one) => one.name);
    assert.ok(names.includes(name));
    await client.schedules.delete(name);
    await assert.rejects(client.schedules.get(name), taskflow.NotFound);
  });

  test("groups", async () => {
    const group = await client.groups.create(["no url", new Submission("no url")], {
      name: "import 7",
      on_complete: `${target.url}/json`,
    });
    const events = await collected(client.groups.iterEvents(group.id));
    assert.ok(events.every((event) => event.status !== undefined));
    const done = await client.groups.get(group.id);
    assert.deepEqual([done.status, done.counts.FAILED], ["COMPLETED", 2]);
    const open = await client.groups.create([], {}, { idempotencyKey: randomUUID() });
    await client.submit("x:", { group: open.id, delay_seconds: 3600 });
    assert.equal((await client.groups.close(open.id)).status, "CLOSED");
    assert.equal((await client.groups.cancel(open.id)).status, "CANCELED");
    const named = await collected(client.groups.iter({ name: "import 7", page: 50 }));
    assert.ok(named.some((one) => one.id === group.id));
  });

  test("topics", async () => {
    const topic = `t${randomUUID().slice(0, 8)}`;
    const path = `/hook-${topic}`;
    await client.topics.put(topic);
    const endpoint = { url: target.url + path, event_types: ["invoice.*"], signing_secret: SECRET };
    await client.topics.putEndpoint(topic, "billing", endpoint);
    const arrived = requestOf(path);
    const event = await client.topics.publish(topic, "invoice.paid", { invoice: 4711 });
    const { headers, body } = await arrived;
    const message = await verifyWebhook(SECRET, headers, body);
    assert.deepEqual([message.type, message.data], ["invoice.paid", { invoice: 4711 }]);
    await client.wait(event.tasks[0], { timeoutSeconds: 60 });
    const deliveries = await collected(client.topics.deliveries(topic, "billing"));
    assert.deepEqual(deliveries.map((one) => one.id), event.tasks);
    assert.match((await client.topics.rotateSecret(topic, "billing")).signing_secret, /^whsec_/);
    assert.equal((await collected(client.topics.endpoints(topic))).length, 1);
    await client.topics.deleteEndpoint(topic, "billing");
    await client.topics.delete(topic);
    await assert.rejects(client.topics.get(topic), taskflow.NotFound);
  });

  test("credentials and the audit log", async () => {
    const name = `c${randomUUID().slice(0, 8)}`;
    const bearer = { kind: "bearer", token: "t0ken", hosts: ["api.example.com"] };
    assert.equal((await client.credentials.put(name, bearer)).kind, "bearer");
    assert.ok((await client.credentials.all()).some((one) => one.name === name));
    await client.credentials.delete(name, { force: true });
    await assert.rejects(client.credentials.get(name), taskflow.NotFound);
    const entries = client.iterAudit({ target: name, page: 1 });
    assert.deepEqual((await collected(entries)).map((one) => one.action), [
      "credential.delete",
      "credential.put",
    ]);
  });

  test("monitoring", async () => {
    assert.match((await client.check()).version, /^\d/);
    assert.ok((await client.stats()).complete);
    assert.ok((await client.history("default")).length > 0);
    assert.ok((await client.nodes()).some((one) => one.alive));
    assert.ok(Array.isArray(await client.hosts()));
  });
});

describe("configuration", () => {
  test("several resources are changed, all or nothing", async () => {
    const [queue, topic] = [`q-${randomUUID()}`, `t-${randomUUID()}`];
    const changes = [
      { kind: "topic", name: topic, fields: { queue } },
      { kind: "queue", name: queue, fields: { max_concurrency: 2 }, before: null },
    ];
    const applied = await client.configuration.apply(changes);
    assert.deepEqual(applied.changes.map((one) => one.outcome), ["created", "created"]);
    const stale = [{ kind: "topic", name: topic, fields: null }, changes[1]];
    await assert.rejects(client.configuration.apply(stale), (error) => {
      assert.ok(error instanceof taskflow.Rejected);
      assert.deepEqual([error.status, error.type], [412, "/problems/configuration-changed"]);
      assert.equal(error.errors[0].detail, `queue ${queue} exists now`);
      return true;
    });
    assert.equal((await client.topics.get(topic)).queue, queue);
  });
});

describe("errors", { concurrency: 4 }, () => {
  test("a node of an older version has no path for arrays", async () => {
    const problem = { type: "/problems/method-not-allowed", status: 405, detail: "no" };
    const paths = [];
    const older = (url, init) => {
      paths.push(new URL(url).pathname);
      if (!url.endsWith("/tasks/batch")) return fetch(url, init);
      return Promise.resolve(new Response(JSON.stringify(problem), { status: 405 }));
    };
    const apiKey = process.env.TASKFLOW_TEST_KEY;
    const upgraded = new Client(process.env.TASKFLOW_TEST_URL, { apiKey, fetch: older });
    assert.equal((await upgraded.submitAll([1, 2])).length, 2);
    assert.equal((await collected(upgraded.submitMany([1, 2]))).length, 2);
    assert.deepEqual(paths, ["/tasks/batch", "/tasks", "/tasks/batch", "/tasks"]);
    await assert.rejects(upgraded.submitAll([new Submission(1, { queue: "a b" })]), (error) => {
      assert.ok(error instanceof taskflow.Unprocessable);
      return true;
    });
  });

  test("an unknown key", async () => {
    const stranger = new Client(process.env.TASKFLOW_TEST_URL, { apiKey: "unknown" });
    await assert.rejects(stranger.listTasks(), taskflow.Unauthorized);
  });

  test("no connection: nothing was sent, so even a delete is repeated", async () => {
    const server = createServer();
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    const closed = `http://127.0.0.1:${server.address().port}`;
    await new Promise((resolve) => server.close(resolve));
    const urls = [];
    const turning = (url, init) => {
      urls.push(url);
      return fetch(urls.length === 1 ? url : url.replace(closed, process.env.TASKFLOW_TEST_URL), init);
    };
    const apiKey = process.env.TASKFLOW_TEST_KEY;
    const turned = new Client(closed, { apiKey, fetch: turning });
    await assert.rejects(turned.delete(randomUUID()), taskflow.NotFound);
    assert.equal(urls.length, 2);
  });

  test("an untrusted certificate: no retry helps", async () => {
    await assert.rejects(new Client(process.env.TASKFLOW_UNTRUSTED_URL).nodes(), (error) => {
      assert.ok(error instanceof taskflow.Unreachable);
      assert.deepEqual([error.isSent, error.isUntrusted], [false, true]);
      assert.match(error.message, /NODE_EXTRA_CA_CERTS/);
      return true;
    });
  });

  test("a service that accepts and does not answer", async () => {
    const server = createServer(() => {});
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    const silent = new Client(`http://127.0.0.1:${server.address().port}`, { timeoutSeconds: 0.3 });
    await assert.rejects(silent.nodes(), (error) => {
      assert.ok(error instanceof taskflow.Unreachable);
      assert.equal(error.isSent, true);
      return true;
    });
    server.closeAllConnections();
    server.close();
  });

  test("a server that is not TaskFlow", async () => {
    const server = createServer((request, response) => {
      const body = new URLSearchParams(request.url.split("?")[1]).get("queue");
      response.setHeader("Content-Type", "application/json").end(body);
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    const other = new Client(`http://127.0.0.1:${server.address().port}`);
    for (const body of ["{}", "[]", "null", '"text"', "7", '{"queues": []}', "no JSON"]) {
      await assert.rejects(other.stats(body), taskflow.UnexpectedResponse, body);
      await assert.rejects(other.history(body), taskflow.UnexpectedResponse, body);
    }
    for (const body of ["{}", "[null]", "[7]"]) {
      const stream = other.iterTasks({ queue: body });
      await assert.rejects(stream.next(), taskflow.UnexpectedResponse, body);
    }
    server.closeAllConnections();
    server.close();
  });

  test("an aborted call rejects with the reason", async () => {
    const signal = AbortSignal.abort(new Error("enough"));
    await assert.rejects(client.submit("x:", {}, { signal }), /enough/);
    const controller = new AbortController();
    const { id } = await client.submit("x:", { delay_seconds: 3600 });
    const waiting = client.wait(id, {}, { signal: controller.signal });
    controller.abort(new Error("enough"));
    await assert.rejects(waiting, /enough/);
  });

  test("what cannot be sent", async () => {
    for (const url of ["localhost:8080", "ftp://a", "http://a/?b", "http://u:p@a", "http://a b", ""]) {
      assert.throws(() => new Client(url), taskflow.InvalidArgument, url);
    }
    assert.throws(() => new Client("http://a", { apiKey: "a b" }), taskflow.InvalidArgument);
    assert.throws(() => new Client("http://a", { timeoutSeconds: 0 }), taskflow.InvalidArgument);
    for (const payload of [undefined, NaN, { url: "x:", body: [Infinity] }, 10n]) {
      await assert.rejects(client.submit(payload), taskflow.InvalidArgument);
    }
  });

  test("the environment", () => {
    const { TASKFLOW_URL } = process.env;
    delete process.env.TASKFLOW_URL;
    assert.throws(() => Client.fromEnvironment(), taskflow.InvalidEnvironment);
    process.env.TASKFLOW_URL = "http://127.0.0.1:8080";
    assert.ok(Client.fromEnvironment() instanceof Client);
    if (TASKFLOW_URL === undefined) delete process.env.TASKFLOW_URL;
    else process.env.TASKFLOW_URL = TASKFLOW_URL;
  });
});
