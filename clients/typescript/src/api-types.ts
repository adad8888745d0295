/**
 * Types of the bodies and answers of the server's APIs, and the operations of its control API.
 *
 * `make client-types` writes this file out of the server's OpenAPI document. Change the server
 * instead.
 */

/** Every record is durable. */
export interface Accepted {
  status: "OK";
  message: "Batch Accepted!";
}

/** Account tokens, by id. */
export interface AccountTokens {
  account_tokens: TokenWithUses[];
}

/** The envelope's table version is complete: rows of older versions go. */
export interface ActivateVersion {
  action: "activate_version";
  /** orders the versions of one record: the highest wins */
  sequence: number;
}

/** Who acted. */
export interface Actor {
  kind: "account_token" | "partner" | "person" | "command_line" | "server";
  /** of the token or the person; null for the operator and the server */
  id: string | null;
  /** from where; null for the operator and the server */
  address: string | null;
}

/** A worker answers. */
export interface Alive {
  status: "alive";
}

/** The edit of each record. */
export interface AskedEdit {
  /** field -> its new value */
  set?: Record<string, unknown>;
  /** fields to leave out */
  unset?: string[];
  /** JSON text that replaces the only record of `ids` */
  record?: string;
}

/** The records that a resend is about; what is left out chooses nothing. */
export interface AskedRecords {
  source_id?: number;
  table?: string;
  cause_id?: number;
  code?: string;
  field?: string;
  /** a time such as 2027-01-01T00:00:00Z */
  since?: string;
  until?: string;
}

/** Which properties were wrong. */
export interface BadProperties {
  message: string;
  bad_properties: string[];
  report_card: ReportCard;
}

/** What is wrong with which field, an element for each bad record, in order. */
export interface BadRecords {
  status: "ERROR";
  error: "Request cannot be processed; see errors.";
  errors: {
    reason: string | Record<string, string[]>;
  }[];
  /** in the answer of a dry run: the index, from 0, of each bad record */
  records?: number[];
}

/** a record, or an array of records */
export type BareRecords = Record<string, unknown> | Record<string, unknown>[];

/** Records of one table with their schema. */
export interface Batch {
  /** destination table; made with its first record */
  table_name: string;
  /** JSON Schema, draft 4, which all `data` must fit */
  schema: Record<string, unknown>;
  messages: (BatchUpsert | ActivateVersion)[];
  /** the table's key; none: every record is a new row */
  key_names?: string[] | null;
  table_version?: number;
  /** fields named in load reports */
  bookmark_names?: string[];
}

/** What was wrong, one line for each finding. */
export interface BatchRefusal {
  error: string;
}

/** A record that replaces the earlier one with its key. */
export interface BatchUpsert {
  action: "upsert";
  /** orders the versions of one record: the highest wins */
  sequence: number;
  /** the record: at most 10,000 values, nested ones counted */
  data: Record<string, unknown>;
  /** RFC 3339; kept in `_sdc_extracted_at` */
  time_extracted?: string;
  /** the older name of `time_extracted` */
  vintage?: string;
}

/** Something of the kind is under way. */
export interface Busy {
  status: string;
  message: string;
}

/** The options after a change. */
export interface ChangedOptions {
  source_id: number;
  /** null for the tables of the source in general */
  table: string | null;
  options: Option[];
  /** that are loaded differently from now on */
  touched_tables: TouchedTables;
  /** nothing was changed */
  dry_run: boolean;
}

/** An error with a code. */
export interface Coded {
  error: string;
  data: Message;
}

/** Properties that cannot be set. */
export interface CodedProperties {
  error: "InvalidProperties";
  data: BadProperties;
}

/** How long the last commits of the log took, their fsync included. */
export interface CommitTimes {
  /** of the last hour, 512 of a worker at most */
  commits: number;
  p50_seconds: number | null;
  p99_seconds: number | null;
}

/** How what was built of a table or subtable differs from what is there. */
export interface ComparedRelation {
  /** in the destination */
  table: string;
  /** rows in the table but not in the log */
  only_there: number;
  /** rows in the log but not in the table */
  only_in_the_log: number;
  /** rows with one key and other values */
  different: number;
}

/** A check of a destination: a load that is carried out in each schema and undone. */
export interface ConnectionCheck {
  target_exit_status: null;
  tap_error_message: null;
  /** 0 is well; null while it runs, or where it was not reached */
  check_exit_status: number | null;
  /** `<client>.<destination>.check.<uuid>` */
  name: string;
  /** ISO 8601, UTC, whole seconds */
  start_time: string;
  mode: "check";
  tap_exit_status: null;
  target_error_message: null;
  /** 0 is well; null while it runs, or where it was not reached */
  discovery_exit_status: number | null;
  status: "running" | "succeeded" | "failed";
  completion_time: string | null;
  error: boolean;
  /** why no load is possible, one or two sentences */
  discovery_error_message: string | null;
}

/** Another number of records is open than was expected. */
export interface CountDiffers {
  error: string;
  data: CountDiffersData;
}

/** How many records are open now. */
export interface CountDiffersData {
  message: string;
  records: number;
}

/** An address that is told of the problems of an account by mail. */
export interface CustomEmail {
  id: number;
  /** the account */
  client_id: number;
  email_address: string;
  /** ISO 8601, UTC, whole seconds */
  created_at: string;
  /** set: it gets nothing */
  disabled_at: string | null;
}

/** Deliveries of a hook, newest first. */
export interface Deliveries {
  deliveries: Delivery[];
  /** `before` of the next page; null on the last */
  next: string | null;
}

/** What a hook is told of one load, and what became of it. */
export interface Delivery {
  /** the same however often it is sent */
  delivery_id: string;
  hook_id: number;
  load_id: string;
  source_id: number;
  /** as pushed */
  table: string;
  state: "waiting" | "delivered" | "failed";
  tries: number;
  /** RFC 3339, UTC, microseconds */
  created_at: string;
  /** the earliest time; null unless it waits */
  next_try_at: string | null;
  last_tried_at: string | null;
  finished_at: string | null;
  /** how long the last try took */
  took_ms: number | null;
  /** HTTP status of the last answer */
  status: number | null;
  /** its first 1024 bytes, as text */
  answer: string | null;
  /** why the last try was no success */
  error: string | null;
  /** what is sent */
  body: Record<string, unknown>;
}

/** A property that a step asks for; one that is `read_only` is never to be filled in. */
export interface Descriptor {
  name: string;
  is_required: boolean;
  is_credential: boolean;
  system_provided: boolean;
  property_type: string;
  json_schema: Record<string, unknown>;
  /** whether it has a value */
  provided: boolean;
  tap_mutable: boolean;
}

/** A database that rows are loaded into. */
export interface Destination {
  description: string | null;
  /** without credentials */
  properties: Record<string, string>;
  /** ISO 8601, UTC, whole seconds */
  updated_at: string;
  /** of its last check */
  check_job_name?: string;
  name: string;
  /** never changes */
  type: string;
  deleted_at: string | null;
  system_paused_at: string | null;
  /** the account */
  stitch_client_id: number;
  paused_at: string | null;
  id: number;
  display_name: null;
  /** ISO 8601, UTC, whole seconds */
  created_at: string;
  report_card: DestinationCard;
}

/** How far a destination is configured. */
export interface DestinationCard {
  type: string;
  /** position in `steps`, the first is 1 */
  current_step: number;
  current_step_type: "form" | "fully_configured";
  steps: DestinationStep[];
}

/** A property of a destination. */
export interface DestinationProperty {
  name: string;
  is_required: boolean;
  /** it is never shown */
  is_credential: boolean;
  system_provided: boolean;
  property_type: string;
  json_schema: Record<string, unknown>;
  /** whether it has a value */
  provided: boolean;
}

/** A destination as it is now. */
export interface DestinationState {
  id: number;
  type: string;
  name: string;
  state: "up" | "down" | "unchecked";
  /** since when it is down */
  since: string | null;
  /** why it is down */
  said: string | null;
}

/** A step of a destination's configuration. */
export interface DestinationStep {
  type: "form" | "fully_configured";
  properties: DestinationProperty[];
}

/** The report card of a type, before a destination exists. */
export interface DestinationType {
  type: string;
  /** position in `steps`, the first is 1 */
  current_step: number;
  current_step_type: "form" | "fully_configured";
  steps: DestinationStep[];
  details: DestinationTypeDetails;
}

/** What a type of destination is. */
export interface DestinationTypeDetails {
  pricing_tier: string;
  pipeline_state: string;
  protocol: string;
  access: boolean;
}

/** What a source type is. */
export interface Details {
  pricing_tier: string;
  pipeline_state: string;
  default_start_date: string;
  default_scheduling_interval: number;
  protocol: string;
  access: boolean;
  image_version: string;
}

/** Whether a custom e-mail is disabled now. */
export interface Disabled {
  disabled_at: string | null;
}

/** It was done. */
export interface Done {
  status: 200;
}

/** What a load of the request would do. */
export interface DryRun {
  dry_run: true;
  tables: DryRunTable[];
}

/** What a load would do to one table; a table that cannot be loaded has its `error` alone. */
export interface DryRunTable {
  /** as pushed */
  table: string;
  rows_received: number;
  /** why it cannot be loaded */
  error: string | null;
  destination_table?: string;
  rows_loaded?: number;
  rows_discarded?: number;
  rows_rejected?: number;
  rejected?: {
    /** its place among the table's records, from 0 */
    record: number;
    reason: string;
  }[];
  fields_left_out?: unknown[];
  /** fields that records are loaded without */
  left_out?: {
    /** that it would be in */
    table: string;
    field: string;
    /** as in `_sdc_rejected` */
    reason: string;
    records: number;
  }[];
  /** fields with values that their column does not hold exactly */
  rounded?: {
    table: string;
    field: string;
    values: number;
  }[];
  /** records that are rejected for the type of their key */
  key_conflicts?: {
    /** of the key */
    field: string;
    table_type: string;
    record_type: string;
    records: number;
    /** the first of them */
    record: number;
  }[];
  columns_added?: string[];
  columns_renamed?: string[][];
  tables_created?: string[];
  /** the exact SQL */
  statements?: string[];
  nul_characters_removed?: number;
  table_version?: number;
  new_version?: boolean;
}

/** Why an address was not added. */
export interface EmailRefusal {
  message: string | InvalidAddress;
}

/** An address that was not added. */
export interface EmailRefusalAnswer {
  error: EmailRefusal;
}

/** A problem that is over. */
export interface EndedProblem {
  kind: string;
  named: string;
  /** RFC 3339, UTC, microseconds */
  began_at: string;
  /** RFC 3339, UTC, microseconds */
  ended_at: string;
}

/** Entries of the log, by position. */
export interface EntryRange {
  first: number;
  last: number;
}

/** A token for one sign-in to the console. */
export interface EphemeralToken {
  /** shown this once; one use within an hour */
  ephemeral_token: string;
}

/** Why loading a table fails, and what that came from. */
export interface ErrorState {
  notification_data: Notification;
  exception_chain: Link[];
}

/** One thing that was done, or was refused. */
export interface Event {
  event_id: number;
  /** RFC 3339, UTC, microseconds */
  at: string;
  actor: Actor;
  /** a word such as create_source */
  action: string;
  target: Target;
  outcome: "begun" | "done" | "refused" | "failed";
  detail: Record<string, unknown>;
}

/** An examination, as far as it is. */
export interface Examination {
  kind: "doctor" | "counts";
  whole: boolean;
  /** failed: it has ended without a result */
  state: "going_on" | "done" | "failed";
  /** RFC 3339, UTC, microseconds */
  started_at: string;
  finished_at: string | null;
  /** what is looked at now; empty where nothing is */
  step: string;
  /** checks or tables that were looked at */
  done: number;
  /** checks in all; null for tables */
  total: number | null;
  /** of the log that were read */
  entries: number;
  /** the worst first, at most 500 */
  findings: Finding[];
  failure: string | null;
}

/** The last examination of each kind. */
export interface Examinations {
  examinations: Examination[];
}

/** A page of extractions; pushed sources have none. */
export interface Extractions {
  data: Record<string, unknown>[];
  page: number;
  total: 0;
  links: Links;
}

