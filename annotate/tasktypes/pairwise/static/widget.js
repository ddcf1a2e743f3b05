// Which of two is better? A stands left, B right; completions are named by id in the verdict.
import { startJudging } from "../annotate/judge/session.js";

const WORDS = {
  a3: "A is much better", a2: "A is better", a1: "A is slightly better", tie: "a tie",
  b1: "B is slightly better", b2: "B is better", b3: "B is much better", bad: "both are bad",
};

function choice(verdict, [a]) {
  if (verdict.both_bad) return "bad";
  if (!verdict.ranking) return "";
  if (verdict.ranking.length === 1) return "tie";
  return (verdict.ranking[0][0] === a ? "a" : "b") + (verdict.strength ?? 2);
}

startJudging({
  keys: { 1: "a3", 2: "a2", 3: "a1", 4: "tie", 5: "b1", 6: "b2", 7: "b3", 0: "bad", ArrowLeft: "a1", ArrowRight: "b1" },
  describe: (value) => WORDS[value],
  choice,
  verdict(value, [a, b]) {
    if (value === "bad") return { both_bad: true };
    if (value === "tie") return { ranking: [[a, b]] };
    const [better, worse] = value[0] === "a" ? [a, b] : [b, a];
    return { ranking: [[better], [worse]], strength: Number(value[1]) };
  },
});
