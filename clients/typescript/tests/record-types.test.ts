import assert from "node:assert/strict";
import { test } from "node:test";

import { RecordValueError } from "../src/errors.js";
import {
  DecimalValue,
  encodeDescribed,
  joinSchemas,
  RecordEncoder,
  type TreadleRecord,
} from "../src/record-types.js";

const TIMESTAMP = { type: ["null", "string"], format: "date-time" };
const DECIMAL = { type: ["null", "string"], format: "singer.decimal" };
const NUMBER = { type: ["null", "number"] };
const NOON = new Date("2026-01-31T12:00:00.250Z");

/** The texts of some records, and the schema of their fields. */
function encodeAll(...records: TreadleRecord[]): { raws: string[]; fields: unknown } {
  const encoder = new RecordEncoder();
  const raws = records.map((record, index) => encoder.encode(record, index + 1));
  const described = encoder.describeTypes();
  if (described !== null && encoder.mixesDecimals()) {
    return { raws: records.map((one) => encodeDescribed(one, described)), fields: described["properties"] };
  }
  return { raws, fields: described?.["properties"] ?? null };
}

test("plain values need no schema", () => {
  const { raws, fields } = encodeAll({ id: 1, name: "Ann", is: true, none: null, list: ["a"], o: { b: 2 } });
  assert.deepEqual(raws, ['{"id":1,"name":"Ann","is":true,"none":null,"list":["a"],"o":{"b":2}}']);
  assert.equal(fields, null);
});

test("a time and a decimal are described, in objects and arrays, too", () => {
  const { raws, fields } = encodeAll({
    at: NOON,
    price: new DecimalValue("10.50"),
    lines: [{ at: NOON }, { at: null }],
    inner: { price: new DecimalValue("1e3") },
  });
  assert.deepEqual(JSON.parse(raws[0] ?? ""), {
    at: "2026-01-31T12:00:00.250Z",
    price: "10.50",
    lines: [{ at: "2026-01-31T12:00:00.250Z" }, { at: null }],
    inner: { price: "1e3" },
  });
  assert.deepEqual(fields, {
    at: TIMESTAMP,
    price: DECIMAL,
    lines: {
      type: ["null", "array"],
      items: { type: ["null", "object"], properties: { at: TIMESTAMP } },
    },
    inner: { type: ["null", "object"], properties: { price: DECIMAL } },
  });
});

test("a field with whole numbers and fractions is one of numbers", () => {
  assert.deepEqual(encodeAll({ n: 1 }, { n: 2.5 }).fields, { n: NUMBER });
  assert.equal(encodeAll({ n: 1 }, { n: 2 }).fields, null);
  assert.equal(encodeAll({ n: 1.5 }, { n: null }).fields, null);
});

test("numbers beside decimals are decimals, also those that came before", () => {
  const { raws, fields } = encodeAll({ p: 1 }, { p: new DecimalValue("2.50") }, { p: 3n }, { p: null });
  assert.deepEqual(fields, { p: DECIMAL });
  assert.deepEqual(raws, ['{"p":"1"}', '{"p":"2.50"}', '{"p":"3"}', '{"p":null}']);
});

test("a field of several other types is left to the values", () => {
  assert.equal(encodeAll({ v: NOON }, { v: "later" }).fields, null);
  assert.equal(encodeAll({ v: new DecimalValue("1") }, { v: "one" }).fields, null);
});

test("a bigint keeps its digits and bytes become base64", () => {
  const { raws, fields } = encodeAll({ n: 9223372036854775807n, b: new Uint8Array([0, 255, 7]), u: undefined });
  assert.deepEqual(raws, ['{"n":9223372036854775807,"b":"AP8H"}']);
  assert.equal(fields, null);
  const large = new Uint8Array(100_000).fill(65);
  const [raw] = encodeAll({ b: large.buffer }).raws;
  assert.equal(JSON.parse(raw ?? "").b, Buffer.from(large).toString("base64"));
});

test("what is written with a bigint is what JSON.stringify writes", () => {
  const record = {
    "a\"b": [undefined, NaN, -0, 1e21, "\ud800", "ü\n"],
    left: undefined,
    deep: { t: NOON, list: [[]], empty: {} },
    __proto__: null,
  };
  const [plain] = encodeAll(record).raws;
  const [withBig] = encodeAll({ ...record, big: 1n }).raws;
  assert.equal(withBig, plain?.replace(/\}$/, ',"big":1}'));
  assert.equal(plain, JSON.stringify(record));
});

test("an object with toJSON is what that returns", () => {
  const money = { toJSON: () => ({ amount: 5n }) };
  assert.deepEqual(encodeAll({ money }).raws, ['{"money":{"amount":5}}']);
});

test("a field may be called as a part of every object", () => {
  const record = JSON.parse('{"__proto__":1,"constructor":2,"big":3}') as Record<string, unknown>;
  const { raws, fields } = encodeAll({ ...record, big: 3n, at: NOON }, record);
  assert.deepEqual(Object.keys(JSON.parse(raws[1] ?? "") as object), ["__proto__", "constructor", "big"]);
  assert.deepEqual(fields, { at: TIMESTAMP });
});

const looped: Record<string, unknown> = {};
looped["self"] = looped;

for (const [value, told] of [
  [{ v: () => 1 }, /Record 7 cannot be sent as JSON: a function has no form in JSON/],
  [{ v: Symbol("x") }, /a symbol has no form/],
  [{ v: new Map([["a", 1]]) }, /a Map has no form/],
  [{ v: Promise.resolve(1) }, /a Promise has no form/],
  [{ v: [new Error("no")] }, /an Error has no form/],
  [{ v: new Date("never") }, /a Date in it is no time/],
  [looped, /more than 250 deep/],
  [[1], /it is an Array, and is to be an object/],
  ["text", /it is a string, and is to be an object/],
  [null, /it is null, and is to be an object/],
] as const) {
  test(`refused: ${String(told)}`, () => {
    assert.throws(
      () => new RecordEncoder().encode(value as unknown as TreadleRecord, 7),
      (error: unknown) => error instanceof RecordValueError && told.test(error.message),
    );
  });
}

test("a decimal is digits", () => {
  assert.equal(new DecimalValue(12n).digits, "12");
  assert.equal(new DecimalValue("-.5e-3").digits, "-.5e-3");
  for (const text of ["", "1,5", "NaN", "0x1", "1.2.3"]) {
    assert.throws(() => new DecimalValue(text), RecordValueError);
  }
});

test("a schema that is given decides, and what it does not name is described", () => {
  const given = { required: ["id"], properties: { id: { type: "integer" } } };
  assert.equal(joinSchemas(given, null), given);
  assert.deepEqual(joinSchemas(given, { type: "object", properties: { id: NUMBER, at: TIMESTAMP } }), {
    required: ["id"],
    properties: { id: { type: "integer" }, at: TIMESTAMP },
  });
  const open = { type: "object" };
  assert.equal(joinSchemas(open, { type: "object", properties: { at: TIMESTAMP } }), open);
});