/** One result of a check. */
export interface Finding {
  /** such as disk, store, log, destination */
  subject: string;
  /** good: nothing to do; bad: records are refused, wait, or are at risk */
  level: "good" | "odd" | "bad";
  found: string;
  /** empty if all is well */
  meaning: string;
  /** empty if there is nothing to do */
  remedy: string;
}

/** What the doctor found. */
export interface Findings {
  /** none of the findings is bad */
  ok: boolean;
  findings: Finding[];
}

/** `client_id` is not the token's account. */
export interface Forbidden {
  status: "ERROR";
  error: "Forbidden";
  /** always the same */
  errors: {
    error: "Access token is not associated with this client.";
  };
}

/** How long records of the last hour waited until they were loaded. */
export interface Freshness {
  p50_seconds: number | null;
  p99_seconds: number | null;
}

/** How the server is. */
export interface Health {
  /** RFC 3339, UTC, microseconds */
  at: string;
  log: LogHealth;
  processes: ServerProcess[];
  /** of a cluster; empty where the store is a file */
  members: Member[];
  /** the member whose disk, commits and processes these are; null where the store is a file */
  machine: string | null;
  /** that no live loader has: what is for them waits */
  units_free: UnitGroup[];
  /** empty where the store is a file */
  logs: Log[];
}

/** A URL that is called after each load of a table into a destination. */
export interface Hook {
  id: number;
  /** the account */
  client_id: number;
  type: "post_load";
  version: 1;
  destination_id: number;
  config: HookConfig;
  /** ISO 8601, UTC, whole seconds */
  created_at: string;
  /** ISO 8601, UTC, whole seconds */
  modified_at: string;
  /** set: it gets no deliveries */
  disabled_at: string | null;
}

/** What a hook calls. */
export interface HookConfig {
  url: string;
}

/** A request about hooks that cannot be done. */
export interface HookError {
  data: Message;
  error: string;
}

/** There are as many hooks as there can be. */
export interface HookLimit {
  error: Message;
}

/** A hook, and how its deliveries fare. */
export interface HookState {
  id: number;
  type: "post_load";
  version: 1;
  destination_id: number;
  config: HookConfig;
  enabled: boolean;
  /** it has a secret, which is never shown */
  signed: boolean;
  /** ISO 8601, UTC, whole seconds */
  created_at: string;
  /** ISO 8601, UTC, whole seconds */
  modified_at: string;
  /** set: loads make no deliveries, and none is sent */
  disabled_at: string | null;
  /** set: loads make deliveries, and none is sent */
  paused_at: string | null;
  /** deliveries that wait */
  waiting: number;
  oldest_waiting_at: string | null;
  /** since the hook was made, as are the others */
  delivered: number;
  /** deliveries that were given up */
  failed: number;
  tries: number;
}

/** Hooks, by id. */
export interface HookStates {
  hooks: HookState[];
}

/** How a delivery that was sent on trial ended; nothing of it is kept. */
export interface HookTrial {
  hook_id: number;
  /** HTTP status; null without an answer */
  status: number | null;
  /** its first 1024 bytes, as text */
  answer: string | null;
  /** why there is no answer */
  error: string | null;
  took_ms: number;
  /** what was sent, with `test: true` */
  body: Record<string, unknown>;
}

/** There is no such hook. */
export interface HookUnknown {
  error: "NotFound";
}

/** Hooks by their type. */
export interface Hooks {
  post_load: Hook[];
}

/** Records of one table, accepted in one hour. */
export interface Hour {
  accepted: number;
  loaded: number;
  /** lost against a higher sequence */
  superseded: number;
  /** are in _sdc_rejected, or were damaged */
  rejected: number;
  waiting: number;
  source_id: number;
  /** as sent */
  table: string;
  /** its beginning, RFC 3339, UTC */
  hour: string;
}

/** What an address has to be. */
export interface InvalidAddress {
  email_address: string;
}

/** The value that was sent and is no time; empty where none was sent. */
export interface InvalidDisabled {
  disabled_at: string;
}

/** Streams that do not exist, or what of them cannot be changed. */
export interface InvalidFields {
  invalid_fields: string;
}

/** A user with the secret of the invitation, which is shown this once. */
export interface InvitedUser {
  id: number;
  name: string;
  email: string;
  role: "viewer" | "operator" | "admin";
  /** expired: the invitation was not accepted in time */
  state: "invited" | "expired" | "active" | "disabled";
  /** ISO 8601, UTC, whole seconds */
  created_at: string;
  last_seen_at: string | null;
  disabled_at: string | null;
  /** null for no open invitation */
  invited_until: string | null;
  /** lead a browser to `/console/invite?token=...` with it */
  invite_token: string;
}

/** No job was started or stopped. */
export interface JobError {
  error: JobMessage;
}

/** Why there is no job. */
export interface JobMessage {
  type: "invalid_source" | "generic";
  message: string;
}

/** What became of accepted records, as far back as requests are kept. */
export interface Ledger {
  /** of the tables of this answer */
  total: Sums;
  hours: Hour[];
  /** `after` of the next 1000 tables; null for the last ones */
  next: string | null;
}

/** A field that records were loaded without. */
export interface LeftOutField {
  /** that it would be in */
  table: string;
  field: string;
  /** as in _sdc_rejected */
  reason: string;
  records: number;
}

export interface Link {
  class: string;
  message: string;
  chain_sequence_num: number;
  action: string;
}

/** Neighbouring pages, relative to the host. */
export interface Links {
  next?: string;
  previous?: string;
}

/** A table of a source; the numbers are since the store was made. */
export interface ListedTable {
  /** as sent */
  table: string;
  state: "idle" | "loading" | "waiting" | "failing" | "stopped";
  waiting_records: number;
  waiting_bytes: number;
  oldest_waiting_at: string | null;
  last_load_at: string | null;
  received: number;
  loaded: number;
  superseded: number;
  rejected: number;
  loads: number;
  failures: number;
  /** why the last try failed */
  error: string | null;
  error_since: string | null;
  /** what somebody should know of its last load */
  trouble: string | null;
  trouble_since: string | null;
  /** the table version */
  version: number | null;
  /** upsert or append */
  mode: string | null;
}

/** An active token; its value is not shown. */
export interface ListedToken {
  token_id: number;
  /** ISO 8601, UTC, whole seconds */
  created_at: string;
}

/** Records can be sent here. */
export interface Listening {
  status: "OK";
  message: "This webhook takes records by POST; nothing was stored";
}

/** The last load of one table. */
export interface Load {
  stitch_client_id: number;
  /** the source's `name` */
  source_name: string;
  /** the table's name as pushed */
  stream_name: string;
  /** null while in error */
  last_batch_loaded_at: string | null;
  error_state: ErrorState | null;
}

/** What a hook was told of a load. */
export interface LoadDelivery {
  hook_id: number;
  delivery_id: string;
  /** waiting, delivered or failed */
  state: string;
}

/** A load that was asked for. */
export interface LoadRequest {
  table: string;
  /** before the load */
  state: "idle" | "loading" | "waiting" | "failing" | "stopped";
  /** with 0 there is nothing to load */
  waiting_records: number;
  /** RFC 3339, UTC, microseconds */
  requested_at: string;
}

/** What keeps accepted data from becoming rows, in numbers. */
export interface LoadingCounts {
  /** the loader cannot use them now */
  destinations_down: number;
  /** no check of them has succeeded yet */
  destinations_unchecked: number;
  /** theirs was deleted */
  sources_without_destination: number;
  /** they are not tried again until somebody acts */
  tables_stopped: number;
  /** others whose last load rejected all records, or some for their key */
  tables_rejecting: number;
}

/** A page of loads. */
export interface Loads {
  data: Load[];
  page: number;
  /** rows of all pages */
  total: number;
  links: Links;
}

/** A log of the installation; what waits in it is null while it cannot be asked. */
export interface Log {
  number: number;
  kind: string;
  /** `draining`: it takes no new sources */
  state: "open" | "draining" | "closed";
  /** its database, or its file */
  place: string;
  sources: number;
  tables_waiting: number | null;
  entries_waiting: number | null;
  records_waiting: number | null;
  /** not compressed */
  bytes_waiting: number | null;
  oldest_waiting_at: string | null;
  /** that it uses */
  bytes: number | null;
  /** why it cannot be asked */
  trouble: string | null;
  /** the setting log_durability; null where nobody looked lately */
  durability: string | null;
  /** synchronous_standby_names of its server; empty where they do not wait */
  commits_wait_for: string | null;
  /** of those; null where the server does not show them */
  standbys_connected: number | null;
}

/** The log and its disk. */
export interface LogHealth {
  bytes: number | null;
  disk_free_bytes: number | null;
  /** the setting log_bytes; null for none */
  log_bytes_max: number | null;
  disk_reserve_bytes: number;
  /** why requests are answered 503 */
  shortage: string | null;
  /** at the rate of the last day; null where it does not grow */
  full_in_seconds: number | null;
  append_failures: number;
  fsync: CommitTimes;
  /** when the oldest entry that is kept was accepted */
  oldest_kept_at: string | null;
  waiting: SourceWaiting[];
}

/** A token that was just made, with its value. */
export interface MadeToken {
  id: number;
  kind: "account" | "import" | "webhook";
  /** null for an account token */
  source_id: number | null;
  /** the last characters of its value */
  last_four: string;
  description: string;
  /** the only tables of a webhook token; none: that of its source */
  tables: string[];
  signature: Signature | null;
  /** neither revoked, expired nor disabled */
  active: boolean;
  /** ISO 8601, UTC, whole seconds */
  created_at: string;
  /** who made it, where that is known */
  created_by: string | null;
  first_used_at: string | null;
  /** written every few seconds */
  last_used_at: string | null;
  /** the address of a client */
  last_used_from: string | null;
  uses: number;
  /** refused from then on; null for never */
  expires_at: string | null;
  revoked_at: string | null;
  /** of an account token: refused until it is enabled */
  disabled_at: string | null;
  /** requests that had it after its end */
  refused: number;
  /** the last of them */
  refused_at: string | null;
  /** shown this once */
  access_token: string;
  /** of a webhook token: the path of its URL */
  path: string | null;
}

/** How a mail that was sent on trial ended. */
export interface MailTrial {
  /** of the custom e-mail */
  id: number;
  /** the mail server took it */
  sent: boolean;
  /** why it did not, in its words */
  error: string | null;
  took_ms: number;
}

/** The body cannot be parsed. */
export interface Malformed {
  status: "ERROR";
  message: string;
  /** what the parser found */
  error: string;
  input: null;
}

/** A process that shares the work with those of other machines. */
export interface Member {
  /** name of its server */
  member: string;
  process: string;
  /** ingest, loader, control, or several with commas */
  role: string;
  host: string;
  version: string;
  /** that a loader has; null for others */
  units: number | null;
  /** RFC 3339, UTC, microseconds */
  since: string;
  /** since it said last that it is there */
  beat_seconds: number;
  is_live: boolean;
  /** `draining`: about to stop, and given nothing more */
  state: "ready" | "draining" | "lost";
  /** where it answers; null where it does not */
  address: string | null;
  /**
   * requests that it answered, by class of status, since its data folder was made; null where it
   * answers none
   */
  answers: Record<string, number> | null;
  /** the units of a loader */
  unit_groups: UnitGroup[];
}

/** Whether requests are to be sent to a member of a cluster. */
export interface MemberReadiness {
  status: "ready" | "not ready";
  /** why they are not */
  reason: string | null;
  /** that the member has; the first one is meant where none is named */
  roles: ("ingest" | "control" | "loader")[];
}

/** What was wrong. */
export interface Message {
  message: string;
}

/** What a new hook calls. */
export interface NewHookConfig {
  /** https, without user and password */
  url: string;
  /** an older form */
  destination_id?: string;
}

/** A token that was just made. */
export interface NewToken {
  id: number;
  /** the secret that pushes carry */
  access_token: string;
  /** the source; absent where tokens are shown once */
  connection?: Source;
}

/** Nothing is there. */
export interface NoRoute {
  status: "NOT FOUND";
}

/** The source is paused or deleted. */
export interface NotActive {
  error: "Forbidden";
  /** always the same */
  errors: {
    error: "Connection is not active.";
  };
}

/** No valid token. */
export interface NotAuthenticated {
  status: "ERROR";
  error: "Not Authenticated.";
  errors: null;
}

/** No valid token. */
export interface NotAuthorized {
  message: "Not Authorized";
}

