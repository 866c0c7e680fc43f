/** Remembers the last answer: where thousands ask for the same at the same time. The function must be pure; what it throws is not remembered. */
export function remembered<In, Out>(work: (input: In) => Out): (input: In) => Out {
  let last: { readonly input: In; readonly output: Out } | undefined;
  return (input) => {
    if (last?.input !== input) last = { input, output: work(input) };
    return last.output;
  };
}
