"""Files and rows that bring prompts, completions and judgements in (design, section 8).

`detect` tells what a file is by its content, `readers` turn it into rows one at a time, `rows` says what a row means,
`services/items.py` stores what rows mean, and `run` does all of it for a whole file, batch by batch.
"""
