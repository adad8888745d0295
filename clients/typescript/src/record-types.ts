/**
 * The types of JavaScript's values: a JSON schema says what JSON cannot. Pure.
 *
 * A `Date` becomes a `date-time`, a `DecimalValue` a `singer.decimal`; in objects and arrays, too.
 * JavaScript has one kind of number: a field with whole numbers and fractions becomes a `number`, so
 * that it has one column. A `bigint` keeps its digits, and bytes become base64 text.
 */

import { RecordValueError } from "./errors.js";

/** One record: field names and their values. */
export type TreadleRecord = { readonly [field: string]: unknown };

/** A JSON schema. */
export type JsonSchema = { readonly [keyword: string]: unknown };

/** A decimal with the digits of a text: `new DecimalValue("10.50")`. */
export class DecimalValue {
  readonly digits: string;

  /**
   * @param digits such as "10.50" or "-1e-3".
   * @throws RecordValueError the text is no decimal.
   */
  constructor(digits: string | bigint) {
    this.digits = String(digits);
    if (!/^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/.test(this.digits)) {
      throw new RecordValueError(
        `A decimal is to be a text of digits such as "10.50", and it is ${JSON.stringify(digits)}.`,
      );
    }
  }

  toString(): string {
    return this.digits;
  }

  toJSON(): string {
    return this.digits;
  }
}

/** The most arrays and objects within each other; the server takes 256, the request's own counted. */
const DEPTH_MAX = 250;

const PLAIN = 1;
const INTEGER = 2;
const FRACTION = 4;
const TIMESTAMP = 8;
const DECIMAL = 16;
const OBJECT = 32;
const ARRAY = 64;

/** Which kinds of values a field had, and those of the fields or items in it. */
interface FieldKinds {
  kinds: number;
  fields: Map<string, FieldKinds> | null;
  items: FieldKinds | null;
}

/** Encodes the records of one request, and remembers the types that JSON lacks. */
export class RecordEncoder {
  private readonly root: FieldKinds = makeKinds();
  private walked = { plain: true };

  /**
   * Return the JSON text of a record. After an error, its types are to be forgotten with the object.
   *
   * @param record the record.
   * @param number of the record, for a message.
   * @throws RecordValueError the record is no object, or has a value that cannot be sent.
   */
  encode(record: TreadleRecord, number: number): string {
    try {
      if (!isRecord(record)) {
        throw new ValueFault(`it is ${describeValue(record)}, and is to be an object`);
      }
      this.walked.plain = true;
      this.lookAtObject(record, this.root, 1);
      return this.walked.plain ? JSON.stringify(record) : write(record, undefined);
    } catch (fault) {
      if (fault instanceof ValueFault || fault instanceof TypeError || fault instanceof RangeError) {
        throw new RecordValueError(
          `Record ${number} cannot be sent as JSON: ${fault.message}.`,
          { cause: fault },
        );
      }
      throw fault;
    }
  }

  /** Return the JSON schema of the types that JSON lacks; null if the records have none. */
  describeTypes(): JsonSchema | null {
    const properties = describeFields(this.root.fields);
    return properties === null ? null : { type: "object", properties };
  }

  /** Whether numbers of a field are to be written as decimals, which the texts so far are not. */
  mixesDecimals(): boolean {
    return mixesDecimals(this.root);
  }

  private look(value: unknown, kinds: FieldKinds, depth: number): void {
    switch (typeof value) {
      case "string":
      case "boolean":
        kinds.kinds |= PLAIN;
        return;
      case "number":
        if (Number.isFinite(value)) {
          kinds.kinds |= Number.isInteger(value) ? INTEGER : FRACTION;
        }
        return;
      case "bigint":
        kinds.kinds |= INTEGER;
        this.walked.plain = false;
        return;
      case "undefined":
        return;
      case "object":
        if (value !== null) {
          this.lookAtOther(value, kinds, depth);
        }
        return;
      default:
        throw new ValueFault(`${describeValue(value)} has no form in JSON`);
    }
  }

  private lookAtOther(value: object, kinds: FieldKinds, depth: number): void {
    if (value instanceof Date) {
      if (Number.isNaN(value.getTime())) {
        throw new ValueFault("a Date in it is no time");
      }
      kinds.kinds |= TIMESTAMP;
    } else if (value instanceof DecimalValue) {
      kinds.kinds |= DECIMAL;
    } else if (Array.isArray(value)) {
      checkDepth(depth);
      kinds.kinds |= ARRAY;
      kinds.items ??= makeKinds();
      for (const item of value) {
        this.look(item, kinds.items, depth + 1);
      }
    } else if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) {
      kinds.kinds |= PLAIN;
      this.walked.plain = false;
    } else if (hasJson(value)) {
      this.look(value.toJSON(), kinds, depth);
    } else if (isRecord(value)) {
      checkDepth(depth);
      kinds.kinds |= OBJECT;
      this.lookAtObject(value, kinds, depth + 1);
    } else {
      throw new ValueFault(`${describeValue(value)} has no form in JSON`);
    }
  }

  private lookAtObject(record: TreadleRecord, kinds: FieldKinds, depth: number): void {
    const fields = (kinds.fields ??= new Map());
    for (const name of Object.keys(record)) {
      let found = fields.get(name);
      if (found === undefined) {
        found = makeKinds();
        fields.set(name, found);
      }
      this.look(record[name], found, depth);
    }
  }
}

