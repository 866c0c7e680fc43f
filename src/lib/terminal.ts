/** What of a stream says whether a person looks; where it is no terminal the rest is missing, whatever the types of Node say. */
interface MaybeTerminal {
  readonly isTTY?: boolean | undefined;
  hasColors?(): boolean;
}

/** Whether colours are of use there. Nobody else is asked: libraries take a CI's log for a terminal. */
export function takesColors(stream: MaybeTerminal): boolean {
  return stream.isTTY === true && stream.hasColors?.() === true;
}