/** Nothing is there. */
export interface NotFound {
  message: "Not Found";
}

/** It was done, and there is nothing to say of it. */
export type Nothing = Record<string, never>;

/** Why loading a table fails. */
export interface Notification {
  message: string;
  exception_message: string;
  warehouse_error_code: number | null;
  error: string;
  new_column: string | null;
  status: string;
  warehouse_sql_state: string | null;
  action: string;
  warehouse_message: string;
  column: string | null;
}

/** Work that the server does for an account. */
export interface Operation {
  operation_id: number;
  kind: "resend" | "rebuild";
  state: "waiting" | "running" | "done" | "cancelled" | "failed";
  /** records that were meant */
  total: number;
  /** sent again, or read to build a table */
  done: number;
  /** that cannot be sent again */
  failed: number;
  /** why it waits or failed */
  note: string | null;
  /** the first 20 */
  errors: OperationError[];
  /** of a rebuild that is done; null otherwise */
  result: RebuildResult | null;
  created_at: string;
  started_at: string | null;
  finished_at: string | null;
}

/** A record that an operation could not deal with. */
export interface OperationError {
  reject_id: string;
  message: string;
}

/** An option with its value. */
export interface Option {
  name: string;
  value: string | number | boolean | null;
  /** where the value was set */
  origin: "default" | "source" | "table";
  default: string | number | boolean | null;
  /** that it can have, the default first */
  values: string[];
  /** what it decides */
  meaning: string;
}

/** How the tables of a source are loaded, or one of them. */
export interface Options {
  source_id: number;
  /** null for the tables of the source in general */
  table: string | null;
  options: Option[];
}

/** A rejected record before and after an edit, and what a load would do with it. */
export interface PreviewedRecord {
  reject_id: string;
  /** JSON text; null if the log has it no more */
  before: string | null;
  /** JSON text; null if the edit fails */
  after: string | null;
  /** `refused`: it cannot be sent again as it is */
  outcome: "loads" | "rejected" | "refused";
  /** why it would not be loaded */
  reason: string | null;
  /** of the cause, if it would be rejected */
  code: string | null;
  field: string | null;
}

/** Something that keeps records from being loaded, or soon may. */
export interface Problem {
  /** the same as long as it lasts */
  problem_id: string;
  kind: string;
  /** critical: records are not loaded; delay: they are late */
  level: "critical" | "warning" | "delay";
  /** RFC 3339, UTC, microseconds */
  since: string;
  /** what is the matter; `named` follows it */
  found: string;
  /** what it is with */
  named: string;
  /** what the database said */
  said: string | null;
  /** what to do */
  remedy: string;
  source_id: number | null;
  /** as sent */
  table: string | null;
  destination_id: number | null;
  hook_id: number | null;
  token_id: number | null;
  /** until then nobody is told of it */
  snoozed_until: string | null;
}

/** The problems of an account, the worst first. */
export interface Problems {
  problems: Problem[];
  /** of the last seven days */
  ended: EndedProblem[];
  /** RFC 3339, UTC, microseconds */
  looked_at: string;
}

/** The values of a source's properties. */
export interface Properties {
  /**
   * active Import API access tokens by their id, the oldest first; absent where tokens are shown
   * once
   */
  token?: Record<string, string>;
}

export type Push = (Upsert | SwitchView)[];

/**
 * Rows of a destination.
 *
 * A value is as exact as in the database. Numbers have all their digits, also those that a reader
 * takes for a 64-bit float; NaN and infinity are texts. A time with a zone is in UTC and ends with
 * Z, one without a zone ends without. Bytes are base64. JSON is JSON. All else is a text, as the
 * database writes it.
 */
export interface QuestionAnswer {
  /** of the query */
  id: string;
  columns: QuestionColumn[];
  /** for each row a list of values, one for each column */
  rows: unknown[][];
  row_count: number;
  /** there are more rows: than the limit, or than 64 MB hold */
  truncated: boolean;
  /** that it took in the database */
  milliseconds: number;
}

/** A column of an answer. */
export interface QuestionColumn {
  name: string;
  /** as the database calls it */
  type: string;
}

/** Why there is no answer. */
export interface QuestionFault {
  message: string;
  /** null where the database does not say */
  position?: StatementPosition | null;
}

/** A question without an answer. */
export interface QuestionRefusal {
  /**
   * InvalidBody, InvalidStatement, StatementOverdue, StatementTooLarge, StatementStopped,
   * AccessDenied, InvalidId, NotLoaded or TryLater
   */
  error: string;
  data: QuestionFault;
}

/** Whether data is accepted, and what keeps accepted data from becoming rows. */
export interface Readiness {
  status: "ready" | "not ready";
  /** why the log takes no data */
  reason: string | null;
  /** numbers of the whole server; null where they cannot be read now */
  loading: LoadingCounts | null;
  /** those that are not loaded into now; with a token only */
  destinations?: WaitingDestination[];
  /** those that somebody should look at, at most 100; with a token only */
  tables?: StoppedTable[];
  tables_not_shown?: number;
}

/** What a rebuild of a table found. */
export interface RebuildResult {
  dry_run: boolean;
  entries: number;
  records: number;
  tables: ComparedRelation[];
  differs: boolean;
  /** why rows may be missing in what was built */
  doubts: string[];
  /** the table now holds the rebuilt rows */
  swapped: boolean;
  /** the schema where what was built stays */
  built_in: string | null;
}

/** What became of an accepted request. */
export interface Receipt {
  /** the receipt */
  id: string;
  /**
   * `rejected`: no record became a row; `stopped`: all that is not loaded waits for somebody to
   * act
   */
  status: "waiting" | "loaded" | "rejected" | "stopped";
  /** accepted */
  records: number;
  tables: ReceiptTable[];
  /** only 1,000 are shown */
  tables_not_shown: number;
}

/** What became of the records of one table. */
export interface ReceiptTable {
  /** as pushed */
  table_name: string;
  status: "waiting" | "loaded" | "rejected" | "stopped";
  /** accepted */
  records: number;
  accepted_at: string;
  /** records that came into the table */
  loaded: number;
  /** records that gave way to another of their key or version */
  superseded: number;
  rejected: {
    /** its place among the table's records, from 0 */
    record: number;
    reason: string;
    /** it was sent again: the receipt of that */
    resent?: string;
  }[];
  load: {
    id: string;
    finished_at: string;
  } | null;
  /** why loading fails now */
  error: string | null;
  /** fields that records are loaded without */
  left_out: {
    /** that it would be in */
    table: string;
    field: string;
    /** as in `_sdc_rejected` */
    reason: string;
    /** null where that is not known of this request alone */
    records: number | null;
  }[];
  /** fields with values that their column does not hold exactly */
  rounded: {
    table: string;
    field: string;
    /** null where that is not known of this request alone */
    values: number | null;
  }[];
  /**
   * what the load that rejected records has to say, as that their key has another type than the
   * table's
   */
  trouble: string | null;
}

/** The sums of loads of the last 24 hours, of the newest 10,000 at most. */
export interface RecentLoads {
  /** the time from which on they are complete */
  since: string;
  loads: number;
  /** tries that failed */
  failures: number;
  received: number;
  loaded: number;
  superseded: number;
  rejected: number;
  /** microseconds; null where none is known */
  waited_max_us: number | null;
  /** microseconds; null where none is known */
  waited_p50_us: number | null;
}

/** The log does not keep the record any more. */
export interface RecordGone {
  error: string;
  data: RecordGoneData;
}

/** What is known of a record that the log does not keep any more. */
export interface RecordGoneData {
  message: string;
  reject: Reject;
}

/** The refusals that have endpoint, status, reason and token in common. */
export interface RefusalGroup {
  endpoint: string;
  status: number;
  reason: string;
  source_id: number | null;
  token_id: number | null;
  /** the request had no token that the server knows, or ever knew */
  is_stranger: boolean;
  /** RFC 3339, UTC, microseconds */
  first_at: string;
  /** RFC 3339, UTC, microseconds */
  last_at: string;
  /** since the group was first seen */
  total: number;
  /** by minute, the present one last */
  minutes: number[];
  latest_request_id: string | null;
  latest_answer: string | null;
}

/** Refused requests, newest first, and all of them counted by cause. */
export interface Refusals {
  refusals: RefusedRequest[];
  groups: RefusalGroup[];
  /** `before` of the next page; null on the last */
  next: string | null;
}

/** One request that was refused. */
export interface RefusedRequest {
  /** the number of a worker, and one of its own */
  request_id: string;
  /** RFC 3339, UTC, microseconds */
  at: string;
  /** a name such as push, as in /metrics */
  endpoint: string;
  status: number;
  /** the answer's sentence without names and numbers */
  reason: string;
  source_id: number | null;
  token_id: number | null;
  /** 8 hexadecimal digits of the SHA-256 of the token that was sent */
  token_fingerprint: string | null;
  /** the request had no token that the server knows, or ever knew */
  is_stranger: boolean;
  /** of the client; null where it is not known */
  address: string | null;
  /** of the body, as the request declared them */
  bytes: number;
  /** the first 500 bytes of the answer's body */
  answer: string;
}

/** A record that was accepted and could not be loaded. */
export interface Reject {
  reject_id: string;
  cause_id: number;
  source_id: number;
  /** as sent */
  table: string;
  /** of the cause, such as integer_out_of_range */
  code: string;
  /** to blame, flattened, with the arrays it is in; null where it is none alone */
  field: string | null;
  /** as in _sdc_rejected */
  reason: string;
  /** RFC 3339, UTC, microseconds; null if unknown */
  rejected_at: string | null;
  /** receipt of the request that it was sent again with */
  resent: string | null;
  /** whether the log has the record; null where that was not looked at */
  kept: boolean | null;
  /** RFC 3339, UTC, microseconds; null if unknown */
  accepted_at: string | null;
  sequence: number | null;
  /** its key fields; null for more than 1 KiB */
  key: Record<string, unknown> | null;
}

/** Why records of a table were rejected. */
export interface RejectCause {
  cause_id: number;
  source_id: number;
  /** as sent */
  table: string;
  /** of the cause, such as integer_out_of_range */
  code: string;
  /** to blame, flattened, with the arrays it is in; null where it is none alone */
  field: string | null;
  /** known ones */
  records: number;
  /** not sent again */
  open: number;
  /** RFC 3339, UTC, microseconds; null if unknown */
  first_at: string | null;
  /** RFC 3339, UTC, microseconds; null if unknown */
  newest_at: string | null;
  example: RejectExample;
}

/** Causes, that with the newest record first. */
export interface RejectCauses {
  causes: RejectCause[];
  /** `before` of the next page; null on the last */
  next: string | null;
}

/** The newest record of a cause. */
export interface RejectExample {
  reject_id: string;
  /** as in _sdc_rejected, cut at 500 characters */
  reason: string;
}

/** A rejected record whole. */
export interface RejectedRecord {
  reject_id: string;
  cause_id: number;
  source_id: number;
  /** as sent */
  table: string;
  /** of the cause, such as integer_out_of_range */
  code: string;
  /** to blame, flattened, with the arrays it is in; null where it is none alone */
  field: string | null;
  /** as in _sdc_rejected */
  reason: string;
  /** RFC 3339, UTC, microseconds; null if unknown */
  rejected_at: string | null;
  /** receipt of the request that it was sent again with */
  resent: string | null;
  /** whether the log has the record; null where that was not looked at */
  kept: boolean | null;
  /** RFC 3339, UTC, microseconds; null if unknown */
  accepted_at: string | null;
  sequence: number | null;
  /** its key fields; null for more than 1 KiB */
  key: Record<string, unknown> | null;
  key_names: string[];
  table_version: number;
  /** the JSON text of the record, as sent */
  record: string;
}

/** Rejected records, newest first. */
export interface Rejects {
  rejects: Reject[];
  /** `before` of the next page, also of a page that is not full; or null */
  next: string | null;
}

