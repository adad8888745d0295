import assert from "node:assert/strict";
import { test } from "node:test";

import { RecordValueError } from "../src/errors.js";
import { DecimalValue } from "../src/record-types.js";
import {
  BatchBuilder,
  BYTES_MAX,
  countBytes,
  RECORD_BYTES_MAX,
  RecordSequence,
  type TableForm,
} from "../src/request-batch.js";
import { HastyClock, type SentBatch } from "./doubles.js";

const FORM: TableForm = { table: "orders", key: ["id"], schema: null, sequence: null };

function makeBuilder(form: Partial<TableForm> = {}, recordsMax = 3, bytesMax = BYTES_MAX): BatchBuilder {
  const counter = new RecordSequence(new HastyClock());
  return new BatchBuilder({ ...FORM, ...form }, counter, recordsMax, bytesMax);
}

function read(body: string | undefined): SentBatch {
  return JSON.parse(body ?? "") as SentBatch;
}

test("the body is the envelope of the Import API", () => {
  const builder = makeBuilder({ sequence: "n" });
  assert.deepEqual(builder.add({ id: 1, n: 9007199254740993n, at: new Date(0) }), []);
  const [batch] = builder.cut();
  assert.equal(
    batch?.body,
    '{"table_name":"orders","key_names":["id"],"schema":{"type":"object","properties":{"at":' +
      '{"type":["null","string"],"format":"date-time"}}},"messages":[{"action":"upsert",' +
      '"sequence":9007199254740993,"data":{"id":1,"n":9007199254740993,"at":"1970-01-01T00:00:00.000Z"}}]}',
  );
  assert.deepEqual([batch?.first, batch?.records], [1, 1]);
  assert.deepEqual(builder.cut(), []);
});

test("records are cut by their number, and numbered through", () => {
  const builder = makeBuilder();
  const full = Array.from({ length: 7 }, (_, id) => builder.add({ id })).flat();
  const all = [...full, ...builder.cut()];
  assert.deepEqual(all.map(({ first, records }) => [first, records]), [[1, 3], [4, 3], [7, 1]]);
  const sequences = all.flatMap(({ body }) => read(body).messages.map((one) => one.sequence));
  assert.deepEqual([...sequences].sort((a, b) => a - b), sequences);
});

test("records are cut by their bytes, and a large one goes alone", () => {
  const builder = makeBuilder({}, 100, 80);
  const cut = [10, 10, 40, 300, 10].flatMap((size) => builder.add({ t: "x".repeat(size) }));
  assert.deepEqual([...cut, ...builder.cut()].map(({ first, records }) => [first, records]), [
    [1, 2],
    [3, 1],
    [4, 1],
    [5, 1],
  ]);
});

test("the types of a record do not go into the request before it", () => {
  const builder = makeBuilder({}, 100, 60);
  builder.add({ v: "x".repeat(40) });
  const [before] = builder.add({ v: new Date(0) });
  const [after] = builder.cut();
  assert.deepEqual(read(before?.body).schema, {});
  assert.deepEqual(Object.keys(read(after?.body).schema.properties ?? {}), ["v"]);
});

test("a record that cannot be sent leaves no trace", () => {
  const builder = makeBuilder({ sequence: "n" });
  builder.add({ n: 1, at: new Date(0) });
  assert.throws(() => builder.add({ n: 2, at: "text", bad: new Map() }), RecordValueError);
  assert.throws(() => builder.add({ n: 2.5, at: "text" }), /Record 2: the sequence field "n"/);
  assert.throws(() => builder.add({ at: "text" }), /and it is undefined/);
  assert.throws(() => builder.add({ n: 2n ** 63n, at: "text" }), RecordValueError);
  assert.throws(() => builder.add({ n: 2, at: "x".repeat(RECORD_BYTES_MAX) }), /Record 2 has 20,?\d+/);
  builder.add({ n: -(2n ** 63n), at: new Date(1) });
  const [batch] = builder.cut();
  assert.deepEqual([batch?.first, batch?.records], [1, 2]);
  assert.deepEqual(Object.keys(read(batch?.body).schema.properties ?? {}), ["at"]);
});

test("decimals beside numbers are written again", () => {
  const builder = makeBuilder();
  builder.add({ p: 1.5 });
  builder.add({ p: new DecimalValue("2.50") });
  const [batch] = builder.cut();
  assert.deepEqual(read(batch?.body).messages.map((one) => one.data), [{ p: "1.5" }, { p: "2.50" }]);
});

test("sequences grow while the clock stands or goes back", () => {
  const clock = new HastyClock();
  const counter = new RecordSequence(clock);
  const taken = [counter.take(), counter.take()];
  clock.time -= 5_000;
  taken.push(counter.take());
  clock.time += 10_000;
  taken.push(counter.take());
  assert.equal(taken[0], 1_800_000_000_000_000_000n);
  assert.deepEqual(taken.slice(1).map((one, at) => one > (taken[at] ?? one)), [true, true, true]);
  assert.equal(taken[3], 1_800_000_005_000_000_000n);
});

test("bytes are counted as they are sent", () => {
  for (const text of ["", "abc", "äöü", "€", "😀x", "日本語 and é"]) {
    assert.equal(countBytes(text), Buffer.byteLength(text), text);
  }
});
