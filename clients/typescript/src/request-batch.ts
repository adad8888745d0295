/**
 * Batches of records, and the bodies of the requests that send them.
 *
 * A record keeps its sequence however often it is sent, and a batch its idempotency key. So to send
 * a batch twice, or two in the wrong order, changes nothing in the table.
 */

import type { ClientClock } from "./client-clock.js";
import { RecordValueError } from "./errors.js";
import {
  encodeDescribed,
  joinSchemas,
  type JsonSchema,
  RecordEncoder,
  type TreadleRecord,
} from "./record-types.js";

/** The most records of one request (import-api.md 5). */
export const RECORDS_MAX = 20_000;

/**
 * The most bytes of records in one request, unless a single record is larger. Known clients send no
 * more (import-api.md 5), so any proxy in between lets it through.
 */
export const BYTES_MAX = 4_000_000;

/** A request may have 20 MiB (import-api.md 5). A kilobyte is left for what surrounds the record. */
export const RECORD_BYTES_MAX = 20 * 1024 * 1024 - 1024;

const SEQUENCE_MAX = 2n ** 63n - 1n;

/** The values that all records of a push share. */
export interface TableForm {
  /** The table's name. */
  readonly table: string;
  /** Key fields; empty for a table to which records are appended. */
  readonly key: readonly string[];
  /** A JSON schema; null to describe the types of the values. */
  readonly schema: JsonSchema | null;
  /** The field with the sequence; null to count. */
  readonly sequence: string | null;
}

/** Consecutive records of one push, which are sent in one request. */
export interface RequestBatch {
  /** Number of the first record in its push, from 1. */
  readonly first: number;
  readonly records: number;
  /** JSON text. */
  readonly body: string;
}

/** Gives sequences that grow, also over the runs of a program: nanoseconds since 1970. */
export class RecordSequence {
  private next = 0n;

  constructor(private readonly clock: ClientClock) {}

  /** Return a sequence that is higher than all before. */
  take(): bigint {
    const now = BigInt(Math.floor(this.clock.now())) * 1_000_000n;
    const taken = now > this.next ? now : this.next;
    this.next = taken + 1n;
    return taken;
  }
}

/** Collects the records of a push, and cuts them into requests. */
export class BatchBuilder {
  private encoder = new RecordEncoder();
  private records: TreadleRecord[] = [];
  private raws: string[] = [];
  private sequences: bigint[] = [];
  private bytes = 0;
  private count = 0;

  /**
   * @param form what the records share.
   * @param counter gives the sequences where no field has them.
   * @param recordsMax the most records of a request.
   * @param bytesMax the most bytes of the records of a request.
   */
  constructor(
    private readonly form: TableForm,
    private readonly counter: RecordSequence,
    private readonly recordsMax: number,
    private readonly bytesMax: number,
  ) {}

  /** How many records wait for others. */
  get length(): number {
    return this.records.length;
  }

  /**
   * Take a record.
   *
   * @returns the requests that are full now.
   * @throws RecordValueError the record cannot be sent; it is not taken.
   */
  add(record: TreadleRecord): RequestBatch[] {
    const number = this.count + 1;
    const raw = this.encode(record, number);
    const bytes = countBytes(raw);
    if (bytes > RECORD_BYTES_MAX) {
      this.forget();
      throw new RecordValueError(
        `Record ${number} has ${bytes} bytes, and a record can have ${RECORD_BYTES_MAX}.`,
      );
    }
    const full: RequestBatch[] = [];
    if (this.records.length > 0 && this.bytes + bytes > this.bytesMax) {
      this.forget();
      full.push(...this.cut());
      this.encode(record, number);
    }
    this.records.push(record);
    this.raws.push(raw);
    const counts = this.form.sequence === null;
    this.sequences.push(counts ? this.counter.take() : this.sequenceOf(record, number));
    this.bytes += bytes;
    this.count = number;
    if (this.records.length >= this.recordsMax) {
      full.push(...this.cut());
    }
    return full;
  }

  /** Return the request of the records that wait; none if there are none. */
  cut(): RequestBatch[] {
    if (this.records.length === 0) {
      return [];
    }
    const records = this.records.length;
    const described = this.encoder.describeTypes();
    const raws =
      described !== null && this.encoder.mixesDecimals()
        ? this.records.map((record) => encodeDescribed(record, described))
        : this.raws;
    const schema = this.form.schema === null ? described : joinSchemas(this.form.schema, described);
    const batch = {
      first: this.count - records + 1,
      records,
      body: encodeBody(this.form, schema, raws, this.sequences),
    };
    this.encoder = new RecordEncoder();
    this.records = [];
    this.raws = [];
    this.sequences = [];
    this.bytes = 0;
    return [batch];
  }

  private encode(record: TreadleRecord, number: number): string {
    try {
      const raw = this.encoder.encode(record, number);
      if (this.form.sequence !== null) {
        this.sequenceOf(record, number);
      }
      return raw;
    } catch (error) {
      this.forget();
      throw error;
    }
  }

  /** Forget the types of a record that is not taken: those of the others are looked at again. */
  private forget(): void {
    this.encoder = new RecordEncoder();
    const first = this.count - this.records.length + 1;
    this.records.forEach((record, index) => this.encoder.encode(record, first + index));
  }

  private sequenceOf(record: TreadleRecord, number: number): bigint {
    const value = record[this.form.sequence ?? ""];
    const whole =
      typeof value === "bigint" || (typeof value === "number" && Number.isSafeInteger(value))
        ? BigInt(value)
        : null;
    if (whole === null || whole > SEQUENCE_MAX || whole < -SEQUENCE_MAX - 1n) {
      throw new RecordValueError(
        `Record ${number}: the sequence field ${JSON.stringify(this.form.sequence)} is to be a ` +
          "whole number below 2^53, or a bigint below 2^63, and it is " +
          `${typeof value === "bigint" ? value : JSON.stringify(value)}.`,
      );
    }
    return whole;
  }
}

/** Return the body of a request (import-api.md 9.1). */
export function encodeBody(
  form: TableForm,
  schema: JsonSchema | null,
  raws: readonly string[],
  sequences: readonly bigint[],
): string {
  const head = JSON.stringify({ table_name: form.table, key_names: form.key, schema: schema ?? {} });
  const messages = raws.map(
    (raw, at) => `{"action":"upsert","sequence":${sequences[at]},"data":${raw}}`,
  );
  return `${head.slice(0, -1)},"messages":[${messages.join(",")}]}`;
}

/** Return the places of the records of a batch for a person: "record 1 to record 5000". */
export function describePlaces(first: number, records: number): string {
  return records === 1 ? `record ${first}` : `record ${first} to record ${first + records - 1}`;
}

/** Return the bytes of a text in UTF-8. */
export function countBytes(text: string): number {
  let bytes = text.length;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code > 0x7f) {
      // Each half of a pair has two of the pair's four bytes.
      bytes += code > 0x7ff && (code < 0xd800 || code > 0xdfff) ? 2 : 1;
    }
  }
  return bytes;
}
