"""The columns of each kind of dataset: what the engine reads, and what makes a row traceable."""

import pyarrow as pa

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))

COMMON = [
    ("id", pa.string()),
    ("split", pa.string()),
    ("prompt_sha256", pa.string()),
    ("prompt", MESSAGES),
]
# What reward models are measured by, and whose judgement the row is.
SLICE = ("slice", pa.string())
GROUP = ("group", pa.string())
TRACE = [("weight", pa.float64()), ("n_judgements", pa.int32()), ("judgements", pa.list_(pa.int64()))]

SCHEMAS = {
    "pairwise": pa.schema(
        [
            *COMMON,
            ("chosen", pa.string()),
            ("rejected", pa.string()),
            ("p", pa.float64()),
            ("margin", pa.float64()),
            ("votes_chosen", pa.int32()),
            ("votes_rejected", pa.int32()),
            ("votes_tie", pa.int32()),
            ("votes_both_bad", pa.int32()),
            ("chosen_completion", pa.string()),
            ("rejected_completion", pa.string()),
            ("chosen_model", pa.string()),
            ("rejected_model", pa.string()),
            SLICE,
            GROUP,
            *TRACE,
        ]
    ),
    "listwise": pa.schema(
        [
            *COMMON,
            ("completions", pa.list_(pa.string())),
            ("ranks", pa.list_(pa.int32())),
            ("scores", pa.list_(pa.float64())),
            ("completion_uids", pa.list_(pa.string())),
            ("models", pa.list_(pa.string())),
            SLICE,
            *TRACE,
        ]
    ),
    "binary": pa.schema(
        [
            *COMMON,
            ("completion", pa.string()),
            ("label", pa.bool_()),
            ("p", pa.float64()),
            ("votes_up", pa.int32()),
            ("votes_down", pa.int32()),
            ("completion_uid", pa.string()),
            ("model", pa.string()),
            SLICE,
            GROUP,
            *TRACE,
        ]
    ),
    "demonstration": pa.schema(
        [
            *COMMON,
            ("completion", pa.string()),
            ("origin", pa.string()),
            ("completion_uid", pa.string()),
            ("model", pa.string()),
            *TRACE,
        ]
    ),
}
