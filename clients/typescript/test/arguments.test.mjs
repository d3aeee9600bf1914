/** Invalid arguments are found before anything is sent. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import * as taskflow from "../dist/index.js";

const ID = "01a20c58-b6fd-77bf-9328-1ccde011d8da";
const ADDRESS = "http://127.0.0.1:8080";
const { Client, InvalidArgument, Submission, verifyWebhook } = taskflow;
const sent = [];
const client = new Client(ADDRESS, {
  timeoutSeconds: 0.01,
  fetch: async (url) => {
    sent.push(url);
    throw new Error("nothing may be sent");
  },
});

/** Assert that a call rejects, or throws, with this message, and sends nothing. */
async function assertInvalid(call, message) {
  sent.length = 0;
  await assert.rejects(async () => call(), (error) => {
    assert.ok(error instanceof InvalidArgument, `${error.name}: ${error.message}`);
    assert.match(error.message, message);
    return true;
  });
  assert.deepEqual(sent, []);
}

describe("invalid times and numbers", () => {
  const never = new Date(NaN);
  const cases = {
    "run_at of a task": () => client.submit("x:", { run_at: never }),
    "deep in a payload": () => client.submit({ url: "x:", body: [{ at: { on: never } }] }),
    "a Submission": () => new Submission("x:", { expires_at: never }),
    "several tasks": () => client.submitAll([{ url: "x:", body: never }]),
    "a payload itself": () => client.submit(never),
    "start_at of a schedule": () => client.schedules.put("s", "x:", { every_seconds: 60, start_at: never }),
    "a change of a schedule": () => client.schedules.update("s", { start_at: never }),
    "data of an event": () => client.topics.publish("t", "a.b", { at: never }),
    "a filter": () => client.listTasks({ created_after: never }),
    "a filter of an action": () => client.cancelMany({ finished_before: never }),
    "a filter of the audit log": () => client.iterAudit({ at_after: never }),
    "since when deliveries are sent again": () => client.topics.recover("t", "e", never),
  };
  for (const [name, call] of Object.entries(cases)) {
    test(name, () => assertInvalid(call, /invalid Date/));
  }

  test("a number that is an object", () =>
    assertInvalid(() => client.submit({ url: "x:", body: new Number(NaN) }), /NaN/));
  test("a valid time is written as before", () => {
    const { document } = new Submission("x:", { run_at: new Date(0) });
    assert.deepEqual(JSON.parse(document), { run_at: "1970-01-01T00:00:00.000Z", payload: "x:" });
  });
});

