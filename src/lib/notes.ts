/** Short texts that outlive a restart, for what cannot be looked up. None of them is a secret. */
export interface Notes {
  get(name: string): string | undefined;
  set(name: string, text: string): void;
}
