import { InvalidConfigError } from "../lib/errors.ts";

/**
 * The URL that an environment variable gives.
 * @param text made of its value, as `http://` before a host
 * @throws {InvalidConfigError} naming the variable
 */
export function envUrl(name: string, text: string): URL {
  if (URL.canParse(text)) return new URL(text);
  throw new InvalidConfigError(name, `does not make a URL: ${JSON.stringify(text)}`);
}