/** One load of one table, or a try that failed. */
export interface Report {
  load_id: string;
  source_id: number;
  /** as sent */
  table: string;
  /** RFC 3339, UTC, microseconds */
  started_at: string;
  /** RFC 3339, UTC, microseconds */
  finished_at: string;
  /** 1, or how many loads of an hour it sums, after a day */
  loads: number;
  rows_received: number;
  rows_loaded: number;
  /** lost against a higher sequence */
  rows_discarded: number;
  /** are in _sdc_rejected */
  rows_rejected: number;
  /** microseconds that the record waited that waited longest, until loaded */
  waited_max_us: number | null;
  /** the median of that; both null for a try that failed */
  waited_p50_us: number | null;
  /** destination table -> rows written */
  tables: Record<string, number>;
  /** their names, without repetition */
  fields_left_out: string[];
  /** fields that records were loaded without */
  left_out: LeftOutField[];
  /** fields with values that were rounded */
  rounded: RoundedField[];
  columns_added: string[];
  /** pairs of old and new name */
  columns_renamed: string[][];
  nul_characters_removed: number;
  table_version: number;
  /** what somebody should know, as that all records were rejected */
  trouble: string | null;
  /** why the try failed; its records wait */
  error: string | null;
}

/** How far a source is configured. */
export interface ReportCard {
  type: string;
  /** position in `steps`, the first is 1 */
  current_step: number;
  current_step_type: "form" | "fully_configured";
  steps: Step[];
}

/** Load reports, newest first. */
export interface Reports {
  loads: Report[];
  /** `before` of the next page; null on the last */
  next: string | null;
}

/** One request that was accepted or refused. */
export interface RequestEntry {
  /** RFC 3339, UTC, microseconds */
  at: string;
  /** 201 stands for every success */
  status: number;
  state: "waiting" | "loaded" | "rejected" | "stopped" | "refused";
  /** of an accepted one */
  receipt: string | null;
  source_id: number | null;
  /** the first 20, as sent */
  tables: string[];
  /** tables of the request, repeated ones too */
  entries: number;
  records: number;
  /** records that were loaded as rejected */
  rejected: number;
  /** of the records, or of a refused body */
  bytes: number;
  refusal: RefusedRequest | null;
}

/** Requests, newest first. */
export interface Requests {
  requests: RequestEntry[];
  /** `before` of the next page, which may also follow an empty one */
  next: string | null;
}

/** What a resend would do; nothing is sent. */
export interface ResendPreview {
  dry_run: true;
  /** open ones that are meant */
  records: number;
  /** of the first 20, newest first */
  preview: PreviewedRecord[];
}

/** A field with values that its column does not hold exactly. */
export interface RoundedField {
  table: string;
  field: string;
  /** of records that were not rejected */
  values: number;
}

/** What was wrong. */
export interface Said {
  message: string;
}

/** Something that a load changed of the schema of its table. */
export interface SchemaChange {
  /** a word such as column_added */
  kind: string;
  /** the same in words */
  text: string;
  /** destination table */
  relation: string | null;
  column: string | null;
  /** of the records */
  field: string | null;
  type: string | null;
  /** the first that brought it, position of its entry and index */
  record: string | null;
  detail: Record<string, unknown>;
}

/** All that one load changed of a table, or what befell it. */
export interface SchemaEvent {
  event_id: number;
  source_id: number;
  table: string;
  /** RFC 3339, UTC, microseconds */
  at: string;
  kind: "table_added" | "schema_changed" | "table_stopped" | "table_resumed" | "table_rebuilt";
  load_id: string | null;
  /** why the table stopped */
  reason: string | null;
  /** the same in words */
  text: string;
  changes: SchemaChange[];
}

/** The scheme and the secret by which the sender of a webhook signs. */
export interface SenderSecret {
  scheme: "github" | "stripe" | "segment" | "plain";
  secret: string;
  /** of a plain signature; X-Signature-256 by default */
  header?: string;
  encoding?: "hex" | "base64";
}

/** How many deliveries are sent again. */
export interface SentAgain {
  deliveries: number;
}

/** A record as it was sent. */
export interface SentRecord {
  table: string;
  sequence: number;
  bytes: number;
  /** null where it is larger than 100 KB */
  record: Record<string, unknown> | unknown[] | null;
}

/** The first records of a request. */
export interface SentRecords {
  receipt: string;
  records: SentRecord[];
  /** records of the entries that were looked at */
  total: number;
  entries_not_shown: number;
}

/** Figures over time. */
export interface Series {
  source_id: number | null;
  step_seconds: 10 | 60 | 3600;
  /** when the first step begins */
  from_at: string;
  /** when the last step ends */
  until_at: string;
  /** name -> a value for each step; counts are those of the step */
  series: Record<string, (number | null)[]>;
}

/** Figures of the whole server. */
export interface ServerFigures {
  /** null where it is not known */
  log_bytes: number | null;
  /** null where it is not known */
  disk_free_bytes: number | null;
  /** by class of status; in a cluster those of all members together */
  requests_per_second: Record<string, number | null>;
}

/** A process of the server. */
export interface ServerProcess {
  name: string;
  pid: number;
  /** RFC 3339, UTC, microseconds */
  since: string;
  restarts: number;
  is_running: boolean;
  memory_bytes: number | null;
}

/** Everything at one look. */
export interface ServerStatus {
  /** RFC 3339, UTC, microseconds */
  at: string;
  version: string;
  totals: StatusTotals;
  rates: StatusRate[];
  oldest_waiting_at: string | null;
  oldest_waiting_seconds: number | null;
  freshness: Freshness;
  tables: StatusTables;
  /** beginning of the last step of the series */
  sampled_at: string | null;
  destinations: DestinationState[];
  /** null where it is not known yet */
  problems: number | null;
  /** null where the server has several accounts */
  server: ServerFigures | null;
}

/** A setting in force. */
export interface Setting {
  name: string;
  /** `set` for a secret; null for none */
  value: string | number | boolean | null;
  origin: "flag" | "environment" | "file" | "default";
  help: string;
}

/** The settings in force. */
export interface Settings {
  settings: Setting[];
}

/** The scheme by which the sender of a webhook signs; its secret is not shown. */
export interface Signature {
  scheme: string;
  /** of a plain signature */
  header: string | null;
  encoding: "hex" | "base64";
}

/** Something that may push records; its name is the schema they are loaded into. */
export interface Source {
  properties: Properties;
  /** any change, also of tokens */
  updated_at: string;
  /** pushed sources have none */
  schedule: null;
  /** pushed sources have none */
  check_job_name: null;
  /** the schema in the destination; never changes */
  name: string;
  type: string;
  deleted_at: string | null;
  system_paused_at: string | null;
  /** the account; `client_id` in pushes */
  stitch_client_id: number;
  /** set: pushes are refused */
  paused_at: string | null;
  id: number;
  /** a label; may change */
  display_name: string;
  /** ISO 8601, UTC, whole seconds */
  created_at: string;
  report_card: ReportCard;
}

/** Where a source is loaded. */
export interface SourceDestination {
  destination_id: number;
  type: string;
  name: string;
  /** records are loaded into it now */
  usable: boolean;
  trouble: string | null;
}

/** A source with the sums of its tables. */
export interface SourceSummary {
  source_id: number;
  name: string;
  display_name: string;
  /** that it fills */
  schema: string;
  state: "active" | "paused" | "deleted";
  tables: number;
  states: TableStates;
  waiting_records: number;
  waiting_bytes: number;
  oldest_waiting_at: string | null;
  last_load_at: string | null;
  /** of its active tokens */
  last_used_at: string | null;
  active_tokens: number;
  totals: TableTotals;
  recent: RecentLoads;
  destination: SourceDestination | null;
}

/** The report card of a type, before a source exists. */
export interface SourceType {
  type: string;
  /** position in `steps`, the first is 1 */
  current_step: number;
  current_step_type: "form" | "fully_configured";
  steps: Step[];
  details: Details;
  upgrade_available: null;
}

/** What waits of a source. */
export interface SourceWaiting {
  source_id: number;
  name: string | null;
  /** not compressed */
  waiting_bytes: number;
  waiting_records: number;
}

/** The place in a statement where it is wrong. */
export interface StatementPosition {
  line: number;
  /** in characters */
  column: number;
  /** from the beginning of the statement */
  character: number;
}

/** Whether data is accepted now. */
export interface Status {
  name: "pipeline.gate";
  version: string;
  revision: string;
  status: "OK" | "ERROR";
  /** what is wrong, also where data is accepted and waits */
  reason: string | null;
}

/** Records a second, over the last seconds. */
export interface StatusRate {
  seconds: number;
  /** null where it is not known */
  accepted: number | null;
  /** null where it is not known */
  loaded: number | null;
  /** null where it is not known */
  superseded: number | null;
  /** null where it is not known */
  rejected: number | null;
}

/** Numbers of tables. */
export interface StatusTables {
  /** that were loaded, or tried */
  known: number;
  /** the last try failed */
  failing: number;
  /** that wait for somebody to act */
  stopped: number;
}

/** Records since the store was made. */
export interface StatusTotals {
  accepted: number;
  loaded: number;
  superseded: number;
  rejected: number;
  waiting: number;
}

/** A step of a source's configuration. */
export interface Step {
  type: "form" | "fully_configured";
  properties: Descriptor[];
}

/** A query that was stopped. */
export interface StoppedQuestion {
  id: string;
  stopped: boolean;
}

/** A table that somebody should look at. */
export interface StoppedTable {
  source: string;
  table: string;
  state: "stopped" | "rejecting";
  since: string | null;
  reason: string | null;
}

/** A table that a source pushed. */
export interface Stream {
  selected: true;
  stream_id: number;
  /** the table's name as pushed */
  tap_stream_id: string;
  /** the same */
  stream_name: string;
  /** `selected`, and the key in `table-key-properties` */
  metadata: Record<string, unknown>;
}

/** What is to be selected of one stream. */
export interface StreamMetadata {
  breadcrumb: string[];
  metadata: Record<string, unknown>;
}

/** Metadata of a table, or of one of its fields. */
export interface StreamPart {
  /** empty for the table */
  breadcrumb: string[];
  metadata: Record<string, unknown>;
}

export interface StreamSchema {
  /** a JSON schema, as text */
  schema: string;
  metadata: StreamPart[];
  /** nothing can be set */
  "non-discoverable-metadata-keys": string[];
}

/** One stream. */
export interface StreamSelection {
  tap_stream_id: string;
  metadata: StreamMetadata[];
}

/** accepted = loaded + superseded + rejected + waiting. */
export interface Sums {
  accepted: number;
  loaded: number;
  /** lost against a higher sequence */
  superseded: number;
  /** are in _sdc_rejected, or were damaged */
  rejected: number;
  waiting: number;
}

/** A version of a table is complete: rows of older versions go. */
export interface SwitchView {
  /** the account the token belongs to; the same in all records */
  client_id: number | string;
  /** destination table; made with its first record */
  table_name: string;
  /** orders the versions of one record: the highest wins */
  sequence: number;
  action: "switch_view";
  /** version of the table; null and 0 mean none */
  table_version: number;
  key_names?: unknown;
  data?: unknown;
  /** ignored */
  namespace?: string | null;
}

/** A column, as the last load left it. */
export interface TableColumn {
  column: string;
  /** of the records; null for one of treadle */
  field: string | null;
  type: string;
  nullable: boolean;
  /** the load that made it; null where that is not known */
  first_seen_at: string | null;
}

/** Events of a table, newest first. */
export interface TableHistory {
  events: SchemaEvent[];
  /** `before` of the next page; null on the last */
  next: string | null;
}

/** A field that loads left out. */
export interface TableLeftOut {
  relation: string;
  field: string;
  reason: string;
  /** RFC 3339, UTC, microseconds */
  since: string;
  /** of the first such load */
  load_id: string;
}

/** Tables of a source. */
export interface TablePage {
  tables: ListedTable[];
  /** `after` of the next page; null on the last */
  next: string | null;
  /** tables that fit the question, on all pages */
  total: number;
  /** of those that fit `q` */
  states: TableStates;
}

/** The table in the destination, or a subtable. */
export interface TableRelation {
  /** its name in the destination */
  relation: string;
  /** the relation that it is inside of */
  parent: string | null;
  /** fields that lead to its array */
  path: string[];
  /** written by the loads of `recent` */
  recent_rows: number;
  /** those of a field in a row */
  columns: TableColumn[];
}

/** The schema that the records of a table are to fit. */
export interface TableSchema {
  source_id: number;
  /** as sent */
  table: string;
  /** JSON schema, draft 4 */
  schema: Record<string, unknown>;
  /** RFC 3339, UTC, microseconds */
  updated_at: string;
}

