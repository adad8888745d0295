/**
 * The errors of the client, ordered by who has to act. Each text is a sentence a person can act on.
 *
 *     TreadleError
 *      ├── OperatorError          the operator: token, URL, values; the text says what to do
 *      │    ├── RecordValueError       a record cannot be sent
 *      │    ├── PushRefusedError       the server refuses a record
 *      │    ├── CallRefusedError       the server refuses a call of the control API
 *      │    └── TableStoppedError      one table is stopped; its records wait
 *      └── RetriableError         nobody now: it may pass by itself
 */
export class TreadleError extends Error {
  constructor(text: string, options?: ErrorOptions) {
    super(text, options);
    this.name = new.target.name;
  }
}

/** The token, the URL, the certificate or a value is not as it must be. The text says what to do. */
export class OperatorError extends TreadleError {}

/** A record holds a value that cannot be sent. The text names the record. */
export class RecordValueError extends OperatorError {}

/** The server refuses records. */
export class PushRefusedError extends OperatorError {
  /** Of the answer. */
  readonly status: number;
  /** The number of the refused record in its push, from 1; null if it is not known. */
  readonly place: number | null;

  constructor(text: string, status: number, place: number | null = null) {
    super(text);
    this.status = status;
    this.place = place;
  }
}

/** The server refuses a call of the control API. */
export class CallRefusedError extends OperatorError {
  /** Of the answer. */
  readonly status: number;
  /** The answer's JSON value; its text where it is no JSON. */
  readonly answer: unknown;

  constructor(text: string, status: number, answer: unknown) {
    super(text);
    this.status = status;
    this.answer = answer;
  }
}

/** Loads of one table cannot go on until somebody acts. Its accepted records wait; others go on. */
export class TableStoppedError extends OperatorError {}

/** The server was away or busy for longer than `retrySeconds`. */
export class RetriableError extends TreadleError {}
