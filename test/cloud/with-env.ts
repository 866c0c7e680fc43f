/** The clouds' libraries read the process's own environment: this sets it as long as the result is not disposed of. */
export function withEnv(env: Readonly<Record<string, string | undefined>>): Disposable {
  const before = { ...process.env };
  for (const name of Object.keys(process.env))
    if (/^((AWS|GCE|GOOGLE|GCLOUD|CLOUDSDK)_|(https?|no)_proxy$)/i.test(name)) delete process.env[name];
  for (const [name, value] of Object.entries(env)) if (value !== undefined) process.env[name] = value;
  return {
    [Symbol.dispose]() {
      for (const name of Object.keys(process.env)) if (!(name in before)) delete process.env[name];
      Object.assign(process.env, before);
    },
  };
}