/** How many tables are in each state. */
export interface TableStates {
  /** nothing waits */
  idle: number;
  /** records are loaded within seconds */
  loading: number;
  /** no destination can be used now */
  waiting: number;
  /** the last try failed and is repeated */
  failing: number;
  /** not tried again until somebody acts */
  stopped: number;
}

/** Records and loads since the store was made. */
export interface TableTotals {
  received: number;
  rejected: number;
  /** entries of the log that were left out */
  damaged: number;
  loaded: number;
  superseded: number;
  loads: number;
  failures: number;
}

/** The thing that the action changes. */
export interface Target {
  kind: string;
  /** null where there is none, or it is not known */
  id: string | null;
  name: string | null;
}

/** A token of any kind, without its value. */
export interface Token {
  id: number;
  kind: "account" | "import" | "webhook";
  /** null for an account token */
  source_id: number | null;
  /** the last characters of its value */
  last_four: string;
  description: string;
  /** the only tables of a webhook token; none: that of its source */
  tables: string[];
  signature: Signature | null;
  /** neither revoked, expired nor disabled */
  active: boolean;
  /** ISO 8601, UTC, whole seconds */
  created_at: string;
  /** who made it, where that is known */
  created_by: string | null;
  first_used_at: string | null;
  /** written every few seconds */
  last_used_at: string | null;
  /** the address of a client */
  last_used_from: string | null;
  uses: number;
  /** refused from then on; null for never */
  expires_at: string | null;
  revoked_at: string | null;
  /** of an account token: refused until it is enabled */
  disabled_at: string | null;
  /** requests that had it after its end */
  refused: number;
  /** the last of them */
  refused_at: string | null;
}

/** A token with its uses. */
export interface TokenWithUses {
  id: number;
  kind: "account" | "import" | "webhook";
  /** null for an account token */
  source_id: number | null;
  /** the last characters of its value */
  last_four: string;
  description: string;
  /** the only tables of a webhook token; none: that of its source */
  tables: string[];
  signature: Signature | null;
  /** neither revoked, expired nor disabled */
  active: boolean;
  /** ISO 8601, UTC, whole seconds */
  created_at: string;
  /** who made it, where that is known */
  created_by: string | null;
  first_used_at: string | null;
  /** written every few seconds */
  last_used_at: string | null;
  /** the address of a client */
  last_used_from: string | null;
  uses: number;
  /** refused from then on; null for never */
  expires_at: string | null;
  revoked_at: string | null;
  /** of an account token: refused until it is enabled */
  disabled_at: string | null;
  /** requests that had it after its end */
  refused: number;
  /** the last of them */
  refused_at: string | null;
  /** of the last 168 hours (UTC), the present one last; written every 5 s */
  hourly_uses: number[];
  verdict: Verdict;
}

/** Tokens, by id. */
export interface Tokens {
  tokens: TokenWithUses[];
}

/** The tables that a change of options touches. */
export interface TouchedTables {
  count: number;
  /** the first 100, by name */
  tables: string[];
}

/** Events, newest first. */
export interface Trail {
  events: Event[];
  /** `before` of the next page; null on the last */
  next: string | null;
}

/** What was wrong. */
export interface Trouble {
  status: "ERROR";
  message: string;
}

/** No valid account token. */
export interface Unauthorized {
  message: "Not Authorized";
}

/** Units of one log, or the one of a destination that one process at a time can open. */
export interface UnitGroup {
  /** number of the log; null for a destination */
  log: number | null;
  /** null for units of a log */
  destination_id: number | null;
  units: number;
  /** that there are */
  of: number;
  /** when the first of them was taken */
  since: string;
  /** RFC 3339, UTC, microseconds */
  last_taken_at: string;
}

/** A record that replaces the earlier one with its key. */
export interface Upsert {
  /** the account the token belongs to; the same in all records */
  client_id: number | string;
  /** destination table; made with its first record */
  table_name: string;
  /** orders the versions of one record: the highest wins */
  sequence: number;
  action: "upsert";
  /**
   * the table's key: fields of `data` that are there and not null, texts of at most 1,024
   * characters; none: every record is a new row
   */
  key_names: string[];
  /** the record: at most 10,000 values, nested ones counted */
  data: Record<string, unknown>;
  /** version of the table; null and 0 mean none */
  table_version?: number | null;
  /** ignored */
  namespace?: string | null;
}

/** Somebody who signs in to the console with an e-mail address and a password. */
export interface User {
  id: number;
  name: string;
  email: string;
  role: "viewer" | "operator" | "admin";
  /** expired: the invitation was not accepted in time */
  state: "invited" | "expired" | "active" | "disabled";
  /** ISO 8601, UTC, whole seconds */
  created_at: string;
  last_seen_at: string | null;
  disabled_at: string | null;
  /** null for no open invitation */
  invited_until: string | null;
}

/** The users of the account, by id. */
export interface Users {
  users: User[];
}

/** A push of this would be accepted. */
export interface Valid {
  status: "OK";
  message: "Batch is valid!";
}

/** Whether a token can be revoked without a refused request. */
export interface Verdict {
  verdict: "safe_to_revoke" | "in_use" | "only_token" | "never_used" | "ended";
  /** a sentence for people */
  text: string;
}

/** A destination that is not loaded into now. */
export interface WaitingDestination {
  id: number;
  type: string;
  name: string;
  state: "down" | "unchecked";
  since: string | null;
  reason: string | null;
}

/** The settings of the webhook of a source. */
export interface Webhook {
  /** that records go to */
  table: string;
  /** fields, and headers as `header:NAME`, that a record must have */
  key: string[];
  /** records that come with an import token replace earlier ones */
  upsert: boolean;
  /** import tokens of the source work in its webhook's URL */
  import_tokens: boolean;
  /** who sends; its event id is the key of the rows, or `key` where set */
  provider: "dropbox" | "github" | "meta" | "other" | "segment" | "sendgrid" | "slack" | "stripe" | "trello" | "twilio" | null;
}

/** All that is known of one load. */
export interface WholeReport {
  load_id: string;
  source_id: number;
  /** as sent */
  table: string;
  /** RFC 3339, UTC, microseconds */
  started_at: string;
  /** RFC 3339, UTC, microseconds */
  finished_at: string;
  /** 1, or how many loads of an hour it sums, after a day */
  loads: number;
  rows_received: number;
  rows_loaded: number;
  /** lost against a higher sequence */
  rows_discarded: number;
  /** are in _sdc_rejected */
  rows_rejected: number;
  /** microseconds that the record waited that waited longest, until loaded */
  waited_max_us: number | null;
  /** the median of that; both null for a try that failed */
  waited_p50_us: number | null;
  /** destination table -> rows written */
  tables: Record<string, number>;
  /** their names, without repetition */
  fields_left_out: string[];
  /** fields that records were loaded without */
  left_out: LeftOutField[];
  /** fields with values that were rounded */
  rounded: RoundedField[];
  columns_added: string[];
  /** pairs of old and new name */
  columns_renamed: string[][];
  nul_characters_removed: number;
  table_version: number;
  /** what somebody should know, as that all records were rejected */
  trouble: string | null;
  /** why the try failed; its records wait */
  error: string | null;
  /** the first and the last that it took */
  entries: EntryRange;
  /** microseconds */
  duration_us: number;
  schema_changes: SchemaChange[];
  /** it emptied the table for newer rows */
  new_version: boolean;
  /** to hooks, of which an import token sees none */
  deliveries: LoadDelivery[];
}

/** All that is known of a table without its destination. */
export interface WholeTable {
  /** as sent */
  table: string;
  state: "idle" | "loading" | "waiting" | "failing" | "stopped";
  waiting_records: number;
  waiting_bytes: number;
  oldest_waiting_at: string | null;
  last_load_at: string | null;
  received: number;
  loaded: number;
  superseded: number;
  rejected: number;
  loads: number;
  failures: number;
  /** why the last try failed */
  error: string | null;
  error_since: string | null;
  /** what somebody should know of its last load */
  trouble: string | null;
  trouble_since: string | null;
  /** the table version */
  version: number | null;
  /** upsert or append */
  mode: string | null;
  source_id: number;
  schema: string;
  rebuilt_at: string | null;
  recent: RecentLoads;
  /** fields; none for a generated key */
  key: string[];
  relations: TableRelation[];
  left_out: TableLeftOut[];
}

