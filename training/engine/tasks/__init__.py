"""What the engine can be asked to do: one module per task of the spec.

Each has `run(spec: Spec, folder: RunFolder, *, stop: Stop) -> dict`, which does the work inside `folder.path`, reports
with `folder.progress.report(…)`, calls `stop.check()` between its steps and returns the content of result.json (the
caller writes it, and DONE.json after it). EngineError is a refusal, Cancelled a stop that left what a resume needs.
`check(spec: Spec, *, stop: Stop) -> dict`, where a task has it, does the start checks only and writes nothing.
"""
