/**
 * The TypeScript client of treadle: pushes records, and follows what becomes of them.
 *
 *     const client = new TreadleClient("https://treadle.example.com", token);
 *     const pushed = await client.push("orders", [{ id: 1, price: new DecimalValue("1.50") }], {
 *       key: ["id"],
 *     });
 *     console.log((await client.waitUntilLoaded(pushed)).loaded);
 */

export {
  AccountClient,
  type CallOptions,
  type NewSource,
  type OperationAnswer,
  type OperationInput,
  type OperationName,
} from "./account-client.js";
export type * as api from "./api-types.js";
export type { ClientClock } from "./client-clock.js";
export {
  CallRefusedError,
  OperatorError,
  PushRefusedError,
  RecordValueError,
  RetriableError,
  TableStoppedError,
  TreadleError,
} from "./errors.js";
export {
  type AcknowledgedRequest,
  type LeftOutField,
  type PushOutcome,
  PushReceipt,
  type RoundedField,
} from "./receipt-follower.js";
export { DecimalValue, type JsonSchema, type TreadleRecord } from "./record-types.js";
export type { RecordWriter } from "./record-writer.js";
export {
  type ClientOptions,
  type ConnectionOptions,
  type OpenWriterOptions,
  type PushOptions,
  TreadleClient,
} from "./treadle-client.js";