/** The operations of the control API that answer with JSON, by their names. */
export interface Operations {
  /** Start the doctor or the audit of counts; it goes on by itself, and is followed by `GET`. */
  begin_examination: {
    body: {
      /** the checks of `treadle doctor`, or `treadle audit --counts` */
      kind: "doctor" | "counts";
      /** the doctor reads every entry of the log; false if left out */
      whole?: boolean;
    };
    answer: Examinations;
  };
  /** Stop an operation; what it did stays done. One that has ended stays as it is. */
  cancel_operation: {
    path: {
      /** id of the operation */
      operation_id: number;
    };
    answer: Operation;
  };
  /** Give a token another description, or set the time from which it is refused. */
  change_access_token: {
    path: {
      /** id of the Import API access token */
      token_id: number;
    };
    body: {
      description?: string;
      /** null for never */
      expires_at?: string | null;
    };
    answer: Token;
  };
  /**
   * Disable or enable an account token, or give it another description.
   *
   * A disabled one is refused, and so are the sessions that came from it.
   */
  change_account_token: {
    path: {
      /** id of the Import API access token */
      token_id: number;
    };
    body: {
      disabled?: boolean;
      description?: string;
    };
    answer: Token;
  };
  /**
   * Pause or enable a hook, give it another URL, or a secret that its deliveries are signed with.
   *
   * While a hook is paused, loads go on making deliveries, which are sent after the pause.
   */
  change_hook: {
    path: {
      /** id of the hook */
      hook_id: number;
    };
    body: {
      enabled?: boolean;
      /** deliveries wait for its end */
      paused?: boolean;
      url?: string;
      /** signs deliveries; null for no signature */
      secret?: string | null;
    };
    answer: HookState;
  };
  /** Set options; those that are not named stay. Rows that are loaded already stay, too. */
  change_source_options: {
    path: {
      /** id of the source */
      source_id: number;
    };
    query?: {
      /** of this table, as sent; without it of the source's tables */
      table?: string | null;
      /** true to change nothing, and see which tables would be touched */
      dry_run?: boolean;
    };
    body: {
      /** name -> value; null takes the option back */
      options: Record<string, string | number | boolean | null>;
    };
    answer: ChangedOptions;
  };
  /** Give a user another role, or disable or enable it. Its sessions end within a second. */
  change_user: {
    path: {
      /** id of the user */
      user_id: number;
    };
    body: {
      role?: "viewer" | "operator" | "admin";
      disabled?: boolean;
    };
    answer: User;
  };
  /** Change what the webhook of a source does; what is left out stays. */
  change_webhook: {
    path: {
      /** id of the source */
      source_id: number;
    };
    body: {
      table?: string;
      key?: string[];
      upsert?: boolean;
      import_tokens?: boolean;
      provider?: "dropbox" | "github" | "meta" | "other" | "segment" | "sendgrid" | "slack" | "stripe" | "trello" | "twilio" | null;
    };
    answer: Webhook;
  };
  /**
   * Make a token of any kind; its value is shown this once.
   *
   * An account has at most 10 active account tokens, a source at most 10 webhook tokens and 2
   * import
   * tokens.
   */
  create_access_token: {
    body: {
      kind: "account" | "import" | "webhook";
      /** of import and webhook tokens */
      source_id?: number | null;
      description?: string;
      expires_at?: string | null;
      /** the only tables of a webhook token; none: that of its source */
      tables?: string[];
      signature?: SenderSecret | null;
    };
    answer: MadeToken;
  };
  /** Make an account token; its value is shown this once. There are 10 with disabled ones. */
  create_account_token: {
    body: {
      description?: string;
      /** null for never */
      expires_at?: string | null;
    };
    answer: MadeToken;
  };
  /**
   * Add an address; one that is there already is answered as it is.
   *
   * An account has at most 10 of them, disabled ones included.
   */
  create_custom_email: {
    body: {
      /** with one @ and a dot behind it */
      email_address: string;
    };
    answer: CustomEmail;
  };
  /**
   * Create a destination. Sources without one load into it, unless the body says otherwise.
   *
   * The first one is the default of the account, into which sources load that name no other.
   */
  create_destination: {
    body: {
      /** one of the destination types */
      type: string;
      /** as the card of the type says */
      properties: Record<string, unknown>;
      name?: string | null;
      description?: string | null;
      /** true: no source loads into it by itself */
      ignore_unmapped_sources?: boolean;
    };
    answer: Destination;
  };
  /**
   * Make a token for one sign-in to the console, within an hour.
   *
   * Lead a browser to `/console/login?ephemeral_token=...`. Its session lasts 12 hours, has the
   * role
   * operator, and ends with the account token.
   */
  create_ephemeral_token: {
    answer: EphemeralToken;
  };
  /** Create a hook: its URL is called after each load of a table. An account has 10 at most. */
  create_hook: {
    body: {
      type: "post_load";
      /** after whose loads; the account's only one */
      destination_id?: number | null;
      config: NewHookConfig;
    };
    answer: Hook;
  };
  /** Create a source; its name, the schema in the destination, comes from its display name. */
  create_source: {
    body: {
      type: "import_api";
      /** a label, gives the name */
      display_name: string;
      /** nothing can be set */
      properties?: Record<string, string>;
      /** where to load to; the account's default */
      destination_id?: number | null;
      /** in place of the derived one */
      name?: string;
    };
    answer: Source;
  };
  /**
   * Generate a token. A source has two at most, so that one can be replaced without a gap.
   *
   * A token that was made with the source and never used gives way to a third one.
   */
  create_token: {
    path: {
      /** id of the source */
      source_id: number;
    };
    answer: NewToken;
  };
  /**
   * Invite somebody. The first user of an account is an admin.
   *
   * The answer has the secret of the invitation this once. It can be accepted within a week, at
   * `/console/invite?token=...`, where the user sets a password.
   */
  create_user: {
    body: {
      name: string;
      email: string;
      role: "viewer" | "operator" | "admin";
    };
    answer: InvitedUser;
  };
  /** Delete an account token: it is refused from now on, for good. */
  delete_account_token: {
    path: {
      /** id of the Import API access token */
      token_id: number;
    };
    answer: Token;
  };
  /** Remove an address; the answer is the number of removed ones. */
  delete_custom_email: {
    path: {
      /** id of the custom e-mail */
      email_id: number;
    };
    answer: 1[];
  };
  /** Delete a destination. Its records wait for another one; data in the database stays. */
  delete_destination: {
    path: {
      /** id of the destination */
      destination_id: number;
    };
    answer: Nothing;
  };
  /** Delete a hook with its deliveries. */
  delete_hook: {
    path: {
      /** id of the hook */
      hook_id: number;
    };
    answer: null;
  };
  /** Delete a source: it refuses pushes and stays readable; loaded data stays. */
  delete_source: {
    path: {
      /** id of the source */
      source_id: number;
    };
    answer: Source;
  };
  /** Delete a user, and end its sessions within a second. The trail keeps what it did. */
  delete_user: {
    path: {
      /** id of the user */
      user_id: number;
    };
    answer: User;
  };
  /** Enable or disable a hook. A disabled one gets nothing; what waited stays and waits. */
  enable_hook: {
    path: {
      /** id of the hook */
      hook_id: number;
    };
    body: {
      enable: boolean;
    };
    answer: Hook;
  };
  /**
   * Tell what became of an accepted request, table by table. Its source's tokens and its account's
   * tokens may ask.
   */
  follow_receipt: {
    path: {
      /** what `Treadle-Receipt` said */
      id: string;
    };
    query?: {
      /** seconds to wait until nothing is waiting any more; more than 60 count as 60 */
      wait?: number;
    };
    answer: Receipt;
  };
  /** One destination, without credentials. */
  get_destination: {
    path: {
      /** id of the destination */
      destination_id: number;
    };
    answer: Destination;
  };
  /** What a destination of a type needs. */
  get_destination_type: {
    path: {
      destination_type: string;
    };
    answer: DestinationType;
  };
  /** The last run of the doctor and of the audit of counts, and how far each is. */
  get_examinations: {
    answer: Examinations;
  };
  /**
   * The log and its disk, the processes of the server, and the members and logs of a cluster.
   *
   * Disk, commits and processes are of the machine that answers.
   */
  get_health: {
    answer: Health;
  };
  /** One hook with the state of its deliveries. */
  get_hook_state: {
    path: {
      /** id of the hook */
      hook_id: number;
    };
    answer: HookState;
  };
  /** The last connection check of a destination, which may be under way. */
  get_last_destination_check: {
    path: {
      /** id of the destination */
      destination_id: number;
    };
    answer: ConnectionCheck;
  };
  /**
   * One load with all that is known of it.
   *
   * With an Import API access token instead of an account token: of the loads of its source.
   */
  get_load_report: {
    path: {
      /** id of the load */
      load_id: string;
    };
    answer: WholeReport;
  };
  /** How far an operation is: `done` + `failed` of `total`. */
  get_operation: {
    path: {
      /** id of the operation */
      operation_id: number;
    };
    answer: Operation;
  };
  /**
   * What somebody has to act on, the worst first; each ends by itself when its cause does.
   *
   * They are looked for at most every two seconds.
   */
  get_problems: {
    answer: Problems;
  };
  /**
   * The requests that were refused, newest first, and all of them counted by cause.
   *
   * They are those with a token of the account, also with one that has ended. Where the server has
   * one account, those of strangers are among them. Each worker keeps the last 1,000. In a cluster
   * each machine has those that it refused, and the one that answers tells its own.
   */
  get_refusals: {
    query?: {
      /** only of the source with this id */
      source?: number;
      /** only of the token with this id */
      token?: number;
      /** only of this endpoint, such as push */
      endpoint?: string | null;
      /** only with this status */
      status?: number;
      /** only from this address of a client */
      from?: string | null;
      /** only those before `next` of an answer */
      before?: string | null;
    };
    answer: Refusals;
  };
  /** One rejected record whole, while the log keeps it (`retention_days`). */
  get_rejected_record: {
    path: {
      /** id of the rejected record, such as 1042.0 */
      reject_id: string;
    };
    answer: RejectedRecord;
  };
  /** The first 20 records of an accepted request, as they were sent. */
  get_request_records: {
    path: {
      /** receipt of the request */
      receipt: string;
    };
    answer: SentRecords;
  };
  /**
   * The latest requests, accepted and refused together, newest first.
   *
   * Token and address are kept of refused requests only, and tables of accepted ones: a filter by
   * one of them leaves out the others. An answer looks at a bounded part of the log, and `next`
   * goes on from there.
   */
  get_requests: {
    query?: {
      /** only of the source with this id */
      source?: number;
      /** only of tables of this name, as sent */
      table?: string | null;
      /** only of the token with this id */
      token?: number;
      /** only with this status; 201 for accepted ones */
      status?: number;
      /** only in this state */
      state?: "waiting" | "loaded" | "rejected" | "stopped" | "refused";
      /** only from this address of a client */
      from?: string | null;
      /** only since this time, RFC 3339 */
      since?: string | null;
      /** only those before `next` of an answer */
      before?: string | null;
    };
    answer: Requests;
  };
  /**
   * Figures over time: of one source, or of all together.
   *
   * Figures of sources are within 0.05 percent. Of a server with more than 100 busy sources, the
   * busiest ones are kept.
   */
  get_series: {
    query?: {
      /** names of figures with commas between them; all by default */
      name?: string | null;
      /** only of the source with this id */
      source?: number;
      /** when the first step begins; by default the oldest one */
      from?: string | null;
      /** length of a step: 10 seconds for an hour, 60 for a day, 3600 for 90 days */
      step?: 10 | 60 | 3600;
    };
    answer: Series;
  };
  /** The settings in force and where they come from, without secrets. */
  get_settings: {
    answer: Settings;
  };
  /** One source, also when it is paused or deleted. */
  get_source: {
    path: {
      /** id of the source */
      source_id: number;
    };
    answer: Source;
  };
  /** Every option with its value, where that was set, and what it decides. */
  get_source_options: {
    path: {
      /** id of the source */
      source_id: number;
    };
    query?: {
      /** of this table, as sent; without it of the source's tables */
      table?: string | null;
    };
    answer: Options;
  };
  /** A source with its tables, what waits, and what its loads did in the last 24 hours. */
  get_source_summary: {
    path: {
      /** id of the source */
      source_id: number;
    };
    answer: SourceSummary;
  };
  /** A table with its columns, subtables and left-out fields, as its last load left them. */
  get_source_table: {
    path: {
      /** id of the source */
      source_id: number;
      /** name of the table, as sent in pushes */
      table: string;
    };
    answer: WholeTable;
  };
  /** What a source of a type needs. */
  get_source_type: {
    path: {
      source_type: string;
    };
    answer: SourceType;
  };
  /**
   * Totals and rates of records, what waits, freshness and destinations, at one look.
   *
   * It may be asked once a second, with any number of tables.
   */
  get_status: {
    answer: ServerStatus;
  };
  /** The fields of a table with their types, as its last load left them. */
  get_stream: {
    path: {
      /** id of the source */
      source_id: number;
      /** id of the stream */
      stream_id: number;
    };
    answer: StreamSchema;
  };
  /** The schema of a table. An account with one source need not name it. */
  get_table_schema: {
    path: {
      /** name of the table, as sent in pushes */
      table: string;
    };
    query?: {
      /** only of the source with this id */
      source?: number;
    };
    answer: TableSchema;
  };
  /** The settings of the webhook of a source. */
  get_webhook: {
    path: {
      /** id of the source */
      source_id: number;
    };
    answer: Webhook;
  };
  /** Make another invitation, also for who forgot the password; the former one ends. */
  invite_user: {
    path: {
      /** id of the user */
      user_id: number;
    };
    answer: InvitedUser;
  };
  /** All tokens of the account and of its sources, by id, ended ones too, never their values. */
  list_access_tokens: {
    query?: {
      /** only of this kind */
      kind?: "account" | "import" | "webhook";
      /** only of the source with this id */
      source?: number;
    };
    answer: Tokens;
  };
  /** The account tokens of the account, by id, disabled and ended ones too. */
  list_account_tokens: {
    answer: AccountTokens;
  };
  /**
   * The same events as `/v1/trail`, with more to choose by.
   *
   * The detail of a change has the values `before` and `after` it, without secrets.
   */
  list_audit_events: {
    query?: {
      /** only of this action */
      action?: "create_account" | "rename_account" | "delete_account" | "create_account_token" | "revoke_account_token" | "create_source" | "change_source" | "pause_source" | "unpause_source" | "move_source" | "set_options" | "set_quotas" | "delete_source" | "create_import_token" | "take_over_import_token" | "revoke_import_token" | "create_webhook_token" | "take_over_webhook_token" | "revoke_webhook_token" | "create_metrics_token" | "revoke_metrics_token" | "create_token" | "revoke_token" | "expire_token" | "describe_token" | "disable_token" | "enable_token" | "replace_token" | "create_ephemeral_token" | "open_session" | "end_session" | "leave_guide" | "rotate_key" | "set_destination" | "check_destination" | "create_destination" | "change_destination" | "delete_destination" | "adopt_tables" | "set_table_schema" | "remove_table_schema" | "replay_table" | "load_table" | "retry_table" | "copy_history" | "resend_records" | "cancel_operation" | "add_log" | "drain_log" | "open_log" | "close_log" | "salvage_log" | "replace_log" | "make_backup" | "restore_backup" | "import_store" | "add_recipient" | "change_recipient" | "disable_recipient" | "enable_recipient" | "remove_recipient" | "create_hook" | "change_hook" | "delete_hook" | "send_again" | "snooze_problem" | "add_user" | "invite_user" | "accept_invite" | "set_password" | "change_role" | "disable_user" | "enable_user" | "delete_user" | "switch_account" | "test_hook" | "test_recipient" | "finish_upgrade";
      /** only with this outcome */
      outcome?: "begun" | "done" | "refused" | "failed";
      /** only of actors of this kind, or of one of them: `person 3` */
      actor?: string | null;
      /** only about things of this kind */
      target?: "account" | "account_token" | "source" | "import_token" | "webhook_token" | "metrics_token" | "token" | "ephemeral_token" | "session" | "key" | "destination" | "table" | "log" | "store" | "recipient" | "hook" | "problem" | "operation" | "user";
      /** only events at or after this time */
      from?: string | null;
      /** only events before this time */
      to?: string | null;
      /** only events before the one with this id */
      before?: number;
      /** how many at most */
      limit?: number;
    };
    answer: Trail;
  };
  /** The addresses that are told of problems of the account, disabled ones too. */
  list_custom_emails: {
    answer: CustomEmail[];
  };
  /** The deliveries of a hook, newest first, with what was sent and what was answered. */
  list_deliveries: {
    path: {
      /** id of the hook */
      hook_id: number;
    };
    query?: {
      /** only in this state */
      state?: "waiting" | "delivered" | "failed";
      /** only deliveries before the one with this id */
      before?: string | null;
      /** how many at most */
      limit?: number;
    };
    answer: Deliveries;
  };
  /** The types a destination can have: those whose driver is installed. */
  list_destination_types: {
    answer: DestinationType[];
  };
  /** The destinations of the account that are not deleted, by ascending id. */
  list_destinations: {
    query?: {
      /** only the one that this source loads into */
      source_id?: string;
      /** only this one */
      destination_id?: string;
    };
    answer: Destination[];
  };
  /** The last extraction of every source: none, as nothing is pulled. */
  list_extractions: {
    path: {
      /** id of the account, which must be the token's */
      client_id: number;
    };
    query?: {
      /** 100 rows a page, from 1; what is no positive integer counts as 1 */
      page?: string;
    };
    answer: Extractions;
  };
  /** The hooks of the account with the state of their deliveries, by id. */
  list_hook_states: {
    answer: HookStates;
  };
  /** The hooks of the account, disabled ones too, by id. */
  list_hooks: {
    answer: Hooks;
  };
  /**
   * The loads of an account, newest first, with what each did; failed tries are among them.
   *
   * With an Import API access token instead of an account token: the loads of its source.
   */
  list_load_reports: {
    query?: {
      /** only of the source with this id */
      source?: number;
      /** only of tables of this name, as sent */
      table?: string | null;
      /** true for tries that failed alone, false for committed loads alone */
      failed?: boolean;
      /** true for loads that changed the schema of their table, false for others */
      changed?: boolean;
      /** only loads that finished at or after this time */
      from?: string | null;
      /** only loads that finished before this time */
      to?: string | null;
      /** only loads before the one with this id */
      before?: string | null;
      /** how many at most */
      limit?: number;
    };
    answer: Reports;
  };
  /** The last load of every table of the account in the past 60 days, by table name. */
  list_loads: {
    path: {
      /** id of the account, which must be the token's */
      client_id: number;
    };
    query?: {
      /** 100 rows a page, from 1; what is no positive integer counts as 1 */
      page?: string;
    };
    answer: Loads;
  };
  /**
   * Why records were rejected, that with the newest record first, and how many are open.
   *
   * `since` and `until` are about the newest record of a cause. A record is forgotten with the
   * report of its load, after `report_days` or more.
   */
  list_reject_causes: {
    query?: {
      /** `next` of the page before */
      before?: string | null;
      /** how many at most */
      limit?: number;
      /** only of the source with this id */
      source?: number;
      /** only of tables of this name, as sent */
      table?: string | null;
      /** only of this cause */
      cause?: number;
      /** only of causes with this code */
      code?: "integer_out_of_range" | "decimal_out_of_range" | "timestamp_out_of_range" | "nul_character" | "field_collision" | "reserved_suffix" | "name_reserved" | "name_too_long" | "name_empty" | "too_many_columns" | "key_missing" | "key_type_differs" | "key_names_differ" | "not_in_contract" | "row_too_big" | "refused_by_destination" | "damaged_entry" | "unknown";
      /** only with this field to blame */
      field?: string | null;
      /** rejected at this time or later */
      since?: string;
      /** rejected before this time */
      until?: string;
      /** 1: only what was not sent again */
      open?: "1" | "0";
    };
    answer: RejectCauses;
  };
  /** Rejected records, newest first, with the cause of each and the receipt of its resend. */
  list_rejected_records: {
    query?: {
      /** `next` of the page before */
      before?: string | null;
      /** how many at most */
      limit?: number;
      /** only of the source with this id */
      source?: number;
      /** only of tables of this name, as sent */
      table?: string | null;
      /** only of this cause */
      cause?: number;
      /** only of causes with this code */
      code?: "integer_out_of_range" | "decimal_out_of_range" | "timestamp_out_of_range" | "nul_character" | "field_collision" | "reserved_suffix" | "name_reserved" | "name_too_long" | "name_empty" | "too_many_columns" | "key_missing" | "key_type_differs" | "key_names_differ" | "not_in_contract" | "row_too_big" | "refused_by_destination" | "damaged_entry" | "unknown";
      /** only with this field to blame */
      field?: string | null;
      /** rejected at this time or later */
      since?: string;
      /** rejected before this time */
      until?: string;
      /** 1: only what was not sent again */
      open?: "1" | "0";
    };
    answer: Rejects;
  };
  /** The tables of a source that were loaded, tried, or wait for that, with their states. */
  list_source_tables: {
    path: {
      /** id of the source */
      source_id: number;
    };
    query?: {
      /** only tables in this state, or in several, with commas */
      state?: string;
      /** only tables with this text in their name */
      q?: string | null;
      /** by name, or the table that matters most first */
      sort?: "name" | "waiting" | "oldest" | "last_load" | "rejected";
      /** only tables after `next` of an answer */
      after?: string | null;
      /** how many at most */
      limit?: number;
    };
    answer: TablePage;
  };
  /** The types a source can have: `import_api`. */
  list_source_types: {
    answer: SourceType[];
  };
  /** All sources of the account, paused and deleted ones too, by ascending id. */
  list_sources: {
    answer: Source[];
  };
  /**
   * The tables that a source pushed, also when it is deleted, by id.
   *
   * A table is listed after the first try to load it.
   */
  list_streams: {
    path: {
      /** id of the source */
      source_id: number;
    };
    answer: Stream[];
  };
  /** What loads and others changed of a table: its last 1,000 events, newest first. */
  list_table_history: {
    path: {
      /** id of the source */
      source_id: number;
      /** name of the table, as sent in pushes */
      table: string;
    };
    query?: {
      /** only events before the one with this id */
      before?: number;
      /** how many at most */
      limit?: number;
    };
    answer: TableHistory;
  };
  /**
   * The newest rows of a table as they are in the destination, by `_sdc_batched_at`.
   *
   * While a DuckDB file is looked at, loading into it waits.
   */
  list_table_rows: {
    path: {
      /** id of the source */
      source_id: number;
      /** name of the table, as sent in pushes */
      table: string;
    };
    query?: {
      /** how many rows at most */
      limit?: number;
      /** what the header Accept says if left out */
      format?: "json" | "csv" | "csv-safe";
    };
    answer: QuestionAnswer;
  };
  /** The active tokens of a source, newest first, without their values. */
  list_tokens: {
    path: {
      /** id of the source */
      source_id: number;
    };
    answer: ListedToken[] | number[];
  };
  /** Who changed what of the account, newest first; what was refused is among it. */
  list_trail_events: {
    query?: {
      /** only of this action */
      action?: "create_account" | "rename_account" | "delete_account" | "create_account_token" | "revoke_account_token" | "create_source" | "change_source" | "pause_source" | "unpause_source" | "move_source" | "set_options" | "set_quotas" | "delete_source" | "create_import_token" | "take_over_import_token" | "revoke_import_token" | "create_webhook_token" | "take_over_webhook_token" | "revoke_webhook_token" | "create_metrics_token" | "revoke_metrics_token" | "create_token" | "revoke_token" | "expire_token" | "describe_token" | "disable_token" | "enable_token" | "replace_token" | "create_ephemeral_token" | "open_session" | "end_session" | "leave_guide" | "rotate_key" | "set_destination" | "check_destination" | "create_destination" | "change_destination" | "delete_destination" | "adopt_tables" | "set_table_schema" | "remove_table_schema" | "replay_table" | "load_table" | "retry_table" | "copy_history" | "resend_records" | "cancel_operation" | "add_log" | "drain_log" | "open_log" | "close_log" | "salvage_log" | "replace_log" | "make_backup" | "restore_backup" | "import_store" | "add_recipient" | "change_recipient" | "disable_recipient" | "enable_recipient" | "remove_recipient" | "create_hook" | "change_hook" | "delete_hook" | "send_again" | "snooze_problem" | "add_user" | "invite_user" | "accept_invite" | "set_password" | "change_role" | "disable_user" | "enable_user" | "delete_user" | "switch_account" | "test_hook" | "test_recipient" | "finish_upgrade";
      /** only with this outcome */
      outcome?: "begun" | "done" | "refused" | "failed";
      /** only events before the one with this id */
      before?: number;
      /** how many at most */
      limit?: number;
    };
    answer: Trail;
  };
  /** The users of the account, by id, disabled and invited ones too. */
  list_users: {
    answer: Users;
  };
  /** Load what waits of a table now, whatever its age. It is begun within a second or so. */
  load_table: {
    path: {
      /** id of the source */
      source_id: number;
      /** name of the table, as sent in pushes */
      table: string;
    };
    answer: LoadRequest;
  };
  /** Remove the schema of a table, which is shown once more. Rows stay as they are. */
  remove_table_schema: {
    path: {
      /** name of the table, as sent in pushes */
      table: string;
    };
    query?: {
      /** only of the source with this id */
      source?: number;
    };
    answer: TableSchema;
  };
  /** Make a token like an active one. Both are valid during the overlap, then only the new one. */
  replace_access_token: {
    path: {
      /** id of the Import API access token */
      token_id: number;
    };
    body: {
      /** 0 ends the old one at once */
      overlap_seconds?: number;
    };
    answer: MadeToken;
  };
  /**
   * Build a table again from what the log still keeps, compare it, and swap the rows.
   *
   * The operation goes on in the background; its `result` says what differs, and why rows may be
   * missing in what was built. Then nothing is swapped without `force`. Loading goes on meanwhile.
   */
  replay_table: {
    path: {
      /** id of the source */
      source_id: number;
      /** name of the table, as sent in pushes */
      table: string;
    };
    query?: {
      /** true: build and compare, and swap nothing */
      dry_run?: "true" | "false";
      /** true: swap even if rows may be lost */
      force?: "true" | "false";
      /** build in this schema, keep it, and swap nothing; SOURCE__NAME */
      into?: string | null;
      /** only what was accepted at or after this time */
      from?: string | null;
      /** only what was accepted before this time */
      to?: string | null;
    };
    answer: Operation;
  };
  /**
   * Send open rejected records again, edited or as they are, in the background.
   *
   * Each is sent once, however often it is asked for. The operation goes on after a restart of the
   * server. With `dry_run=1` nothing is sent: the answer shows the first 20 records before and
   * after
   * the edit, and what a load would do with them now.
   */
  resend_rejected_records: {
    query?: {
      /** 1: show what the edit makes of the first 20 */
      dry_run?: "1" | "0";
    };
    body: {
      filter?: AskedRecords;
      ids?: string[];
      edit?: AskedEdit;
      expected?: number;
    };
    answer: Operation | ResendPreview;
  };
  /** Try a table again that stopped or failed, without waiting for its next try. */
  retry_table: {
    path: {
      /** id of the source */
      source_id: number;
      /** name of the table, as sent in pushes */
      table: string;
    };
    answer: LoadRequest;
  };
  /** Revoke an active token at once. */
  revoke_access_token: {
    path: {
      /** id of the Import API access token */
      token_id: number;
    };
    answer: Token;
  };
  /** Revoke a token at once. */
  revoke_token: {
    path: {
      /** id of the source */
      source_id: number;
      /** id of the Import API access token */
      token_id: number;
    };
    answer: Source;
  };
  /**
   * Run the checks of `treadle doctor --quick`, and return what it prints as JSON.
   *
   * Only where the installation has no other account.
   */
  run_doctor: {
    answer: Findings;
  };
  /**
   * Run a statement that reads in a destination of the account.
   *
   * It is ended after the time of the setting query_seconds, when it is stopped, and when the
   * client
   * goes away. With the format csv, or a header Accept that says text/csv, the answer is CSV, and
   * the header Treadle-Truncated says whether there are more rows.
   */
  run_query: {
    body: {
      /** one statement that reads */
      sql: string;
      /** most rows; 1,000 if left out */
      limit?: number;
      /** by which the query can be stopped; made if left out */
      id?: string;
      /** the default destination if left out */
      destination_id?: number;
      /**
       * what the header Accept says if left out; in csv-safe no text is a formula for a
       * spreadsheet
       */
      format?: string;
    };
    answer: QuestionAnswer;
  };
  /** Select streams: all fields of a table are loaded, so whatever changes that is refused. */
  select_streams: {
    path: {
      /** id of the source */
      source_id: number;
    };
    body: {
      streams: StreamSelection[];
    };
    answer: Done;
  };
  /** Send a delivery again, whatever became of it, with the same id; one that waits goes now. */
  send_delivery_again: {
    path: {
      /** id of the hook */
      hook_id: number;
      /** id of the delivery */
      delivery_id: string;
    };
    answer: Delivery;
  };
  /** Send all deliveries of a hook again that were given up. */
  send_failed_again: {
    path: {
      /** id of the hook */
      hook_id: number;
    };
    answer: SentAgain;
  };
  /**
   * Set the schema of a table: the body is a JSON schema, draft 4.
   *
   * Records that come by a push as JSON, a webhook or as bare records are to fit it from then on,
   * and get their types from it. A batch keeps the schema that it brings.
   */
  set_table_schema: {
    path: {
      /** name of the table, as sent in pushes */
      table: string;
    };
    query?: {
      /** only of the source with this id */
      source?: number;
    };
    body: Record<string, unknown>;
    answer: TableSchema;
  };
  /**
   * The counts of all accepted records, by source, table and hour of acceptance.
   *
   * An answer has the hours of 1,000 tables at most, and their sums.
   */
  show_ledger: {
    query?: {
      /** only of the source with this id */
      source?: number;
      /** only the tables after `next` of an answer */
      after?: string | null;
    };
    answer: Ledger;
  };
  /** Let nobody be told of a problem for a day, or another time; it stays in the list. */
  snooze: {
    path: {
      /** id of the problem */
      problem_id: string;
    };
    body: {
      /** 86400 by default; 0 ends it */
      seconds?: number;
    };
    answer: Problem;
  };
  /** Start a connection check of a destination; one that waits or is under way goes on. */
  start_destination_check: {
    path: {
      /** id of the destination */
      destination_id: number;
    };
    answer: ConnectionCheck;
  };
  /** Stop a replication job: none runs, so it is stopped. */
  stop_job: {
    path: {
      /** id of the source */
      source_id: number;
    };
    answer: Done;
  };
  /** Stop a query of the account that is under way. */
  stop_query: {
    path: {
      /** id of the query */
      query_id: string;
    };
    answer: StoppedQuestion;
  };
  /** Send a mail to an address at once, and tell whether the mail server took it. */
  test_custom_email: {
    path: {
      /** id of the custom e-mail */
      email_id: number;
    };
    answer: MailTrial;
  };
  /**
   * Call a hook once with a body that says `test`, and wait for its answer, 30 s at most.
   *
   * It is sent also where the hook is disabled or paused, and is not sent again.
   */
  test_hook: {
    path: {
      /** id of the hook */
      hook_id: number;
    };
    answer: HookTrial;
  };
  /** Disable or enable an address. A disabled one gets nothing. */
  update_custom_email: {
    path: {
      /** id of the custom e-mail */
      email_id: number;
    };
    body: {
      /** any ISO 8601 instant disables it now and is kept; null enables it */
      disabled_at: string | null;
    };
    answer: Disabled;
  };
  /** Change properties of a destination; what is left out stays, also a password. */
  update_destination: {
    path: {
      /** id of the destination */
      destination_id: number;
    };
    body: {
      /** null takes away one that is not required */
      properties: Record<string, unknown>;
    };
    answer: Destination;
  };
  /** Rename, pause or unpause a source. A paused one refuses pushes. */
  update_source: {
    path: {
      /** id of the source */
      source_id: number;
    };
    body: {
      display_name?: string;
      /** nothing can be set */
      properties?: Record<string, string>;
      /** any ISO 8601 instant pauses now and is kept; null unpauses */
      paused_at?: string | null;
      /** where to load to; null for the default */
      destination_id?: number | null;
    };
    answer: Source;
  };
}