/**
 * Return the JSON text of a record whose types are described.
 *
 * @param record that was encoded before.
 * @param schema that `describeTypes` returned.
 */
export function encodeDescribed(record: TreadleRecord, schema: JsonSchema): string {
  return write(record, schema);
}

/** Return a schema with the types of further fields, which it does not name. */
export function joinSchemas(given: JsonSchema, described: JsonSchema | null): JsonSchema {
  const named = given["properties"];
  if (described === null || typeof named !== "object" || named === null) {
    return given;
  }
  return { ...given, properties: { ...(described["properties"] as object), ...named } };
}

/** A value cannot be sent; the text says why, and not of which record. */
class ValueFault extends Error {}

function makeKinds(): FieldKinds {
  return { kinds: 0, fields: null, items: null };
}

function describeFields(fields: Map<string, FieldKinds> | null): JsonSchema | null {
  const described: [string, JsonSchema][] = [];
  for (const [name, kinds] of fields ?? []) {
    const schema = describeKinds(kinds);
    if (schema !== null) {
      described.push([name, schema]);
    }
  }
  // Not by assignment: a field may be called __proto__.
  return described.length === 0 ? null : Object.fromEntries(described);
}

function describeKinds(found: FieldKinds): JsonSchema | null {
  switch (found.kinds) {
    case TIMESTAMP:
      return { type: ["null", "string"], format: "date-time" };
    case INTEGER | FRACTION:
      return { type: ["null", "number"] };
    case OBJECT: {
      const properties = describeFields(found.fields);
      return properties === null ? null : { type: ["null", "object"], properties };
    }
    case ARRAY: {
      const items = found.items === null ? null : describeKinds(found.items);
      return items === null ? null : { type: ["null", "array"], items };
    }
    default:
      return isDecimal(found.kinds) ? { type: ["null", "string"], format: "singer.decimal" } : null;
  }
}

function isDecimal(kinds: number): boolean {
  return (kinds & DECIMAL) !== 0 && (kinds & ~(DECIMAL | INTEGER | FRACTION)) === 0;
}

function mixesDecimals(found: FieldKinds): boolean {
  if (isDecimal(found.kinds) && found.kinds !== DECIMAL) {
    return true;
  }
  if (found.items !== null && mixesDecimals(found.items)) {
    return true;
  }
  return [...(found.fields?.values() ?? [])].some(mixesDecimals);
}

function write(value: unknown, schema: JsonSchema | undefined): string {
  switch (typeof value) {
    case "number":
      if (!Number.isFinite(value)) {
        return "null";
      }
      return schema?.["format"] === "singer.decimal" ? `"${value}"` : JSON.stringify(value);
    case "bigint":
      return schema?.["format"] === "singer.decimal" ? `"${value}"` : value.toString();
    case "object":
      return value === null ? "null" : writeOther(value, schema);
    default:
      return JSON.stringify(value);
  }
}

function writeOther(value: object, schema: JsonSchema | undefined): string {
  if (Array.isArray(value)) {
    const items = schema?.["items"] as JsonSchema | undefined;
    return `[${value.map((item) => (item === undefined ? "null" : write(item, items))).join(",")}]`;
  }
  if (ArrayBuffer.isView(value)) {
    return writeBytes(new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
  }
  if (value instanceof ArrayBuffer) {
    return writeBytes(new Uint8Array(value));
  }
  if (hasJson(value)) {
    return write(value.toJSON(), schema);
  }
  const record = value as TreadleRecord;
  const properties = schema?.["properties"] as { [name: string]: JsonSchema } | undefined;
  const fields: string[] = [];
  for (const name of Object.keys(record)) {
    if (record[name] !== undefined) {
      const known = properties !== undefined && Object.hasOwn(properties, name);
      const text = write(record[name], known ? properties[name] : undefined);
      fields.push(`${JSON.stringify(name)}:${text}`);
    }
  }
  return `{${fields.join(",")}}`;
}

function writeBytes(bytes: Uint8Array): string {
  let text = "";
  for (let begin = 0; begin < bytes.length; begin += 8192) {
    text += String.fromCharCode(...bytes.subarray(begin, begin + 8192));
  }
  return `"${btoa(text)}"`;
}

function hasJson(value: object): value is { toJSON(): unknown } {
  return typeof (value as { toJSON?: unknown }).toJSON === "function";
}

/** Whether a value is an object with fields: no Map, Set, RegExp or the like, which have none. */
function isRecord(value: unknown): value is TreadleRecord {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return false;
  }
  return Object.prototype.toString.call(value) === "[object Object]";
}

function checkDepth(depth: number): void {
  if (depth > DEPTH_MAX) {
    throw new ValueFault(`arrays and objects in it are more than ${DEPTH_MAX} deep`);
  }
}

function describeValue(value: unknown): string {
  if (value === null) {
    return "null";
  }
  if (typeof value !== "object") {
    return `a ${typeof value}`;
  }
  const name = (value as object).constructor?.name ?? "object";
  return `${/^[AEIOU]/.test(name) ? "an" : "a"} ${name}`;
}
