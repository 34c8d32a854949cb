"""What every key receives from the queries: the sum of a column of attention."""

from __future__ import annotations

import triton
import triton.language as tl

from tokprune.kernels.fused.tiles import divisor, logits, subtrahend, vectors


@triton.jit
def column_sums(
    query,
    key,
    mask,
    weights,
    tops,
    masses,
    received,
    query_count,
    key_count,
    dim,
    group,
    scale,
    query_image,
    query_head,
    query_token,
    query_dim,
    key_image,
    key_head,
    key_token,
    key_dim,
    mask_image,
    mask_head,
    mask_query,
    mask_key,
    MASK: tl.constexpr,
    WEIGHTED: tl.constexpr,
    WHOLE: tl.constexpr,
    CHUNKED: tl.constexpr,
    BLOCK_QUERY: tl.constexpr,
    BLOCK_KEY: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
):
    """Per program: one block of keys of one head of one image, and all queries of that head.

    WHOLE: the block holds all keys, so a row's softmax is made on the spot; else its sums have been made before.
    """
    head = tl.program_id(1)
    image = tl.program_id(2).to(tl.int64)
    column = tl.program_id(0) * BLOCK_KEY + tl.arange(0, BLOCK_KEY)
    electorate = image * tl.num_programs(1) + head
    query += image * query_image + head * query_head
    key += image * key_image + (head // group) * key_head
    mask += image * mask_image + head * mask_head
    columns = vectors(key, column, key_token, key_dim, key_count, 0, dim, BLOCK_DIM)
    total = tl.zeros([BLOCK_KEY, BLOCK_QUERY], tl.float32)
    for start in range(0, query_count, BLOCK_QUERY):
        row = start + tl.arange(0, BLOCK_QUERY)
        there = row < query_count
        place = electorate * query_count + row
        # Keys stand in the rows of a tile here: a program keeps its own, and takes the queries block by block.
        these = logits(
            columns,
            key,
            column,
            key_token,
            key_dim,
            key_count,
            query,
            row,
            query_token,
            query_dim,
            query_count,
            dim,
            scale,
            mask,
            mask_key,
            mask_query,
            MASK,
            CHUNKED,
            BLOCK_DIM,
        )
        if WHOLE:
            powers = tl.exp(these - subtrahend(tl.max(these, 0))[None, :])
            weight = 1.0 / divisor(tl.sum(powers, 0))
        else:
            powers = tl.exp(these - tl.load(tops + place, mask=there, other=0.0)[None, :])
            weight = 1.0 / tl.load(masses + place, mask=there, other=1.0)
        if WEIGHTED:
            weight *= tl.load(weights + place, mask=there, other=0.0)
        total += powers * weight[None, :]
    tl.store(received + electorate * key_count + column, tl.sum(total, 1), mask=column < key_count)