/** How an operation is asked for. */
export interface OperationRoute {
  readonly method: "GET" | "PUT" | "POST" | "DELETE";
  /** With the names of its parameters in braces. */
  readonly path: string;
}

export const ROUTES: { readonly [Name in keyof Operations]: OperationRoute } = {
  begin_examination: { method: "POST", path: "/v1/examinations" },
  cancel_operation: { method: "DELETE", path: "/v1/operations/{operation_id}" },
  change_access_token: { method: "PUT", path: "/v1/tokens/{token_id}" },
  change_account_token: { method: "PUT", path: "/v1/account-tokens/{token_id}" },
  change_hook: { method: "PUT", path: "/v1/hooks/{hook_id}" },
  change_source_options: { method: "PUT", path: "/v1/sources/{source_id}/options" },
  change_user: { method: "PUT", path: "/v1/users/{user_id}" },
  change_webhook: { method: "PUT", path: "/v1/sources/{source_id}/webhook" },
  create_access_token: { method: "POST", path: "/v1/tokens" },
  create_account_token: { method: "POST", path: "/v1/account-tokens" },
  create_custom_email: { method: "POST", path: "/notifications/public/v1/api/custom-emails" },
  create_destination: { method: "POST", path: "/v4/destinations" },
  create_ephemeral_token: { method: "POST", path: "/v3/sessions/ephemeral" },
  create_hook: { method: "POST", path: "/notifications/public/v1/api/hooks" },
  create_source: { method: "POST", path: "/v4/sources" },
  create_token: { method: "POST", path: "/v4/sources/{source_id}/tokens" },
  create_user: { method: "POST", path: "/v1/users" },
  delete_account_token: { method: "DELETE", path: "/v1/account-tokens/{token_id}" },
  delete_custom_email: { method: "DELETE", path: "/notifications/public/v1/api/custom-emails/{email_id}" },
  delete_destination: { method: "DELETE", path: "/v4/destinations/{destination_id}" },
  delete_hook: { method: "DELETE", path: "/notifications/public/v1/api/hooks/{hook_id}" },
  delete_source: { method: "DELETE", path: "/v4/sources/{source_id}" },
  delete_user: { method: "DELETE", path: "/v1/users/{user_id}" },
  enable_hook: { method: "PUT", path: "/notifications/public/v1/api/hooks/{hook_id}" },
  follow_receipt: { method: "GET", path: "/v1/receipts/{id}" },
  get_destination: { method: "GET", path: "/v4/destinations/{destination_id}" },
  get_destination_type: { method: "GET", path: "/v4/destination-types/{destination_type}" },
  get_examinations: { method: "GET", path: "/v1/examinations" },
  get_health: { method: "GET", path: "/v1/health" },
  get_hook_state: { method: "GET", path: "/v1/hooks/{hook_id}" },
  get_last_destination_check: { method: "GET", path: "/v4/destinations/{destination_id}/last-connection-check" },
  get_load_report: { method: "GET", path: "/v1/loads/{load_id}" },
  get_operation: { method: "GET", path: "/v1/operations/{operation_id}" },
  get_problems: { method: "GET", path: "/v1/problems" },
  get_refusals: { method: "GET", path: "/v1/refusals" },
  get_rejected_record: { method: "GET", path: "/v1/rejects/{reject_id}" },
  get_request_records: { method: "GET", path: "/v1/requests/{receipt}/records" },
  get_requests: { method: "GET", path: "/v1/requests" },
  get_series: { method: "GET", path: "/v1/series" },
  get_settings: { method: "GET", path: "/v1/config" },
  get_source: { method: "GET", path: "/v4/sources/{source_id}" },
  get_source_options: { method: "GET", path: "/v1/sources/{source_id}/options" },
  get_source_summary: { method: "GET", path: "/v1/sources/{source_id}/summary" },
  get_source_table: { method: "GET", path: "/v1/sources/{source_id}/tables/{table}" },
  get_source_type: { method: "GET", path: "/v4/source-types/{source_type}" },
  get_status: { method: "GET", path: "/v1/status" },
  get_stream: { method: "GET", path: "/v4/sources/{source_id}/streams/{stream_id}" },
  get_table_schema: { method: "GET", path: "/v1/tables/{table}/schema" },
  get_webhook: { method: "GET", path: "/v1/sources/{source_id}/webhook" },
  invite_user: { method: "POST", path: "/v1/users/{user_id}/invite" },
  list_access_tokens: { method: "GET", path: "/v1/tokens" },
  list_account_tokens: { method: "GET", path: "/v1/account-tokens" },
  list_audit_events: { method: "GET", path: "/v1/audit" },
  list_custom_emails: { method: "GET", path: "/notifications/public/v1/api/custom-emails" },
  list_deliveries: { method: "GET", path: "/v1/hooks/{hook_id}/deliveries" },
  list_destination_types: { method: "GET", path: "/v4/destination-types" },
  list_destinations: { method: "GET", path: "/v4/destinations" },
  list_extractions: { method: "GET", path: "/v4/{client_id}/extractions" },
  list_hook_states: { method: "GET", path: "/v1/hooks" },
  list_hooks: { method: "GET", path: "/notifications/public/v1/api/hooks" },
  list_load_reports: { method: "GET", path: "/v1/loads" },
  list_loads: { method: "GET", path: "/v4/{client_id}/loads" },
  list_reject_causes: { method: "GET", path: "/v1/rejects/causes" },
  list_rejected_records: { method: "GET", path: "/v1/rejects" },
  list_source_tables: { method: "GET", path: "/v1/sources/{source_id}/tables" },
  list_source_types: { method: "GET", path: "/v4/source-types" },
  list_sources: { method: "GET", path: "/v4/sources" },
  list_streams: { method: "GET", path: "/v4/sources/{source_id}/streams" },
  list_table_history: { method: "GET", path: "/v1/sources/{source_id}/tables/{table}/history" },
  list_table_rows: { method: "GET", path: "/v1/sources/{source_id}/tables/{table}/rows" },
  list_tokens: { method: "GET", path: "/v4/sources/{source_id}/tokens" },
  list_trail_events: { method: "GET", path: "/v1/trail" },
  list_users: { method: "GET", path: "/v1/users" },
  load_table: { method: "POST", path: "/v1/sources/{source_id}/tables/{table}/load" },
  remove_table_schema: { method: "DELETE", path: "/v1/tables/{table}/schema" },
  replace_access_token: { method: "POST", path: "/v1/tokens/{token_id}/replace" },
  replay_table: { method: "POST", path: "/v1/sources/{source_id}/tables/{table}/replay" },
  resend_rejected_records: { method: "POST", path: "/v1/rejects/resend" },
  retry_table: { method: "POST", path: "/v1/sources/{source_id}/tables/{table}/retry" },
  revoke_access_token: { method: "DELETE", path: "/v1/tokens/{token_id}" },
  revoke_token: { method: "DELETE", path: "/v4/sources/{source_id}/tokens/{token_id}" },
  run_doctor: { method: "POST", path: "/v1/doctor" },
  run_query: { method: "POST", path: "/v1/query" },
  select_streams: { method: "PUT", path: "/v4/sources/{source_id}/streams/metadata" },
  send_delivery_again: { method: "POST", path: "/v1/hooks/{hook_id}/deliveries/{delivery_id}/send-again" },
  send_failed_again: { method: "POST", path: "/v1/hooks/{hook_id}/send-again" },
  set_table_schema: { method: "PUT", path: "/v1/tables/{table}/schema" },
  show_ledger: { method: "GET", path: "/v1/ledger" },
  snooze: { method: "POST", path: "/v1/problems/{problem_id}/snooze" },
  start_destination_check: { method: "POST", path: "/v1/destinations/{destination_id}/check" },
  stop_job: { method: "DELETE", path: "/v4/sources/{source_id}/sync" },
  stop_query: { method: "DELETE", path: "/v1/query/{query_id}" },
  test_custom_email: { method: "POST", path: "/v1/custom-emails/{email_id}/test" },
  test_hook: { method: "POST", path: "/v1/hooks/{hook_id}/test" },
  update_custom_email: { method: "PUT", path: "/notifications/public/v1/api/custom-emails/{email_id}" },
  update_destination: { method: "PUT", path: "/v4/destinations/{destination_id}" },
  update_source: { method: "PUT", path: "/v4/sources/{source_id}" },
};
