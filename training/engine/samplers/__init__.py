"""Samplers write completions with a policy: `vllm` where it is installed, `transformers` everywhere."""
