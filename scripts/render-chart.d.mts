/** All templates of the chart in this folder, with its own values. @throws naming the template and what in it is no plain value */
export function renderChart(chart: string): string;
