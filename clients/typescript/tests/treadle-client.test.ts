import assert from "node:assert/strict";
import { test } from "node:test";

import {
  type ClientOptions,
  DecimalValue,
  OperatorError,
  PushRefusedError,
  RecordValueError,
  TableStoppedError,
  TreadleClient,
} from "../src/index.js";
import { PushReceipt } from "../src/receipt-follower.js";
import {
  ACCEPTED,
  acceptAll,
  type GivenAnswer,
  HastyClock,
  makeGate,
  makeSocketError,
  readBatch,
  ScriptedServer,
  settle,
  StandingClock,
} from "./doubles.js";

function makeClient(server: ScriptedServer, options: ClientOptions = {}): TreadleClient {
  return new TreadleClient("https://treadle.example.com", "at_x", {
    fetch: server.fetch,
    clock: new HastyClock(),
    ...options,
  });
}

function* makeRecords(count: number) {
  for (let id = 1; id <= count; id += 1) {
    yield { id };
  }
}

async function* makeSlowRecords(count: number) {
  for (const record of makeRecords(count)) {
    await Promise.resolve();
    yield record;
  }
}

function listIds(server: ScriptedServer): unknown[] {
  return server.seen.flatMap((request) => readBatch(request).messages.map((one) => one.data["id"]));
}

for (const [kind, records] of [
  ["an iterable", () => makeRecords(25)],
  ["an async iterable", () => makeSlowRecords(25)],
] as const) {
  test(`${kind} is pushed in requests, some at the same time`, async () => {
    const server = new ScriptedServer(async (request, number) => {
      await settle();
      return acceptAll(request, number);
    });
    const client = makeClient(server, { batchRecords: 4, connections: 3 });
    const pushed = await client.push("people", records(), { key: ["id"] });
    assert.equal(pushed.records, 25);
    assert.equal(pushed.requests.length, 7);
    assert.equal(server.openMost, 3);
    assert.deepEqual(listIds(server), Array.from({ length: 25 }, (_, at) => at + 1));
    const keys = server.seen.map((one) => one.headers["Idempotency-Key"] ?? "");
    const [pushId] = keys[0]?.split("-") ?? [];
    assert.match(pushId ?? "", /^[0-9a-f]{32}$/);
    assert.deepEqual(keys, [0, 4, 8, 12, 16, 20, 24].map((start) => `${pushId}-${start}`));
  });
}

test("a repetition has the same body and the same key, and another push another key", async () => {
  const answers: GivenAnswer[] = [{ status: 503 }, makeSocketError("ECONNRESET")];
  const server = new ScriptedServer((request, number) => answers[number] ?? acceptAll(request, number));
  const client = makeClient(server);
  await client.push("people", [{ id: 1 }]);
  await client.push("people", [{ id: 1 }]);
  const [first, second, third, other] = server.seen;
  assert.deepEqual([second, third], [first, first]);
  assert.notEqual(other?.headers["Idempotency-Key"], first?.headers["Idempotency-Key"]);
});

test("memory holds some requests: the source waits while all connections are busy", async () => {
  const gate = makeGate<undefined>();
  const server = new ScriptedServer(async (request, number) => {
    await gate.promise;
    return acceptAll(request, number);
  });
  let read = 0;
  function* count() {
    for (const record of makeRecords(1_000)) {
      read += 1;
      yield record;
    }
  }
  const pushing = makeClient(server, { batchRecords: 10, connections: 2 }).push("people", count());
  await settle();
  assert.equal(server.open, 2);
  assert.equal(read, 30);
  gate.open(undefined);
  assert.equal((await pushing).records, 1_000);
});

test("a refused record is named by its place in the push", async () => {
  const text = '{"error":"Record 2 did not conform to schema: #/id: expected type: Integer, found: String"}';
  const server = new ScriptedServer((request, number) =>
    number === 1 ? { status: 400, text } : acceptAll(request, number),
  );
  const pushing = makeClient(server, { batchRecords: 5, connections: 1 }).push("people", makeRecords(20));
  await assert.rejects(pushing, (error: unknown) => {
    assert.ok(error instanceof PushRefusedError && error instanceof OperatorError);
    assert.deepEqual([error.status, error.place], [400, 8]);
    assert.equal(error.message, `The server refuses record 8: 400 ${text}`);
    assert.equal(error.name, "PushRefusedError");
    return true;
  });
  assert.equal(server.seen.length, 2);
});

test("a refusal that names no record names the request", async () => {
  const server = new ScriptedServer(() => ({ status: 403, text: "no" }));
  await assert.rejects(
    makeClient(server).push("people", makeRecords(3)),
    (error: unknown) =>
      error instanceof PushRefusedError &&
      error.place === null &&
      error.message === "The server refuses record 1 to record 3: 403 no",
  );
});

test("a refusal cancels the requests under way", async () => {
  const never = new Promise<GivenAnswer>(() => undefined);
  const server = new ScriptedServer((_, number) => (number === 0 ? never : { status: 400 }));
  const client = makeClient(server, { batchRecords: 1, connections: 2 });
  await assert.rejects(client.push("people", makeRecords(9)), PushRefusedError);
  await settle();
  assert.equal(server.open, 0);
  assert.equal(server.seen.length, 2);
});

