"""A policy from nothing: a grammar of ours, and a tokenizer and a small Llama trained on its conversations."""
