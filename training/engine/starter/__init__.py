"""A policy from nothing: a grammar of ours, a tokenizer and a small Llama trained on its conversations (stdlib at import)."""