test("another server than treadle is told", async () => {
  const server = new ScriptedServer(() => ({ status: 200, text: "<html>" }));
  await assert.rejects(makeClient(server).push("people", [{}]), /is it the URL of a treadle server\?/);
});

test("a record that cannot be sent ends a push, and its source", async () => {
  const server = new ScriptedServer(acceptAll);
  let closed = false;
  function* records() {
    try {
      yield { id: 1 };
      yield { id: new Map() };
    } finally {
      closed = true;
    }
  }
  await assert.rejects(makeClient(server).push("people", records()), RecordValueError);
  assert.equal(closed, true);
  assert.equal(server.seen.length, 0);
});

test("a signal ends a push with its reason", async () => {
  const ended = new AbortController();
  const server = new ScriptedServer(() => new Promise<GivenAnswer>(() => undefined));
  const pushing = makeClient(server).push("people", [{ id: 1 }], { signal: ended.signal });
  await settle();
  ended.abort(new Error("enough"));
  await assert.rejects(pushing, /enough/);
  await settle();
  assert.equal(server.open, 0);
  await assert.rejects(makeClient(server).push("people", [], { signal: ended.signal }), /enough/);
});

test("options out of their range are refused", () => {
  const server = new ScriptedServer(acceptAll);
  assert.throws(() => makeClient(server, { batchRecords: 20_001 }), /batchRecords is to be a whole number from 1 to 20000/);
  assert.throws(() => makeClient(server, { connections: 0 }), RangeError);
  assert.throws(() => makeClient(server, { batchBytes: 5_000_000 }), RangeError);
  const client = makeClient(server);
  assert.throws(() => client.openWriter("t", { key: "id" as unknown as string[] }), /an array of field names/);
});

test("a writer sends when the first record has waited long enough", async () => {
  const clock = new StandingClock();
  const server = new ScriptedServer(acceptAll);
  const writer = makeClient(server, { clock }).openWriter("events", { flushSeconds: 2 });
  await writer.add({ id: 1 });
  await clock.move(1_500);
  await writer.add({ id: 2 });
  assert.equal(server.seen.length, 0);
  await clock.move(500);
  assert.deepEqual(listIds(server), [1, 2]);
  await writer.add({ id: 3 });
  await clock.move(1_999);
  assert.equal(server.seen.length, 1);
  await clock.move(1);
  assert.deepEqual(listIds(server), [1, 2, 3]);
  assert.equal(writer.receipt.records, 3);
});

test("a writer sends when a request is full, by records or by bytes", async () => {
  const server = new ScriptedServer(acceptAll);
  const clock = new StandingClock();
  const client = makeClient(server, { clock, batchRecords: 3, batchBytes: 40 });
  const writer = client.openWriter("events");
  for (const record of makeRecords(3)) {
    await writer.add(record);
  }
  assert.equal(server.seen.length, 1);
  await writer.add({ id: 4, text: "x".repeat(20) });
  await writer.add({ id: 5, text: "x".repeat(20) });
  await settle();
  assert.deepEqual(listIds(server), [1, 2, 3, 4]);
  await writer.close();
  assert.deepEqual(listIds(server), [1, 2, 3, 4, 5]);
  assert.equal(writer.receipt.records, 5);
  await assert.rejects(writer.add({ id: 6 }), /The writer is closed/);
});

