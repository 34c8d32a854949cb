"""The softmax sums of every query, and what each query holds of weighted keys."""

from __future__ import annotations

import triton
import triton.language as tl

from tokprune.kernels.fused.tiles import divisor, softmax_sums, subtrahend, vectors


@triton.jit
def row_sums(
    query,
    key,
    mask,
    weights,
    tops,
    masses,
    shares,
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
    SHARES: tl.constexpr,
    CHUNKED: tl.constexpr,
    BLOCK_QUERY: tl.constexpr,
    BLOCK_KEY: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
):
    """Per program: one block of queries of one head of one image, and all its keys.

    SHARES: store what each query gets from its (weighted) keys; else highest logit and sum of exponentials.
    """
    head = tl.program_id(1)
    image = tl.program_id(2).to(tl.int64)
    row = tl.program_id(0) * BLOCK_QUERY + tl.arange(0, BLOCK_QUERY)
    electorate = image * tl.num_programs(1) + head
    query += image * query_image + head * query_head
    key += image * key_image + (head // group) * key_head
    rows = vectors(query, row, query_token, query_dim, query_count, 0, dim, BLOCK_DIM)
    top, mass, held = softmax_sums(
        rows,
        query,
        row,
        query_token,
        query_dim,
        query_count,
        key,
        key_token,
        key_dim,
        key_count,
        dim,
        scale,
        mask + image * mask_image + head * mask_head,
        mask_query,
        mask_key,
        weights + electorate * key_count,
        MASK,
        WEIGHTED,
        CHUNKED,
        BLOCK_KEY,
        BLOCK_DIM,
    )
    place = electorate * query_count + row
    there = row < query_count
    if SHARES:
        share = (held if WEIGHTED else mass) / divisor(mass)
        tl.store(shares + place, share, mask=there)
    else:
        tl.store(tops + place, subtrahend(top), mask=there)
        tl.store(masses + place, divisor(mass), mask=there)
