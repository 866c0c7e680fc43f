import type { LogFields, Logger } from "./logger.ts";

export interface LogLine {
  readonly level: "error" | "warn" | "info" | "debug";
  readonly message: string;
  readonly fields: LogFields;
}

/** A logger for tests: keeps what it is told. */
export class RecordingLogger implements Logger {
  readonly debugs = true;
  readonly #fields: LogFields;
  readonly #lines: LogLine[];

  constructor(fields: LogFields = {}, lines: LogLine[] = []) {
    this.#fields = fields;
    this.#lines = lines;
  }

  /** Its own lines and its children's. */
  get lines(): readonly LogLine[] {
    return this.#lines;
  }

  /** The messages of one level. */
  messages(level: LogLine["level"]): readonly string[] {
    return this.#lines.filter((line) => line.level === level).map((line) => line.message);
  }

  clear(): void {
    this.#lines.length = 0;
  }

  error(message: string, fields: LogFields = {}): void {
    this.#record("error", message, fields);
  }

  warn(message: string, fields: LogFields = {}): void {
    this.#record("warn", message, fields);
  }

  info(message: string, fields: LogFields = {}): void {
    this.#record("info", message, fields);
  }

  debug(message: string, fields: LogFields = {}): void {
    this.#record("debug", message, fields);
  }

  child(fields: LogFields): Logger {
    return new RecordingLogger({ ...this.#fields, ...fields }, this.#lines);
  }

  #record(level: LogLine["level"], message: string, fields: LogFields): void {
    this.#lines.push({ level, message, fields: { ...this.#fields, ...fields } });
  }
}
