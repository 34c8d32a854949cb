"""Borda points of every candidate, from the tiles of attention that its voters' ballots are made of."""

from __future__ import annotations

import triton
import triton.language as tl

from tokprune.kernels.fused.tiles import divisor, logits, softmax_sums, subtrahend, vectors

IN_TILE = tl.constexpr(0)
"""Where the sums of the softmax come from: a tile holds all that is summed over (keys as candidates, few of them),"""
IN_LOOP = tl.constexpr(1)
"""or the program makes them itself in a first pass over the voters (few queries as candidates),"""
BEFORE = tl.constexpr(2)
"""or they have been made by `row_sums`."""

# Ballots are multiplied by 2^96, so that differences of tiny probabilities are ordinary numbers, and differences by
# 2^100, which makes the smallest of them huge: 0 for lost, 1 for won, exactly 1/2 for a draw, in one instruction.
LIFT = tl.constexpr(2.0**96)
SHARPEN = tl.constexpr(2.0**100)
UNBEATABLE = tl.constexpr(3e38)


@triton.jit
def lifted(mass):
    """What to multiply exponentials by to make them ballots."""
    return 1.0 / divisor(mass) * LIFT


@triton.jit
def duels_won(own, other, is_candidate):
    """How many of the `other` candidates `[other voter]` each of the `own` `[own voter]` beats; a draw counts 1/2."""
    other = tl.where(is_candidate[:, None], other, UNBEATABLE)
    # Others first and voters last: a thread then holds all the others of its voter, and adds them up by itself.
    gap = own[None, :, :] - other[:, None, :]
    return tl.sum(tl.clamp(tl.fma(gap, SHARPEN, 0.5), 0.0, 1.0), 0)


@triton.jit
def points(
    token,
    voter,
    mask,
    weights,
    tops,
    masses,
    result,
    token_count,
    voter_count,
    dim,
    token_group,
    voter_group,
    protected,
    scale,
    token_image,
    token_head,
    token_stride,
    token_dim,
    voter_image,
    voter_head,
    voter_stride,
    voter_dim,
    mask_image,
    mask_head,
    mask_token,
    mask_voter,
    KEYS: tl.constexpr,
    SUMS: tl.constexpr,
    MASK: tl.constexpr,
    WEIGHTED: tl.constexpr,
    TOGETHER: tl.constexpr,
    CHUNKED: tl.constexpr,
    BLOCK_TOKEN: tl.constexpr,
    BLOCK_VOTER: tl.constexpr,
    BLOCK_SUMMED: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
):
    """Per program: one block of candidates and every so manieth block of voters, of one head of one image.

    KEYS: candidates are keys, so that a softmax runs over the candidates; else they are queries, and it runs over the
    voters. TOGETHER: one block holds all candidates; else the others come in blocks of their own.
    """
    head = tl.program_id(1)
    image = tl.program_id(2).to(tl.int64)
    token_blocks = tl.cdiv(token_count, BLOCK_TOKEN)
    piece = tl.program_id(0) // token_blocks
    pieces = tl.num_programs(0) // token_blocks
    own = (tl.program_id(0) % token_blocks) * BLOCK_TOKEN + tl.arange(0, BLOCK_TOKEN)
    electorate = image * tl.num_programs(1) + head
    token += image * token_image + (head // token_group) * token_head
    voter += image * voter_image + (head // voter_group) * voter_head
    mask += image * mask_image + head * mask_head
    own_vectors = vectors(token, own, token_stride, token_dim, token_count, 0, dim, BLOCK_DIM)
    if SUMS == IN_LOOP:
        top, mass, _ = softmax_sums(
            own_vectors,
            token,
            own,
            token_stride,
            token_dim,
            token_count,
            voter,
            voter_stride,
            voter_dim,
            voter_count,
            dim,
            scale,
            mask,
            mask_token,
            mask_voter,
            weights,
            MASK,
            False,
            CHUNKED,
            BLOCK_SUMMED,
            BLOCK_DIM,
        )
        top, lift = subtrahend(top)[:, None], lifted(mass)[:, None]
    elif SUMS == BEFORE and not KEYS:
        place, there = electorate * token_count + own, own < token_count
        top = tl.load(tops + place, mask=there, other=0.0)[:, None]
        lift = lifted(tl.load(masses + place, mask=there, other=1.0))[:, None]
    won = tl.zeros([BLOCK_TOKEN, BLOCK_VOTER], tl.float32)
    for start in range(piece * BLOCK_VOTER, voter_count, pieces * BLOCK_VOTER):
        who = start + tl.arange(0, BLOCK_VOTER)
        there = who < voter_count
        these = logits(
            own_vectors,
            token,
            own,
            token_stride,
            token_dim,
            token_count,
            voter,
            who,
            voter_stride,
            voter_dim,
            voter_count,
            dim,
            scale,
            mask,
            mask_token,
            mask_voter,
            MASK,
            CHUNKED,
            BLOCK_DIM,
        )
        if SUMS == IN_TILE:
            top = subtrahend(tl.max(these, 0))[None, :]
            lift = lifted(tl.sum(tl.exp(these - top), 0))[None, :]
        elif KEYS:
            place = electorate * voter_count + who
            top = tl.load(tops + place, mask=there, other=0.0)[None, :]
            lift = lifted(tl.load(masses + place, mask=there, other=1.0))[None, :]
        ballots = tl.exp(these - top) * lift
        if TOGETHER:
            rank = duels_won(ballots, ballots, (own >= protected) & (own < token_count))
        else:
            rank = tl.zeros([BLOCK_TOKEN, BLOCK_VOTER], tl.float32)
            for other_start in range(0, token_count, BLOCK_TOKEN):
                other = other_start + tl.arange(0, BLOCK_TOKEN)
                other_vectors = vectors(token, other, token_stride, token_dim, token_count, 0, dim, BLOCK_DIM)
                # The same shapes and operations as for `these`: a candidate must draw with itself.
                those = logits(
                    other_vectors,
                    token,
                    other,
                    token_stride,
                    token_dim,
                    token_count,
                    voter,
                    who,
                    voter_stride,
                    voter_dim,
                    voter_count,
                    dim,
                    scale,
                    mask,
                    mask_token,
                    mask_voter,
                    MASK,
                    CHUNKED,
                    BLOCK_DIM,
                )
                if KEYS:
                    others = tl.exp(those - top) * lift
                else:
                    other_place, is_other = electorate * token_count + other, other < token_count
                    other_top = tl.load(tops + other_place, mask=is_other, other=0.0)[:, None]
                    other_lift = lifted(tl.load(masses + other_place, mask=is_other, other=1.0))[:, None]
                    others = tl.exp(those - other_top) * other_lift
                rank += duels_won(ballots, others, (other >= protected) & (other < token_count))
        if WEIGHTED:
            weight = tl.load(weights + electorate * voter_count + who, mask=there, other=0.0)
        else:
            weight = tl.where(there, 1.0, 0.0)
        won += (rank - 0.5) * weight[None, :]  # without the draw with itself
    place = (electorate * pieces + piece) * token_count + own
    tl.store(result + place, tl.sum(won, 1), mask=own < token_count)