describe("unknown names", () => {
  const { signal } = new AbortController();
  const cases = [
    ["setting", "idempotencykey", () => client.submit("x:", {}, { idempotencykey: "a" }), /idempotencyKey/],
    ["setting", "waitSeconds", () => client.submitAll(["x:"], { waitSeconds: 1 }), /idempotencyKey/],
    ["setting", "timeoutSeconds", () => client.get(ID, { timeoutSeconds: 1 }), /known: signal$/],
    ["setting", "timeoutSeconds", () => client.wait(ID, {}, { timeoutSeconds: 1 }), /known: signal$/],
    ["option", "signal", () => client.wait(ID, { timeoutSeconds: 1, signal }), /last argument/],
    ["option", "timeout", () => client.wait(ID, { timeout: 1 }), /known: timeoutSeconds$/],
    ["option", "signal", () => client.submitMany(["x:"], { signal }), /last argument/],
    ["setting", "atOnce", () => client.submitMany(["x:"], {}, { atOnce: 1 }), /signal/],
    ["filter", "limit", () => client.listTasks({ limit: 1 }), /next argument/],
    ["filter", "nope", () => client.listTasks({ nope: 1 }), /created_after.*queue/],
    ["option", "page", () => client.listTasks({}, { page: 1 }), /fields, limit/],
    ["option", "limit", () => client.iterTasks({}, { limit: 1 }), /fields, page/],
    ["filter", "signal", () => client.iterTasks({ signal }), /last argument/],
    ["option", "page", () => client.export({}, { page: 1 }), /fields, limit/],
    ["filter", "everything", () => client.deleteMany({ everything: true }), /next argument/],
    ["setting", "dryrun", () => client.cancelMany({}, { dryrun: true }), /dryRun/],
    ["filter", "id", () => client.iterEvents({ id: ID }), /after, queue, tags/],
    ["option", "signal", () => client.iterEvents({}, { signal }), /last argument/],
    ["option", "queue", () => client.iterEvents(ID, { queue: "a" }), /after/],
    ["setting", "timeoutSeconds", () => client.iterEvents(ID, {}, { timeoutSeconds: 1 }), /signal/],
    ["filter", "limit", () => client.iterAudit({ limit: 1 }), /page/],
    ["filter", "limit", () => client.groups.iter({ limit: 1 }), /page/],
    ["setting", "idempotencykey", () => client.groups.create([], {}, { idempotencykey: "a" }), /idempotencyKey/],
    ["option", "signal", () => client.groups.iterEvents(ID, { signal }), /last argument/],
    ["option", "limit", () => client.schedules.iter({ limit: 1 }), /page/],
    ["option", "limit", () => client.schedules.next("s", { limit: 1 }), /count/],
    ["setting", "mustbenew", () => client.schedules.put("s", "x:", {}, { mustbenew: true }), /mustBeNew/],
    ["option", "limit", () => client.topics.iter({ limit: 1 }), /page/],
    ["option", "limit", () => client.topics.endpoints("t", { limit: 1 }), /page/],
    ["option", "limit", () => client.topics.deliveries("t", "e", { limit: 1 }), /page, status/],
    ["setting", "idempotencykey", () => client.topics.publish("t", "a", 1, { idempotencykey: "a" }), /idempotencyKey/],
    ["option", "forced", () => client.credentials.delete("c", { forced: true }), /force/],
    ["setting", "apikey", () => new Client(ADDRESS, { apikey: "a" }), /apiKey/],
    ["setting", "tolerance", () => verifyWebhook("whsec_", {}, "", { tolerance: 1 }), /toleranceSeconds/],
  ];
  for (const [kind, name, call, known] of cases) {
    test(`${kind} ${name} of ${call}`, async () => {
      await assertInvalid(call, new RegExp(`there is no ${kind} "${name}"`));
      await assertInvalid(call, known);
    });
  }

  test("settings of a call among the options of a task", async () => {
    await assertInvalid(() => client.submit("x:", { signal }), /signal .*last argument/);
    await assertInvalid(() => client.submit("x:", { idempotencyKey: "a" }), /idempotencyKey .*last argument/);
    await assertInvalid(() => client.submit("x:", { waitSeconds: 1 }), /waitSeconds .*last argument/);
  });
});

describe("arguments of another type", () => {
  const cases = [
    ["a time in place of options", () => client.wait(ID, 30), /options must be an object, not 30/],
    ["no filters", () => client.deleteMany(), /filters must be an object.*everything/],
    ["null in place of filters", () => client.listTasks(null), /filters must be an object, not null/],
    ["a list of filters", () => client.listTasks([]), /filters must be an object/],
    ["text in place of options of a task", () => client.submit("x:", "mail"), /options must be an object/],
    ["a signal in place of settings", () => client.get(ID, AbortSignal.timeout(1)), /there is no setting/],
    ["a controller in place of its signal", () => client.get(ID, { signal: new AbortController() }), /signal must be an AbortSignal/],
    ["a filter", () => client.iterAudit({ actor: 5 }), /actor must be text/],
    ["tags", () => client.listTasks({ tags: "a:b" }), /tags must be an object/],
  ];
  for (const [name, call, message] of cases) test(name, () => assertInvalid(call, message));

  test("an address with a password", async () => {
    for (const url of ["http://user:secret@host", "http://user@host"]) {
      await assertInvalid(() => new Client(url), /must not have a user or a password.*apiKey/);
      await assertInvalid(() => new Client(url), /^(?!.*secret)/);
    }
  });
});
