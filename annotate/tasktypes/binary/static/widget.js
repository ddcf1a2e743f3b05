// Thumbs up or down on one completion.
import { startJudging } from "../annotate/judge/session.js";

startJudging({
  keys: { ArrowUp: "up", ArrowDown: "down", 1: "up", 2: "down", "+": "up", "-": "down" },
  describe: (value) => (value === "up" ? "good" : "bad"),
  choice(verdict, [only]) {
    if (!verdict.labels) return "";
    return verdict.labels[only] ? "up" : "down";
  },
  verdict: (value, [only]) => ({ labels: { [only]: value === "up" } }),
});
