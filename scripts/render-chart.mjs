// Renders the chart into one manifest, for those who have no Helm. Its templates hold nothing but `{{ .Values.a.b }}`, so that both say the same.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { load } from "js-yaml";
import { StepFailed } from "./steps.mjs";

/**
 * All templates in the order of their names, with the chart's own values.
 * @param {string} chart its folder
 * @throws {StepFailed} naming the template and what in it is no plain value
 */
export function renderChart(chart) {
  const values = load(readFileSync(join(chart, "values.yaml"), "utf8"));
  const templates = readdirSync(join(chart, "templates")).toSorted();
  return templates
    .map((name) => `---\n${render(name, readFileSync(join(chart, "templates", name), "utf8"), values)}`)
    .join("");
}

function render(name, template, values) {
  return template.replaceAll(/\{\{(.*?)\}\}/gs, (expression, inner) => {
    const path = /^ \.Values((?:\.\w+)+) $/.exec(inner)?.[1].slice(1).split(".");
    const value = path?.reduce((object, key) => object?.[key], values);
    if (!["string", "number", "boolean"].includes(typeof value))
      throw new StepFailed(`${name}: ${expression} is no value of values.yaml`);
    return String(value);
  });
}