test("a writer waits while all connections are busy, and no record is lost", async () => {
  const gates = Array.from({ length: 10 }, () => makeGate<undefined>());
  const server = new ScriptedServer(async (request, number) => {
    await gates[number]?.promise;
    return acceptAll(request, number);
  });
  const writer = makeClient(server, { batchRecords: 1, connections: 2 }).openWriter("events");
  let taken = 0;
  const adding = (async () => {
    for (const record of makeRecords(10)) {
      await writer.add(record);
      taken += 1;
    }
  })();
  await settle();
  assert.deepEqual([taken, server.open], [2, 2]);
  gates[1]?.open(undefined);
  await settle();
  assert.deepEqual([taken, server.seen.length], [3, 3]);
  gates.forEach((gate) => gate.open(undefined));
  await adding;
  await writer.flush();
  assert.equal(writer.receipt.records, 10);
  assert.equal(server.openMost, 2);
  assert.deepEqual(listIds(server), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
});

test("a fault of a writer is thrown by whatever comes next, and by nothing else", async () => {
  const clock = new StandingClock();
  const server = new ScriptedServer(() => ({ status: 422, text: "no" }));
  const writer = makeClient(server, { clock }).openWriter("events");
  await writer.add({ id: 1 });
  await clock.move(1_000);
  await assert.rejects(writer.add({ id: 2 }), PushRefusedError);
  await assert.rejects(writer.flush(), PushRefusedError);
  await assert.rejects(writer.close(), PushRefusedError);
  assert.equal(server.seen.length, 1);
});

test("a record that is changed before it is sent is a fault of its writer", async () => {
  const clock = new StandingClock();
  const server = new ScriptedServer(acceptAll);
  const writer = makeClient(server, { clock }).openWriter("events");
  const record = { price: 1 };
  await writer.add(record);
  await writer.add({ price: new DecimalValue("1.5") });
  Object.defineProperty(record, "price", { get: () => assert.fail("looked at") });
  await clock.move(1_000);
  await assert.rejects(writer.flush(), /looked at/);
  assert.equal(server.seen.length, 0);
});

test("a writer that is given up forgets what is not sent", async () => {
  const clock = new StandingClock();
  const server = new ScriptedServer(acceptAll);
  const writer = makeClient(server, { clock }).openWriter("events");
  await writer.add({ id: 1 });
  writer.abort(new Error("enough"));
  await clock.move(5_000);
  assert.equal(server.seen.length, 0);
  await assert.rejects(writer.add({ id: 2 }), /enough/);
});

test("a record that a writer cannot send is not taken, and the writer goes on", async () => {
  const server = new ScriptedServer(acceptAll);
  const writer = makeClient(server).openWriter("events", { flushSeconds: 60 });
  await writer.add({ id: 1 });
  await assert.rejects(writer.add({ id: Symbol("no") }), RecordValueError);
  await writer.add({ id: 2 });
  await writer.close();
  assert.deepEqual(listIds(server), [1, 2]);
});

/** A receipt as the server answers it. */
function makeReceipt(status: string, table: Record<string, unknown> = {}): GivenAnswer {
  const shown = { loaded: 0, superseded: 0, rejected: [], error: null, left_out: [], rounded: [], trouble: null };
  return { status: 200, text: JSON.stringify({ status, tables: [{ ...shown, ...table }] }) };
}

test("receipts are followed until all records are loaded", async () => {
  const answers: GivenAnswer[] = [
    makeReceipt("waiting"),
    makeReceipt("waiting", { error: "the file is held by metabase" }),
    makeReceipt("loaded", {
      loaded: 2,
      superseded: 1,
      rejected: [{ record: 0, reason: "Field collision on id" }],
      left_out: [{ table: "t", field: "a", reason: "why", records: 2 }],
      trouble: "key",
    }),
    makeReceipt("rejected", {
      rejected: [{ record: 0, reason: "other" }],
      left_out: [{ table: "t", field: "a", reason: "why", records: null }],
      rounded: [{ table: "t", field: "p", values: 4 }],
    }),
    { status: 410 },
  ];
  const server = new ScriptedServer((_, number) => answers[number] ?? { status: 500 });
  const told: (string | null)[] = [];
  const client = makeClient(server, { onWaiting: (reason) => told.push(reason) });
  const pushed = new PushReceipt([
    { receipt: "a/1", records: 4 },
    { receipt: "b", records: 1 },
    { receipt: "c", records: 6 },
  ]);
  assert.deepEqual(await client.waitUntilLoaded(pushed), {
    loaded: 8,
    superseded: 1,
    rejected: 2,
    reason: "Field collision on id",
    trouble: "key",
    leftOut: [{ field: "a", reason: "why", records: 3 }],
    rounded: [{ field: "p", values: 4 }],
  });
  assert.deepEqual(told, ["11 wait to be loaded", "11 wait: the file is held by metabase", null]);
  assert.deepEqual(
    server.seen.map((one) => one.url.replace("https://treadle.example.com/v1/receipts/", "")),
    ["a%2F1?wait=2", "a%2F1?wait=3", "a%2F1?wait=3", "b?wait=2", "c?wait=2"],
  );
});

test("a stopped table, a lost receipt and a server without receipts are errors", async () => {
  const stopped = makeClient(new ScriptedServer(() => makeReceipt("stopped", { error: "Keys differ" })));
  const one = new PushReceipt([{ receipt: "a", records: 1 }]);
  await assert.rejects(stopped.waitUntilLoaded(one), (error: unknown) => {
    assert.ok(error instanceof TableStoppedError);
    assert.equal(error.message, "The table is stopped: Keys differ");
    return true;
  });
  const lost = makeClient(new ScriptedServer(() => ({ status: 404, text: "none" })));
  await assert.rejects(lost.waitUntilLoaded(one), /The server does not tell of a: 404 none/);
  const none = new ScriptedServer(() => ({ status: 201, text: ACCEPTED }));
  const client = makeClient(none);
  const pushed = await client.push("people", [{ id: 1 }]);
  await assert.rejects(client.waitUntilLoaded(pushed), /gives no receipts/);
});

test("an empty push sends nothing", async () => {
  const server = new ScriptedServer(acceptAll);
  const client = makeClient(server);
  const pushed = await client.push("people", []);
  assert.deepEqual([pushed.records, server.seen.length], [0, 0]);
  assert.equal((await client.waitUntilLoaded(pushed)).loaded, 0);
});

test("receipts are joined", () => {
  const joined = new PushReceipt([{ receipt: "a", records: 2 }]).join(new PushReceipt([{ receipt: null, records: 3 }]));
  assert.deepEqual([joined.records, joined.requests.length], [5, 2]);
});
