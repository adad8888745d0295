/** Calls of the control API with an account token: sources, tokens, and every other operation. */

import {
  type MadeToken,
  type Operations,
  type ReportCard,
  ROUTES,
  type Source,
  type Token,
} from "./api-types.js";
import { CallRefusedError, OperatorError } from "./errors.js";
import { describeAnswer, type RequestRetry } from "./request-retry.js";
import { type ConnectionOptions, makeRetry } from "./treadle-client.js";

/** The name of an operation, as the server's OpenAPI document has it. */
export type OperationName = keyof Operations;

/** What an operation is asked with: `path`, `query` and `body`, as far as it has them. */
export type OperationInput<Name extends OperationName> = Omit<Operations[Name], "answer">;

/** What an operation answers. */
export type OperationAnswer<Name extends OperationName> = Operations[Name]["answer"];

/** Nothing has to be given for an operation without a required part. */
type InputArguments<Name extends OperationName> =
  Record<never, never> extends OperationInput<Name>
    ? [input?: OperationInput<Name>, options?: CallOptions]
    : [input: OperationInput<Name>, options?: CallOptions];

/** How one call is made. */
export interface CallOptions {
  readonly signal?: AbortSignal;
}

/** What a source is made with. */
export type NewSource = Omit<OperationInput<"create_source">["body"], "type">;

/**
 * Calls the control API for an account.
 *
 * GET and PUT are repeated while the server is busy or away. POST and DELETE are repeated only when
 * the server says that it did nothing (429), so that nothing is made twice.
 */
export class AccountClient {
  private readonly retry: RequestRetry;

  /**
   * Make a client; nothing is sent yet.
   *
   * @param url of the server, without a path of the API.
   * @param token of the account: `ac_...`.
   * @throws OperatorError the URL is none.
   */
  constructor(url: string, token: string, options: ConnectionOptions = {}) {
    this.retry = makeRetry(url, token, ACCOUNT_TOKEN_ADVICE, options);
  }

  /**
   * Call any operation of the control API.
   *
   * @param name of the operation in the server's OpenAPI document, such as "list_sources".
   * @throws CallRefusedError the server refuses the call.
   * @throws OperatorError the token or the URL is wrong.
   * @throws RetriableError the server was not there, or nobody knows whether it did it.
   */
  async call<Name extends OperationName>(
    name: Name,
    ...[input, options]: InputArguments<Name>
  ): Promise<OperationAnswer<Name>> {
    const route = ROUTES[name];
    if (route === undefined) {
      throw new OperatorError(
        `${JSON.stringify(name)} is no operation of the control API; those are in /openapi.json.`,
      );
    }
    const { path, query, body } = (input ?? {}) as LooseInput;
    const answer = await this.retry.fetchAnswer(
      {
        method: route.method,
        path: fillPath(route.path, path ?? {}) + makeQuery(query ?? {}),
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal: options?.signal,
        repeats: route.method === "GET" || route.method === "PUT",
      },
      `${name} could not be asked`,
    );
    const value = parseAnswer(answer.text);
    if (answer.status < 200 || answer.status >= 300) {
      const told = describeAnswer(answer);
      throw new CallRefusedError(`The server refuses ${name}: ${told}`, answer.status, value);
    }
    return value as OperationAnswer<Name>;
  }

  /** The sources of the account. */
  async listSources(): Promise<OperationAnswer<"list_sources">> {
    return await this.call("list_sources");
  }

  /** Make a source of the Import API. Where tokens are shown, its `properties.token` has the first. */
  async createSource(source: NewSource): Promise<Source> {
    return await this.call("create_source", { body: { type: "import_api", ...source } });
  }

  /** A source. */
  async getSource(sourceId: number): Promise<Source> {
    return await this.call("get_source", { path: { source_id: sourceId } });
  }

  /** The report card of a source: how far it is configured. */
  async getReportCard(sourceId: number): Promise<ReportCard> {
    return (await this.getSource(sourceId)).report_card;
  }

  /** All tokens of a source, by id, ended ones too, never their values. */
  async listTokens(sourceId: number): Promise<Token[]> {
    const { tokens } = await this.call("list_access_tokens", { query: { source: sourceId } });
    return tokens;
  }

  /** Make a further import token of a source, which has two at most. */
  async createToken(sourceId: number): Promise<OperationAnswer<"create_token">> {
    return await this.call("create_token", { path: { source_id: sourceId } });
  }

  /**
   * Make a token like an active one; both are valid during the overlap, then only the new one.
   *
   * @param tokenId of the active one.
   * @param overlapSeconds 0 ends the active one at once.
   */
  async rotateToken(tokenId: number, overlapSeconds: number): Promise<MadeToken> {
    const body = { overlap_seconds: overlapSeconds };
    return await this.call("replace_access_token", { path: { token_id: tokenId }, body });
  }

  /** Revoke a token of the account or of one of its sources at once. */
  async revokeToken(tokenId: number): Promise<OperationAnswer<"revoke_access_token">> {
    return await this.call("revoke_access_token", { path: { token_id: tokenId } });
  }
}

/** What an answer with the status 401 to a call means, and what to do. */
const ACCOUNT_TOKEN_ADVICE =
  "the token was revoked, disabled or has ended, or is none of an account of this server; " +
  "`treadle account token list` shows the tokens";

interface LooseInput {
  readonly path?: Record<string, unknown>;
  readonly query?: Record<string, unknown>;
  readonly body?: unknown;
}

/** Return a path with its parameters. */
export function fillPath(path: string, values: Record<string, unknown>): string {
  return path.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = values[name];
    if (value === undefined || value === null || value === "") {
      throw new OperatorError(`The path ${path} needs a value for ${name}, and there is none.`);
    }
    return encodeURIComponent(String(value));
  });
}

/** Return a query with its question mark; empty for no values. */
export function makeQuery(values: Record<string, unknown>): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null) {
        query.append(name, String(one));
      }
    }
  }
  const text = query.toString();
  return text === "" ? "" : `?${text}`;
}

function parseAnswer(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
